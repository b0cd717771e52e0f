"""The residual block of both networks, and its initialisation by the depth of the network (arXiv:2501.05441)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.errors import RecipeError
from ganzoo.nn.act import bias_act
from ganzoo.nn.norm import group_size
from ganzoo.nn.resample import Taps
from ganzoo.types import Count, Maps, Size

PAPER = "arXiv:2501.05441"
FILTER: Taps = (1, 3, 3, 1)
GAIN = math.sqrt(2 / (1 + 0.2**2))  # keeps the variance under leaky ReLU(0.2) (arXiv:1502.01852, Eq. 15)
PerLevel = Count | dict[int, Count]  # a number, or {height: number}


def at_level(numbers: PerLevel, size: Size, option: str) -> int:
    """Return the number for maps of a size; `option` names it in a RecipeError where their height is not listed."""
    if isinstance(numbers, int):
        return numbers
    if size[0] not in numbers:
        raise RecipeError(
            f"{option}: {numbers} has no number for the height {size[0]}: add it, or give one number for all."
        )
    return numbers[size[0]]


class Conv(nn.Module):
    """[N, fan_in, H, W] -> [N, fan_out, H, W] in the precision of x, with weights of N(0, gain² / fan_in of an output).

    Args:
        fan_in: input channels
        fan_out: output channels
        kernel: side of the kernel; odd
        groups: number of groups that inputs and outputs are divided into
        gain: factor of the initial weight; nothing is scaled at run time
        act: add a bias, initially 0, and apply leaky ReLU(0.2) without a gain
    """

    def __init__(
        self, fan_in: int, fan_out: int, kernel: int = 1, *, groups: int = 1, gain: float = 1.0, act: bool = False
    ) -> None:
        super().__init__()
        weight = torch.randn(fan_out, fan_in // groups, kernel, kernel)
        self.weight = nn.Parameter(weight * (gain / math.sqrt(weight[0].numel())))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if act else None
        self.groups = groups

    def forward(self, x: Maps) -> Maps:
        """Convolve; add the bias and activate, where there is a bias."""
        x = F.conv2d(x, self.weight.to(x.dtype), padding=self.weight.shape[-1] // 2, groups=self.groups)
        return x if self.bias is None else bias_act(x, self.bias, "lrelu", gain=1)


class Bottleneck(nn.Module):
    """x + f(x): 1x1, grouped 3x3 and 1x1 convolutions with leaky ReLU between them; f is 0 at initialisation.

    Maps [N, C, H, W] -> Maps of the same shape. The last convolution starts at 0, so the first two have no gradient
    until it has moved.

    Args:
        channels: of inputs and outputs
        expansion: channels of the grouped convolution, as a multiple of `channels`
        channels_per_group: of the grouped convolution; the largest divisor of its channels up to this number is used
    """

    def __init__(self, channels: int, expansion: int, channels_per_group: int) -> None:
        super().__init__()
        inner = channels * expansion
        groups = inner // group_size(inner, channels_per_group)
        self.conv0 = Conv(channels, inner, gain=GAIN, act=True)
        self.conv1 = Conv(inner, inner, 3, groups=groups, gain=GAIN, act=True)
        self.conv2 = Conv(inner, channels, gain=0)

    def forward(self, x: Maps) -> Maps:
        """Return x + f(x), without a factor."""
        y: Tensor = self.conv2(self.conv1(self.conv0(x)))
        return x + y


def residual_blocks(
    channels: int, size: Size, blocks: PerLevel, expansion: int, channels_per_group: PerLevel
) -> nn.Sequential:
    """Build the residual blocks of one level: maps [N, channels, *size] -> maps of the same shape."""
    per_group = at_level(channels_per_group, size, "channels_per_group")
    count = at_level(blocks, size, "blocks")
    return nn.Sequential(*(Bottleneck(channels, expansion, per_group) for _ in range(count)))


def scale_by_depth(network: nn.Module) -> None:
    """Multiply a new network's residual weights by L^(-1/4), L its number of blocks (arXiv:1901.09321, section 3).

    A block of m convolutions takes L^(-1/(2m - 2)), m = 3: then an optimizer step changes the network's output by an
    amount that does not depend on its depth.
    """
    blocks = [module for module in network.modules() if isinstance(module, Bottleneck)]
    with torch.no_grad():
        for block in blocks:
            block.conv0.weight.mul_(len(blocks) ** -0.25)
            block.conv1.weight.mul_(len(blocks) ** -0.25)
