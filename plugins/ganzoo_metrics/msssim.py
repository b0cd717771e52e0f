"""Multi-scale structural similarity of generated images with each other (Wang, Simoncelli and Bovik, 2003)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.interfaces import Metric, Shape, Which
from ganzoo.nn.arguments import require_batch

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the levels, fine to coarse; published so: they add up to 1.0001
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
LEAST = 2 ** (len(WEIGHTS) - 1)  # pixels that leave one at the coarsest level
PIXELS = 2**18  # values worked on at a time: stays within a core's cache


def gaussian_window(size: int) -> Tensor:
    """Samples of a Gaussian, float64 [size], sum 1; sigma is 1.5 at 11 samples and shrinks with their number.

    Of an even number of samples the middle lies between two of them.
    """
    at = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    window = torch.exp(-at.square() / (2 * (SIGMA * size / WINDOW) ** 2))
    return window / window.sum()


def _filter(x: Tensor, window: Tensor) -> Tensor:
    """Correlate both axes of [..., H, W] with a symmetric window, where it fits.

    Products are rounded before they are added: fused, an image's last bit would depend on its place in the batch.
    """
    size = len(window)
    for dim in (-2, -1):
        n = x.shape[dim] - size + 1
        total = torch.zeros_like(x.narrow(dim, 0, n))
        for i in range((size + 1) // 2):
            mirrored = x.narrow(dim, size - 1 - i, n)
            pair = x.narrow(dim, i, n) if 2 * i == size - 1 else x.narrow(dim, i, n) + mirrored
            total += pair * window[i]
        x = total
    return x


def ssim_levels(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Structural similarity of each pair at each of five scales (Wang et al. 2003; window of arXiv:1710.10196's code).

    With local means m, variances v and covariance c under the window:
    contrast = (2 c + C2) / (v_a + v_b + C2),  ssim = contrast * (2 m_a m_b + C1) / (m_a^2 + m_b^2 + C1),
    averaged over places and channels. Scales are halved by 2x2 means; an odd last row or column is left out.

    Args:
        a: float64 [N, C, H, W], 0 to 255, sides of at least 16
        b: float64 [N, C, H, W]

    Returns:
        ssim and contrast, float64 [5, N] each, fine to coarse
    """
    ssims: list[Tensor] = []
    contrasts: list[Tensor] = []
    for level in range(len(WEIGHTS)):
        if level:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        window = gaussian_window(min(WINDOW, *a.shape[2:]))
        m_a, m_b, aa, bb, ab = (_filter(x, window) for x in (a, b, a * a, b * b, a * b))
        means, product = m_a * m_a + m_b * m_b, m_a * m_b
        contrast = ((ab - product) * 2 + C2) / (aa + bb - means + C2)
        ssim = contrast * (product * 2 + C1) / (means + C1)
        for values, into in ((ssim, ssims), (contrast, contrasts)):
            into.append(torch.stack([image.mean() for image in values]))
    return torch.stack(ssims), torch.stack(contrasts)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """prod_{l < 5} contrast_l^w_l * ssim_5^w_5 of each pair, with 0 for what is below (Wang et al. 2003, eq. 7).

    Args:
        a: [N, C, H, W], 0 to 255, any type, sides of at least 16
        b: [N, C, H, W]

    Returns:
        float64 [N], 0 to 1; 1 for equal images
    """
    count = max(1, PIXELS // a[0].numel())
    scores = []
    for some_a, some_b in zip(a.split(count), b.split(count)):
        ssims, contrasts = ssim_levels(some_a.double(), some_b.double())
        factors = torch.cat([contrasts[:-1], ssims[-1:]]).clamp(min=0)
        scores.append(factors.pow(factors.new_tensor(WEIGHTS)[:, None]).prod(dim=0))
    return torch.cat(scores)


class MSSSIM(Metric, name="msssim", paper="arXiv:1710.10196"):
    """Mean multi-scale structural similarity of pairs of generated images: lower is more varied, and says no more.

    Noise is varied too, so it is no measure of quality. Pairs are images 0 and 1, 2 and 3, and so on; real images are
    not looked at. Channels count alike, however many there are. Papers that have classes compare images of one class;
    here pairs are as they come. An odd last image is left out.

    Args:
        num: number of generated images, half as many pairs
    """

    primary: str = "msssim"
    lower_is_better: ClassVar[bool] = True

    def __init__(self, shape: Shape, seed: int, /, *, num: Annotated[int, Ge(2)] = 20_000) -> None:
        super().__init__(shape, seed, num=num, num_real=0)
        h, w = shape.size
        if min(h, w) < LEAST:
            raise DataError(f"msssim halves images four times, so they must be at least 16 pixels a side, not {h}x{w}.")
        self.scores: list[Tensor] = []
        self.waiting = torch.empty(0, shape.channels, h, w, dtype=torch.uint8)  # at most one image, for its partner
        self.seen = 0

    def update(self, batch: Tensor, which: Which) -> None:
        """Take in uint8 images [N, C, H, W] of the metric's shape; real ones are let pass.

        Raises:
            DataError: another dtype or shape
        """
        require_batch(batch, f"the metric '{self.name}'")
        wanted = list(self.waiting.shape[1:])
        if batch.dtype != torch.uint8 or list(batch.shape[1:]) != wanted:
            raise DataError(
                f"msssim takes uint8 images of shape [N, {', '.join(map(str, wanted))}], "
                f"not {str(batch.dtype).removeprefix('torch.')} {list(batch.shape)}."
            )
        if which == "real":
            return
        batch = batch[: max(0, self.num - self.seen)].cpu()
        self.seen += len(batch)
        images = torch.cat([self.waiting, batch])
        even = len(images) // 2 * 2
        if even:
            self.scores.append(ms_ssim(images[0:even:2], images[1:even:2]))
        self.waiting = images[even:].clone()

    def compute(self) -> dict[str, float]:
        """{"msssim": mean over pairs}.

        Raises:
            DataError: fewer than two images
        """
        if not self.scores:
            raise DataError(f"msssim compares pairs of generated images; it was given {self.seen} of them.")
        return {"msssim": float(torch.cat(self.scores).mean())}

    def state(self, which: Which) -> dict[str, Tensor]:
        """{"scores": float64 [pairs], "waiting": uint8 [0 or 1, C, H, W]}."""
        if which == "real":
            return {}
        return {"scores": torch.cat([torch.empty(0, dtype=torch.float64), *self.scores]), "waiting": self.waiting}

    def merge(self, which: Which, state: Mapping[str, Tensor]) -> None:
        """Append the pairs of the images that follow.

        After an odd number of images pairs are not those of one pass: the two images left over become a pair.
        """
        if which == "real":
            return
        if len(state["scores"]):
            self.scores.append(state["scores"])
            self.seen += 2 * len(state["scores"])
        self.update(state["waiting"], which)
