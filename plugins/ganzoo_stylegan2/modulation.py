"""Weight modulation and demodulation (arXiv:1912.04958, section 2.2)."""

from torch import Tensor

from ganzoo.nn.resample import Taps, conv2d_resample, fir
from ganzoo.types import Maps

EPS = 1e-8


def modulated_conv2d(
    x: Maps, weight: Tensor, styles: Tensor, *, demodulate: bool = True, up: Taps | None = None
) -> Maps:
    """Convolve each sample with its own weights s_i w_oi (Eq. 1), each output channel at unit norm (Eq. 3).

    Scaling the input by s and the output by d is the same function without per-sample weights, and Σ_ik (s_i w_oik)²
    is s² times the O x I table of squared weights summed over the kernel.

    Args:
        x: [N, I, H, W]
        weight: [O, I, k, k]
        styles: [N, I]
        demodulate: apply Eq. 3
        up: taps of the filter when doubling the size; the convolution then is a true one, not a correlation
    """
    x = x * styles.to(x.dtype)[:, :, None, None]
    w, padding = weight.to(x.dtype), weight.shape[-1] // 2
    x = (
        conv2d_resample(x, w, fir(up, x), up=2, padding=padding, flip_weight=False)
        if up
        else conv2d_resample(x, w, padding=padding)
    )
    if demodulate:
        norm = styles.square() @ weight.square().sum(dim=[2, 3]).T  # [N O]
        x = x * (norm + EPS).rsqrt().to(x.dtype)[:, :, None, None]
    return x
