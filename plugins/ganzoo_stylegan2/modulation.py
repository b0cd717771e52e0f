"""Weight modulation and demodulation (arXiv:1912.04958, section 2.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.nn.precision import at_least_fp32
from ganzoo.nn.resample import Taps, conv2d_up
from ganzoo.types import Maps

EPS = 1e-8
TINY = 1e-15  # smallest divisor: its square is still a normal float32


def modulated_conv2d(
    x: Maps, weight: Tensor, styles: Tensor, *, demodulate: bool = True, up: Taps | None = None
) -> Maps:
    """Convolve each sample with its own weights s_i w_oi (Eq. 1), each output channel at unit norm (Eq. 3).

    Scaling the input by s and the output by d is the same function without per-sample weights, and Σ_ik (s_i w_oik)²
    is s² times the O x I table of squared weights summed over the kernel. In float16, weights and styles are
    normalised first (`unit`), so that nothing overflows.

    Args:
        x: [N, I, H, W]
        weight: [O, I, k, k]
        styles: [N, I]
        demodulate: apply Eq. 3
        up: taps of the filter when doubling the size; the convolution then is a true one, not a correlation
    """
    scale = None
    if x.dtype == torch.float16:
        weight, styles, scale = unit(weight, styles)
    x = x * styles.to(x.dtype)[:, :, None, None]
    w = weight.to(x.dtype)
    x = conv2d_up(x, w, up) if up else F.conv2d(x, w, padding=w.shape[-1] // 2)
    if demodulate:
        norm = styles.square() @ weight.square().sum(dim=[2, 3]).T  # [N O]
        eps = EPS if scale is None else EPS / scale.square()
        d = (norm + eps).rsqrt().clamp_max(torch.finfo(x.dtype).max)
        return x * d.to(x.dtype)[:, :, None, None]
    return x if scale is None else (at_least_fp32(x) * scale[:, :, None, None]).to(x.dtype)


def unit(weight: Tensor, styles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise weights to norm 1 for each output channel, and styles to maximum 1 for each sample.

    Then |Σ_ik s_i w_oik x_ik| <= |x| over the kernel's window (Cauchy-Schwarz): for |x_ik| <= 256 at most
    256 √(9 * 512) = 17,400, which float16 can represent. With ε / (a_o b_n)² as the ε of Eq. 3, s_i w_oi d_o does not
    depend on the divisors a_o and b_n, which are therefore constants in gradients.

    Args:
        weight: [O, I, k, k]
        styles: [N, I]

    Returns:
        weight / a, styles / b, and a b [N, O]
    """
    with torch.no_grad():
        a = weight.square().sum(dim=[1, 2, 3]).sqrt().clamp_min(TINY)  # [O]
        b = styles.abs().amax(dim=1).clamp_min(TINY)  # [N]
    return weight / a[:, None, None, None], styles / b[:, None], b[:, None] * a
