"""How similar two images are: mean squared error, PSNR, SSIM."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.io.images import Pixels

WINDOW, SIGMA = 11, 1.5  # pixels: side and standard deviation of SSIM's Gaussian window
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # SSIM's constants for 8 bits


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1], at most 99, which also stands for equal images."""
    return min(99.0, 10 * float(np.log10(4 / mse))) if mse else 99.0


def mean_squared(a: Pixels, b: Pixels) -> float:
    """Mean squared difference of uint8 images, scaled to [-1, 1]."""
    return float(np.square((a.astype(np.float64) - b) / 127.5).mean())


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity of uint8 images [C, H, W] (Wang et al. 2004, eq. 13), mean over pixels and channels.

    The window is Gaussian, of 11x11 pixels or as many as an odd side of the image allows, and stays inside.
    """

    def window(side: int) -> Tensor:
        position = torch.arange(min(WINDOW, side - (side + 1) % 2), dtype=torch.float64)
        weight = torch.exp(-((position - (len(position) - 1) / 2) ** 2) / (2 * SIGMA**2))
        return weight / weight.sum()

    vertical, horizontal = (window(side) for side in a.shape[1:])

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, vertical[None, None, :, None]), horizontal[None, None, None])

    x, y = (torch.from_numpy(image.astype(np.float64))[:, None] for image in (a, b))
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    similarity = (2 * mx * my + C1) * (2 * cov + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2))
    return float(similarity.mean())
