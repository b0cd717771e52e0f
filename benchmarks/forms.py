"""The same function in several forms: milliseconds, and errors against float64.

    python benchmarks/forms.py [--only WORD] [--precision bf16|fp32] [--repeats 9] [--threads 2] [--save]

The first form of each operation is the one in use; `plain`, where present, follows the definition. Times cover forward
and backward, and a penalty on the gradient of x such as R1; beside each is its ratio to the first form's. Errors are
relative, of the value and of the gradient of x. Forms are timed in rotation, so that other load on the machine slows
all of them; times are medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from machine import ready, save
from torch import Tensor

from ganzoo.nn.act import bias_act
from ganzoo.nn.norm import instance_norm, normalized, pixel_norm
from ganzoo.nn.resample import conv2d_down, conv2d_up, fir, upfirdn2d
from ganzoo.training.device import DTYPES
from ganzoo_stylegan2.modulation import modulated_conv2d
from ganzoo_stylegan3.bands import Band, resample
from ganzoo_stylegan3.filters import low_pass

TAPS = (1.0, 3.0, 3.0, 1.0)
SIZES = ((8, 512, 4), (8, 512, 16), (8, 256, 32), (16, 64, 16))  # batch, channels, side
Form = Callable[..., Tensor]


# --- upsampling and convolving ---------------------------------------------------------------------------------------


def nearest_then_convolve(x: Tensor, w: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), w, padding=1)


def nearest_in_one_kernel(x: Tensor, w: Tensor) -> Tensor:
    k = F.pad(w, (1, 1, 1, 1)).flip([2, 3])
    k = k[:, :, 1:, 1:] + k[:, :, :-1, 1:] + k[:, :, 1:, :-1] + k[:, :, :-1, :-1]
    return F.conv_transpose2d(x, k.transpose(0, 1), stride=2, padding=1)


def zeros_filter_convolve(x: Tensor, w: Tensor) -> Tensor:
    return F.conv2d(upfirdn2d(x, TAPS, up=2, padding=(3, 2), gain=4), w.flip([2, 3]))


def filtered_kernel(w: Tensor) -> Tensor:
    f = fir(TAPS, w)[None, None]
    return F.conv2d(w.flatten(0, 1)[:, None], f, padding=3)[:, 0].unflatten(0, w.shape[:2])


def up_in_one_kernel(x: Tensor, w: Tensor) -> Tensor:
    return F.conv_transpose2d(x, 4 * filtered_kernel(w).transpose(0, 1), stride=2, padding=2)


def down_in_one_kernel(x: Tensor, w: Tensor) -> Tensor:
    return F.conv2d(x, filtered_kernel(w), stride=2, padding=2)


# --- filters ---------------------------------------------------------------------------------------------------------


def separable(x: Tensor) -> Tensor:
    c, f = x.shape[1], torch.tensor(TAPS, dtype=x.dtype) / 8
    x = F.conv2d(x, f[None, :].expand(c, 1, 1, 4), padding=(0, 2), groups=c)
    return F.conv2d(x, f[:, None].expand(c, 1, 4, 1), padding=(2, 0), groups=c)


def shifted(x: Tensor) -> Tensor:
    f, (h, w) = torch.tensor(TAPS) / 8, x.shape[2:]
    x = F.pad(x, (2, 2, 2, 2))
    x = sum(float(f[i]) * x[:, :, :, i : i + w + 1] for i in range(4))  # type: ignore[assignment]
    return sum(float(f[i]) * x[:, :, i : i + h + 1] for i in range(4))  # type: ignore[return-value]


def depthwise(x: Tensor) -> Tensor:
    c = x.shape[1]
    return F.conv2d(x, fir(TAPS, x)[None, None].expand(c, 1, 4, 4), padding=2, groups=c)


# --- upsampling by StyleGAN3's filters, 12 taps -----------------------------------------------------------------------


WIDE = low_pass(12, 2.0, 12.0, 32.0)  # spec of a layer at rate 16: cutoff 2, transition 12, sampled at 32
PAD = 6  # zeros before the first value, on the doubled grid


def taps(x: Tensor) -> Tensor:
    return torch.from_numpy(WIDE).to(x.dtype) * 2


def products(x: Tensor) -> Tensor:
    up = Band(tuple((WIDE * 2).tolist()), 2, 1, PAD, x.shape[2], 2 * x.shape[2])
    return resample(x, (up, up))


def wide_separable(x: Tensor) -> Tensor:
    c, n, f = x.shape[1], 2 * x.shape[2], taps(x)
    x = F.conv_transpose2d(x, f[None, :].expand(c, 1, 1, 12), stride=(1, 2), groups=c)[:, :, :, 5 : 5 + n]
    return F.conv_transpose2d(x, f[:, None].expand(c, 1, 12, 1), stride=(2, 1), groups=c)[:, :, 5 : 5 + n]


def wide_dense(x: Tensor) -> Tensor:
    c, n, f = x.shape[1], 2 * x.shape[2], taps(x)
    return F.conv_transpose2d(x, torch.outer(f, f).expand(c, 1, 12, 12), stride=2, groups=c)[:, :, 5 : 5 + n, 5 : 5 + n]


def polyphase(x: Tensor) -> Tensor:
    for axis in (2, 3):
        c, n, phases = x.shape[1], x.shape[axis], taps(x).view(6, 2).T  # of the even and of the odd outputs
        kernel = (phases[:, None, :, None] if axis == 2 else phases[:, None, None]).repeat(c, 1, 1, 1)
        y = F.conv2d(F.pad(x, (0, 0, 3, 3) if axis == 2 else (3, 3)), kernel, groups=c).unflatten(1, (c, 2))
        even, odd = y[:, :, 0].narrow(axis, 0, n), y[:, :, 1].narrow(axis, 1, n)
        x = torch.stack([even, odd], dim=axis + 1).flatten(axis, axis + 1)
    return x


# --- modulation, layers ----------------------------------------------------------------------------------------------


def grouped(x: Tensor, w: Tensor, s: Tensor) -> Tensor:
    """Build each sample's weights; convolve all samples as groups of one convolution."""
    n, c = x.shape[:2]
    weights = w * s[:, None, :, None, None]
    weights = weights * (weights.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt()
    y = F.conv2d(x.reshape(1, n * c, *x.shape[2:]), weights.flatten(0, 1).to(x.dtype), padding=1, groups=n)
    return y.unflatten(1, (n, c))[0]


def scaled(x: Tensor, w: Tensor, s: Tensor) -> Tensor:
    """Scale inputs and outputs; compute the demodulation from each sample's weights."""
    d = ((w[None] * s[:, None, :, None, None]).square().sum(dim=[2, 3, 4]) + 1e-8).rsqrt()
    y = F.conv2d(x * s[:, :, None, None].to(x.dtype), w.to(x.dtype), padding=1)
    return y * d[:, :, None, None].to(x.dtype)


def layer(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    y = F.conv2d(x, w * 2**0.5, b * 2**0.5, padding=1)
    return bias_act(y, None, "lrelu", gain=1, overwrite=True)


def layer_in_steps(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.leaky_relu(F.conv2d(x, w, padding=1) + b[:, None, None], 0.2) * 2**0.5


def forms() -> dict[str, tuple[str, dict[str, Form]]]:
    """{operation: (its inputs: x; w, a 3x3 kernel; s, a style; b, a bias; {form: function})}."""
    return {
        "convolution of a map doubled by nearest neighbours": (
            "xw",
            {
                "transposed convolution, 2x2 box": lambda x, w: conv2d_up(x, w.flip([2, 3]), (1, 1)),
                "plain": nearest_then_convolve,
                "one 4x4 transposed convolution": nearest_in_one_kernel,
            },
        ),
        "up-convolution with 1 3 3 1": (
            "xw",
            {
                "transposed convolution, filter": lambda x, w: conv2d_up(x, w, TAPS),
                "plain": zeros_filter_convolve,
                "one 6x6 transposed convolution": up_in_one_kernel,
            },
        ),
        "down-convolution with 1 3 3 1": (
            "xw",
            {
                "filter, strided convolution": lambda x, w: conv2d_down(x, w, TAPS),
                "one 6x6 convolution": down_in_one_kernel,
            },
        ),
        "4x4 filter": (
            "x",
            {
                "depthwise, own gradient": lambda x: upfirdn2d(x, TAPS, padding=(2, 2)),
                "depthwise, torch's gradient": depthwise,
                "separable": separable,
                "shifted slices": shifted,
            },
        ),
        "doubling by 12 taps": (
            "x",
            {
                "products with a matrix": products,
                "separable, depthwise": wide_separable,
                "12x12, depthwise": wide_dense,
                "polyphase, depthwise": polyphase,
            },
        ),
        "modulated convolution": (
            "xws",
            {
                "scaled, table of squares": lambda x, w, s: modulated_conv2d(x, w, s),
                "scaled, own weights' norms": scaled,
                "plain": grouped,
            },
        ),
        "convolution, bias, leaky ReLU, gain": ("xwb", {"bias and gain within": layer, "plain": layer_in_steps}),
        "pixel norm": (
            "x",
            {"own gradient": pixel_norm, "plain": lambda x: normalized(x, (1,), False, 1e-8)[0]},
        ),
        "instance norm": (
            "x",
            {"own gradient": instance_norm, "plain": lambda x: normalized(x, (2, 3), True, 1e-8)[0]},
        ),
    }


def random_inputs(takes: str, n: int, c: int, side: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    all_of = {
        "x": torch.randn(n, c, side, side).add(0.5).to(dtype),
        "w": (torch.randn(c, c, 3, 3) / (9 * c) ** 0.5).to(torch.float32 if "s" in takes else dtype),
        "s": torch.randn(n, c) + 1,
        "b": torch.randn(c).to(dtype),
    }
    like = torch.channels_last
    inputs = [all_of[name] for name in takes]
    return [(t.to(memory_format=like) if t.ndim == 4 else t).requires_grad_() for t in inputs]


def penalty(form: Form, inputs: list[Tensor], probe: Tensor) -> None:
    """Differentiate the squared norm of a gradient, as R1 does."""
    (gradient,) = torch.autograd.grad(form(*inputs), inputs[:1], probe, create_graph=True)
    others = inputs[1:] or [probe]
    torch.autograd.grad(gradient.square().sum(), others, allow_unused=True)


def measure(takes: str, forms: dict[str, Form], size: tuple[int, int, int], dtype: torch.dtype, repeats: int) -> Any:
    inputs = random_inputs(takes, *size, dtype)
    exact = [t.detach().double().requires_grad_() for t in inputs]
    y = next(iter(forms.values()))(*exact)
    probe = torch.randn_like(y).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    (dx,) = torch.autograd.grad(y, exact[:1], probe.double())
    rows: dict[str, dict[str, float]] = {}
    for name, form in forms.items():
        rounded = form(*inputs)
        (rounded_dx,) = torch.autograd.grad(rounded, inputs[:1], probe)
        rows[name] = {"error": float(((rounded - y).norm() / y.norm()).detach())}
        rows[name]["gradient_error"] = float((rounded_dx - dx).norm() / dx.norm())
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for repeat in range(repeats + 2):
        for name, form in forms.items():
            start = time.perf_counter()
            torch.autograd.grad(form(*inputs), inputs, probe)
            between = time.perf_counter()
            penalty(form, inputs, probe)
            if repeat >= 2:  # the first two warm up
                times[name].append((between - start, time.perf_counter() - between))
    for name, row in rows.items():
        for key, column in zip(("milliseconds", "penalty_milliseconds"), zip(*times[name])):
            row[key] = statistics.median(column) * 1e3
            row[f"{key}_over"] = row[key] / next(iter(rows.values()))[key]
    return rows


def show(names: list[str], columns: list[Any]) -> None:
    for title, key in (("forward and backward", "milliseconds"), ("as a penalty", "penalty_milliseconds")):
        print(f"  {title:<34}" + "".join(f"{f'[{n}, {c}, {s}, {s}]':>22}" for n, c, s in SIZES))
        for name in names:
            cells = [f"{column[name][key]:.2f} ms {column[name][f'{key}_over']:5.2f}" for column in columns]
            print(f"    {name:<32}" + "".join(f"{cell:>22}" for cell in cells))
    for name in names:
        errors = [f"{column[name]['error']:.0e}, {column[name]['gradient_error']:.0e}" for column in columns]
        print(f"    {'error: ' + name:<32}" + "".join(f"{cell:>22}" for cell in errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="operations whose name has it")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    ready(args.threads)
    results: dict[str, Any] = {}
    for operation, (takes, variants) in forms().items():
        if args.only not in operation:
            continue
        print(f"{operation}, {args.precision}")
        columns = [measure(takes, variants, size, DTYPES[args.precision], args.repeats) for size in SIZES]
        show(list(variants), columns)
        results[operation] = {str(list(size)): column for size, column in zip(SIZES, columns)}
    if args.save:
        print(save(f"forms-{args.precision}", {"operations": results}))


if __name__ == "__main__":
    main()
