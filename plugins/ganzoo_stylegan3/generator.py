"""StyleGAN3's synthesis network: Fourier features, then alias-free layers (arXiv:2106.12423, sections 3 and F)."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from ganzoo import interfaces as zoo
from ganzoo.errors import RecipeError
from ganzoo.interfaces import Stage
from ganzoo.interfaces.layers import Styleable
from ganzoo.nn.equal import Linear
from ganzoo.nn.precision import at_least_fp32, cast
from ganzoo.nn.stack import Stack
from ganzoo.types import Count, Image, Maps, Plan, Positive, Pyramid, Style, Styles
from ganzoo_stylegan3.bands import Bands, resample
from ganzoo_stylegan3.fourier import FourierFeatures
from ganzoo_stylegan3.layer_table import Design, LayerSpec, channels_at, square_side

PAPER = "arXiv:2106.12423"
EPS = 1e-8
SLOPE = 0.2  # of leaky ReLU below zero
HALF_RATES = 16  # with float16, maps at rates above 1/16 of the image's are float16


class _FilteredLReLU(torch.autograd.Function):
    """`filtered_lrelu`, which keeps the result of leaky ReLU alone for its gradient; that is differentiable again."""

    @staticmethod
    def forward(ctx: Any, x: Maps, up: Bands, down: Sequence[Bands], slope: float, clamp: float) -> Maps:
        """Upsample, activate in place, and downsample."""
        y = F.hardtanh_(F.leaky_relu_(resample(x, up), slope), -clamp, clamp)
        ctx.save_for_backward(y)
        ctx.options = up, down, slope, clamp
        first, *others = [resample(y, bands) for bands in down]
        return sum(others, first)

    @staticmethod
    def backward(ctx: Any, dy: Maps) -> tuple[Maps, None, None, None, None]:
        """Apply the adjoints, with the slope at each value in between; slopes are constant but at the kinks."""
        (y,), (up, down, slope, clamp) = ctx.saved_tensors, ctx.options
        first, *others = [resample(dy, bands, True) for bands in down]
        g = torch.ops.aten.hardtanh_backward(sum(others, first), y, -clamp, clamp)
        g = torch.ops.aten.leaky_relu_backward(g, y, slope, True)
        return resample(g, up, True), None, None, None, None


def filtered_lrelu(
    x: Maps, up: Bands, down: Sequence[Bands], *, slope: float = SLOPE, clamp: float | None = None
) -> Maps:
    """Upsample, apply leaky ReLU and a limit, and downsample.

    Args:
        x: [N, C, H, W]
        up: the upsampling filter, with its gain and that of the activation, which is the same before leaky ReLU
        down: the downsampling filter, as a sum of separable ones
        slope: of leaky ReLU below zero
        clamp: limit of the absolute value; None for none
    """
    return _FilteredLReLU.apply(x, up, down, slope, math.inf if clamp is None else clamp)


def modulated_conv2d(
    x: Maps, weight: Tensor, styles: Tensor, *, padding: int = 0, demodulate: bool = True, gain: Tensor | None = None
) -> Maps:
    """Convolve each sample with its own weights s_i w_oi; normalised as in appendix F where `demodulate`.

    Then weights have unit RMS for each output channel and styles over the whole batch, which cancels but for epsilon,
    and the modulated weights unit norm. Scaling the input by s and the output by the norms is the same function without
    weights for each sample.

    Args:
        x: [N, I, H, W]
        weight: [O, I, k, k]
        styles: [N, I]
        padding: zeros around the maps
        demodulate: normalise
        gain: factor of the result, []; None for 1
    """
    scale = None if gain is None else gain[None, None]
    if demodulate:
        fan_in = weight[0].numel()
        weight = weight * (weight.square().sum(dim=[1, 2, 3], keepdim=True)).rsqrt()  # unit norm, unit RMS / √fan_in
        styles = styles * styles.square().mean().rsqrt()
        norm = styles.square() @ weight.square().sum(dim=[2, 3]).T  # [N O]
        demodulation = (norm + EPS / fan_in).rsqrt()
        scale = demodulation if scale is None else demodulation * scale
    y = F.conv2d(x * styles.to(x.dtype)[:, :, None, None], weight.to(x.dtype), padding=padding)
    return y if scale is None else y * scale.to(x.dtype)[:, :, None, None]


class AliasFreeLayer(Styleable):
    """Modulated convolution, bias, and leaky ReLU at a higher rate between two filters (section 3.2).

    `magnitude_ema`, a buffer, follows the mean square of the input in the discriminator's phase of training, and the
    input is divided by its root.

    Args:
        w_dim: length of a style code
        spec: the layer's entry in the table
        clamp: limit of the absolute value; None for none
        magnitude_beta: decay of the moving mean square, per batch
        image: whether the layer makes the image: without demodulation, activation and filters
    """

    casts_weights = True
    styled = True
    magnitude_ema: Tensor  # []

    def __init__(
        self, w_dim: int, spec: LayerSpec, *, clamp: float | None, magnitude_beta: float, image: bool = False
    ) -> None:
        super().__init__()
        source, target = spec.source.channels, spec.target.channels
        self.spec, self.clamp, self.magnitude_beta, self.image = spec, clamp, magnitude_beta, image
        self.affine = Linear(w_dim, source, bias=1.0)
        self.weight = nn.Parameter(torch.randn(target, source, spec.kernel, spec.kernel))
        self.bias = nn.Parameter(torch.zeros(target))
        self.register_buffer("magnitude_ema", torch.ones(()))
        up = spec.up_band(1.0 if image else math.sqrt(math.sqrt(2)))  # leaky ReLU's √2, half of it along each axis
        self.up = up, up
        self.down = {dtype: spec.down_bands(torch.finfo(dtype).eps) for dtype in (torch.float32, torch.float64)}

    def forward(self, x: Maps, w: Style) -> Maps:
        """Turn maps [N, C, H, W] at the source's size into maps at the target's."""
        styles = self.affine(w)
        styles = styles / math.sqrt(styles.shape[1]) if self.image else styles
        gain, padding = self.magnitude_ema.rsqrt(), self.spec.kernel - 1
        x = modulated_conv2d(x, self.weight, styles, padding=padding, demodulate=not self.image, gain=gain)
        x = x + self.bias.to(x.dtype)[:, None, None]
        if self.image:
            return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
        down = self.down[torch.float64 if x.dtype == torch.float64 else torch.float32]
        return filtered_lrelu(x, self.up, down, clamp=self.clamp)

    @torch.no_grad()
    def follow(self, x: Maps) -> None:
        """Move the mean square of the input towards that of maps."""
        power = at_least_fp32(x).square().mean()
        self.magnitude_ema.copy_(power.lerp(self.magnitude_ema, self.magnitude_beta))

    def style_weight(self) -> Tensor:
        """Matrix of the affine layer, [channels, W]."""
        return self.affine.weight * self.affine.scale


class AliasFreeSynthesis(zoo.SynthesisNetwork, name="alias_free", paper=PAPER):
    """Fourier features and 14 alias-free layers at rising rates, of one image; configuration T, or R by two options.

    Square images with a power of two as their side. Channels follow the generator's levels: the layer with cutoff f_c
    has as many as a level of size 2 f_c would have.

    Args:
        kernel: side of the kernels: 3 (configuration T) or 1 (configuration R)
        radial: rotation-symmetric downsampling filters, but in critically sampled layers (configuration R)
        layers: number of layers before the one that makes the image
        critical: number of last layers that are critically sampled
        channels: of each layer, in place of the generator's; null for those
        first_cutoff: highest frequency of the first maps that passes, in cycles per image side
        first_stopband: frequency from which the first maps hold nothing
        last_stopband: the same of the last maps, as a multiple of the image's highest frequency
        margin: pixels around the image at every rate
        filter_size: taps of a filter for each unit of its factor
        upsampling: how many times finer nonlinearities are sampled than maps
        clamp: limit of the absolute values; null for none
        output_scale: factor of the image
        magnitude_beta: decay of the moving mean squares of all layers' inputs, per batch
    """

    square = True

    def __init__(
        self,
        plan: Plan,
        w_dim: int,
        image_channels: int,
        /,
        *,
        kernel: Annotated[int, Interval(ge=1, le=15)] = 3,
        radial: bool = False,
        layers: Annotated[int, Interval(ge=1, le=64)] = 14,
        critical: Annotated[int, Ge(0)] = 2,
        channels: tuple[Count, ...] | None = None,
        first_cutoff: Positive = 2.0,
        first_stopband: Positive = 2.0**2.1,
        last_stopband: Positive = 2.0**0.3,
        margin: Annotated[int, Interval(ge=0, le=64)] = 10,
        filter_size: Annotated[int, Interval(ge=2, le=16)] = 6,
        upsampling: Annotated[int, Interval(ge=1, le=8)] = 2,
        clamp: Positive | None = 256.0,
        output_scale: Annotated[float, Gt(0)] = 0.25,
        magnitude_beta: Annotated[float, Interval(ge=0, lt=1)] = 0.999,
    ) -> None:
        super().__init__()
        side = square_side(plan[-1][0])
        if critical >= layers:
            raise RecipeError(f"critical: {critical} of {layers} layers", cure="choose fewer than layers")
        design = Design(
            layers=layers,
            critical=critical,
            first_cutoff=first_cutoff,
            first_stopband=first_stopband,
            last_stopband=last_stopband,
            margin=margin,
            filter_size=filter_size,
            upsampling=upsampling,
            kernel=kernel,
            radial=radial,
        )
        cutoffs = [signal.cutoff for signal in design.signals(side)]
        if channels is not None and len(channels) != layers:
            raise RecipeError(
                f"synthesis.channels: {list(channels)} names {len(channels)} layers of {layers}",
                cure="list one number for each",
            )
        table = design.table(side, channels or channels_at(plan, cutoffs[:-1]), image_channels)
        self.input = FourierFeatures(w_dim, table[0].source)
        self.layers = Stack(
            AliasFreeLayer(w_dim, spec, clamp=clamp, magnitude_beta=magnitude_beta, image=i == layers)
            for i, spec in enumerate(table)
        )
        self.num_ws = 1 + len(self.layers)
        self.side, self.output_scale = side, output_scale

    @property
    def transform(self) -> Tensor:  # type: ignore[override]
        """The user's transform of the Fourier features."""
        return self.input.transform

    def forward(self, ws: Styles, stage: Stage) -> Pyramid:
        """Turn style codes [N, L, W] into one image in about [-1, 1], whatever the stage."""
        x = self.input(ws[:, 0])
        for layer, w in zip(self.layers, ws[:, 1:].unbind(1)):
            x = cast(x, self._dtype(layer.spec))
            if self.training and self.phase == "d":
                layer.follow(x)
            x = layer(x, w)
        image: Image = at_least_fp32(x) * self.output_scale
        return (image,)

    def _dtype(self, spec: LayerSpec) -> torch.dtype | None:
        """Precision of a layer: float16 for the finest rates only, as elsewhere the network's."""
        coarse = spec.target.rate * HALF_RATES <= self.side
        return torch.float32 if self.dtype == torch.float16 and coarse else self.dtype
