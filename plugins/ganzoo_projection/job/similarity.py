"""TODO docstring."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.io.images import Pixels

WINDOW, SIGMA = 11, 1.5  # of SSIM
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1]; 99 stands for equal images, so that it is a number."""
    return min(99.0, 10 * float(np.log10(4 / mse))) if mse else 99.0


def mean_squared(a: Pixels, b: Pixels) -> float:
    """Mean squared difference of uint8 images, in units in which they run from -1 to 1."""
    return float(np.square((a.astype(np.float64) - b) / 127.5).mean())


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity of uint8 images [C, H, W] (Wang et al. 2004, eq. 13), mean over pixels and channels.

    The window is Gaussian, of 11x11 pixels or as many as an odd side of the image allows, and stays inside.
    """

    def window(side: int) -> Tensor:
        at = torch.arange(min(WINDOW, side - (side + 1) % 2), dtype=torch.float64)
        bell = torch.exp(-((at - (len(at) - 1) / 2) ** 2) / (2 * SIGMA**2))
        return bell / bell.sum()

    down, across = (window(side) for side in a.shape[1:])

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, down[None, None, :, None]), across[None, None, None])

    x, y = (torch.from_numpy(image.astype(np.float64))[:, None] for image in (a, b))
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    found = (2 * mx * my + C1) * (2 * cov + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2))
    return float(found.mean())
