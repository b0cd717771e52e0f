"""Statistics of feature maps that stand for style, and the distances between them.

Two kinds. Means and deviations of each channel (AdaIN, and matching of batch-norm statistics)
are 2 C numbers; the Gram matrix (Gatys) also holds products of different channels. Both are blind to where things are.

Styles may have another height and width than contents, and one style may serve a batch of contents. Sums run in at
least float32. Papers and ports differ in what they divide a loss by, so each function says its own divisor; weights
from elsewhere have to be converted.
"""

from typing import Literal

import torch
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.nn.precision import at_least_fp32
from ganzoo.types import Maps

Per = Literal["none", "hw", "chw", "nchw"]


def mean_std(x: Maps, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each map (arXiv:1703.06868, section 3.2, Eq. 6 and 7).

    The variance is the unbiased one, sum / (H W - 1), as in the published code; instance norm layers take the biased
    one. The deviation is sqrt(variance + eps), so it is never 0.

    Args:
        x: [N, C, H, W], H W at least 2
        eps: added to the variance

    Returns:
        mean and deviation, [N, C, 1, 1] each

    Raises:
        DataError: maps of a single position have no deviation
    """
    if x.shape[2] * x.shape[3] < 2:
        raise DataError(
            f"the deviation of a map needs two positions at least, not {x.shape[2]} x {x.shape[3]}: the image is too"
            " small for this layer."
        )
    variance, mean = torch.var_mean(at_least_fp32(x), dim=[2, 3], correction=1, keepdim=True)
    return mean, (variance + eps).sqrt()


def adain(content: Maps, style: Maps, alpha: float = 1.0, eps: float = 1e-5) -> Maps:
    """Adaptive instance normalisation: the content with the style's means and deviations.

    sigma(style) (content - mu(content)) / sigma(content) + mu(style) (arXiv:1703.06868, section 5, Eq. 8), then blended
    with the content (section 7.3, Eq. 14). StyleGAN's layer of that name is another: there the style is an affine of w,
    the variance is biased, and eps is 1e-8.

    Args:
        content: [N, C, H, W]
        style: [N or 1, C, H', W']
        alpha: strength: 0 is the content, 1 the style's statistics
        eps: added to the variances

    Returns:
        [N, C, H, W]
    """
    (mean, std), (style_mean, style_std) = mean_std(content, eps), mean_std(style, eps)
    styled = (at_least_fp32(content) - mean) / std * style_std + style_mean
    return (alpha * styled + (1 - alpha) * at_least_fp32(content)).to(content.dtype)


def content_loss(x: Maps, target: Maps) -> Tensor:
    """Mean squared difference: the decoded image's features and AdaIN's target (arXiv:1703.06868, section 6.2, Eq. 12).

    The paper writes a Euclidean distance; its code, as this, takes the mean over everything.

    Args:
        x: [N, C, H, W]
        target: the same shape

    Returns:
        scalar
    """
    return (at_least_fp32(x) - at_least_fp32(target)).square().mean()


def statistics_loss(x: Maps, style: Maps, eps: float = 1e-5) -> Tensor:
    """Matching of batch-norm statistics: mean_c (mu(x) - mu(style))² + mean_c (sigma(x) - sigma(style))².

    arXiv:1701.01036, "BN statistics matching". Not equivalent to a Gram matrix, which also holds products of different
    channels.

    Args:
        x: [N, C, H, W]
        style: [N or 1, C, H', W']
        eps: added to the variances

    Returns:
        [N]
    """
    return moments_error(mean_std(x, eps), mean_std(style, eps))


def moments_error(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, ...]) -> Tensor:
    """`statistics_loss` of means and deviations [N or 1, C, 1, 1] that are known: [N]."""
    return torch.stack([(a - b).square().mean(dim=[1, 2, 3]) for a, b in zip(ours, theirs)]).sum(dim=0)


def style_loss(x: Maps, style: Maps, eps: float = 1e-5) -> Tensor:
    """AdaIN's style loss of one layer: `statistics_loss`, batch mean (arXiv:1703.06868, section 6.2, Eq. 13).

    MSE of the means plus MSE of the deviations, as in the published code; the paper writes Euclidean distances.

    Args:
        x: [N, C, H, W]
        style: [N or 1, C, H', W']
        eps: added to the variances

    Returns:
        scalar
    """
    return statistics_loss(x, style, eps).mean()


def gram(x: Maps, per: Per = "none") -> Tensor:
    """Gram matrix G_ij = sum over positions of F_i F_j (arXiv:1508.06576, Eq. 3), divided by what `per` says.

    - none: as the paper writes it
    - hw: H W; the mean over positions, which is comparable between images of different sizes
    - chw: C H W (arXiv:1603.08155, section 3.2, Eq. 3, and the PyTorch example fast_neural_style)
    - nchw: N C H W, and batch and channels are one axis, so different samples meet (the PyTorch tutorial); with a
      single sample it is chw

    Args:
        x: [N, C, H, W]
        per: the divisor

    Returns:
        [N, C, C], symmetric; [N C, N C] for nchw
    """
    n, c, h, w = x.shape
    flat = at_least_fp32(x).reshape(n, c, h * w)
    if per == "nchw":
        flat = flat.flatten(0, 1)
    divisor = {"none": 1, "hw": h * w, "chw": c * h * w, "nchw": n * c * h * w}[per]
    return flat @ flat.mT / divisor


def gram_loss(x: Maps, style: Maps, per: Per = "chw") -> Tensor:
    """Mean squared difference of Gram matrices, as ports of Gatys and of Johnson's fast transfer take it.

    The papers sum: arXiv:1603.08155, Eq. 4, is C² times this for a batch of one. Divided by "hw" it is C² times as
    large as by "chw".

    Args:
        x: [N, C, H, W]
        style: [N or 1, C, H', W']; of the same size and batch when `per` is "none" or "nchw"
        per: divisor of the Gram matrices

    Returns:
        scalar
    """
    return (gram(x, per) - gram(style, per)).square().mean()


def gatys_content_loss(x: Maps, content: Maps) -> Tensor:
    """Half the squared distance, sum (F - P)² / 2 (arXiv:1508.06576, Eq. 1); a sum, so it grows with the image.

    Args:
        x: [N, C, H, W]
        content: [N or 1, C, H, W]

    Returns:
        [N]
    """
    return (at_least_fp32(x) - at_least_fp32(content)).square().sum(dim=[1, 2, 3]) / 2


def gatys_style_loss(x: Maps, style: Maps) -> Tensor:
    """One layer's E = sum (G - A)² / (4 C² (H W)²) (arXiv:1508.06576, Eq. 4).

    Computed as sum (G / HW - A / H'W')² / (4 C²): the same for equal sizes, and meaningful for others. It is
    MMD² / (4 C²), MMD the biased maximum mean discrepancy, under the kernel (x . y)², of the two sets of feature
    columns (arXiv:1701.01036, "Reformulation of the style loss").

    Args:
        x: [N, C, H, W]
        style: [N or 1, C, H', W']

    Returns:
        [N]
    """
    return gram_error(gram(x, "hw"), gram(style, "hw"))


def gram_error(ours: Tensor, theirs: Tensor) -> Tensor:
    """`gatys_style_loss` of Gram matrices [N or 1, C, C], divided by their positions, that are known: [N]."""
    return (ours - theirs).square().sum(dim=[1, 2]) / (2 * ours.shape[1]) ** 2


def coral(source: Tensor, target: Tensor, as_published: bool = False) -> Tensor:
    """Colour transfer by correlation alignment: the source image with the target's colour statistics.

    Whiten and recolour (arXiv:1511.05547, Algorithm 1), channels being normalised to mean 0 and deviation 1 before:
    T^(1/2) S^(-1/2) x, S and T the sums over pixels of x xᵀ, plus the identity. It keeps a content's colours when the
    style is recoloured with it before the transfer (arXiv:1703.06868, section 7.3).

    Sums grow with the number of pixels, so the target's are scaled to that of the source. The published code leaves
    them, and the deviations of its result carry a factor sqrt(target's pixels / source's pixels).

    Args:
        source: [C, H, W], H W at least 2
        target: [C, H', W'], H' W' at least 2
        as_published: leave the sums

    Returns:
        [C, H, W]; a constant channel counts as uncorrelated with the others
    """

    def split(image: Tensor, pixels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (mean,), (std,) = mean_std(image[None], eps=0)
        normal = ((at_least_fp32(image) - mean) / std.clamp_min(torch.finfo(std.dtype).tiny)).flatten(1)
        scale = 1.0 if as_published else pixels / normal.shape[1]
        scatter = normal @ normal.mT * scale + torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
        return mean, std, normal, scatter

    pixels = source[0].numel()
    _, _, normal, scatter = split(source, pixels)
    mean, std, _, wanted = split(target, pixels)
    recoloured = _power(wanted, 0.5) @ _power(scatter, -0.5) @ normal
    return (recoloured.reshape(source.shape) * std + mean).to(source.dtype)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Power of a symmetric positive definite matrix [C, C]."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.pow(exponent) @ vectors.mT
