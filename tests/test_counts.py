"""Numbers of trainable parameters, exact, against those of the papers' released networks.

Counted on the meta device from the shipped recipes, so no memory is needed even at 1024x1024.
"""

import pytest
import torch
from torch import nn

from ganzoo.build import Experiment
from ganzoo.recipe import load

LAST = ["generator.synthesis.use=last", "generator.synthesis.stem=constant", "generator.synthesis.to_rgb=modconv"]
LAYER = [
    "generator.synthesis.block.layer.use=modconv",
    "generator.synthesis.block.layer.noise.use=pixel_noise",
    "generator.synthesis.block.layer.noise.per=layer",
]

# topology of figure 7: what to override in stylegan2-e-1024
G_TOPOLOGIES = {
    "orig": [*LAST, "generator.synthesis.block.use=plain", *LAYER],
    "skip": [],
    "resnet": [*LAST, "generator.synthesis.block.use=residual", *LAYER],
}
D_TOPOLOGIES = {
    "orig": ["discriminator.trunk.down=filtered"],
    "skip": ["discriminator.trunk.use=skip", "discriminator.trunk.from_rgb=plain"],
    "resnet": [],
}


def build(recipe: str, *overrides: str) -> Experiment:
    with torch.device("meta"):
        gan: Experiment = load(recipe, overrides).bind()()
    return gan


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def channels(base: int, most: int = 512) -> list[str]:
    return [
        f"{network}.{option}={value}"
        for network in ("generator", "discriminator")
        for option, value in (("channel_base", base), ("channel_max", most))
    ]


@pytest.mark.parametrize(
    ("size", "g", "d"),
    [
        (32, 20_719_628, 20_726_785),
        (64, 22_490_383, 22_498_049),
        (128, 22_933_394, 22_941_313),
        (256, 23_044_309, 23_052_353),
        (512, 23_072_120, 23_080_225),
        (1024, 23_079_115, 23_087_249),
    ],
)
def test_progan(size: int, g: int, d: int) -> None:
    gan = build("progan-1024", f"image.size={size}")
    assert (count(gan.G), count(gan.D)) == (g, d)


def test_progan_of_low_capacity() -> None:
    """Table 1 of arXiv:1710.10196, 128x128."""
    gan = build("progan-1024", "image.size=128", *channels(4096))
    assert (count(gan.G), count(gan.D)) == (13_629_810, 13_636_897)


def test_progan_for_cifar() -> None:
    """The original implementation's CIFAR-10 networks: 128 channels, latents of 128."""
    gan = build("progan-1024", "image.size=32", *channels(8192, 128), "generator.z_dim=128", "generator.w_dim=128")
    assert (count(gan.G), count(gan.D)) == (1_296_908, 1_298_689)


def test_progan_blocks() -> None:
    """Each resolution of the 1024x1024 networks."""
    gan = build("progan-1024")
    synthesis, trunk = gan.G.synthesis, gan.D.trunk
    assert count(synthesis.stem) + count(synthesis.blocks[0]) == 6_554_624
    assert [count(b) for b in synthesis.blocks[1:]] == [4_719_616] * 3 + [1_769_984, 442_624, 110_720, 27_712, 6_944]
    assert [count(m) for m in synthesis.to_rgb.values()] == [1_539] * 4 + [771, 387, 195, 99, 51]
    assert count(gan.D.head) == 6_559_745
    assert [count(b) for b in trunk.blocks] == [4_719_616] * 3 + [1_770_240, 442_752, 110_784, 27_744, 6_960]
    assert [count(m) for m in trunk.from_rgb.values()] == [2_048] * 4 + [1_024, 512, 256, 128, 64]


@pytest.mark.parametrize(
    ("base", "size", "g", "d"),
    [
        (16384, 32, 21_523_475, 21_507_073),
        (16384, 64, 23_819_544, 23_407_361),
        (16384, 128, 24_525_213, 23_882_369),
        (16384, 256, 24_767_458, 24_001_089),
        (16384, 512, 24_860_935, 24_030_753),
        (16384, 1024, 24_900_764, 24_038_161),  # config E
        (32768, 64, 27_032_600, 26_488_833),
        (32768, 128, 29_328_669, 28_389_121),
        (32768, 256, 30_034_338, 28_864_129),
        (32768, 512, 30_276_583, 28_982_849),
        (32768, 1024, 30_370_060, 29_012_513),  # config F
    ],
)
def test_stylegan2(base: int, size: int, g: int, d: int) -> None:
    gan = build("stylegan2-e-1024", f"image.size={size}", *channels(base))
    assert (count(gan.G), count(gan.D)) == (g, d)
    assert gan.G.num_ws == 2 * (size.bit_length() - 1) - 2


@pytest.mark.parametrize(
    ("base", "topology", "expected"),
    [
        (16384, "orig", 23_596_292),
        (16384, "skip", 24_900_764),
        (16384, "resnet", 24_557_316),
        (32768, "orig", 28_817_908),
        (32768, "skip", 30_370_060),
        (32768, "resnet", 30_040_564),
    ],
)
def test_stylegan2_generator_topologies(base: int, topology: str, expected: int) -> None:
    gan = build("stylegan2-e-1024", *channels(base), *G_TOPOLOGIES[topology])
    assert count(gan.G) == expected
    assert gan.G.num_ws == 18


@pytest.mark.parametrize(
    ("base", "topology", "expected"),
    [
        (16384, "orig", 23_077_137),
        (16384, "skip", 23_087_249),
        (16384, "resnet", 24_038_161),
        (32768, "orig", 27_789_857),
        (32768, "skip", 27_801_889),
        (32768, "resnet", 29_012_513),
    ],
)
def test_stylegan2_discriminator_topologies(base: int, topology: str, expected: int) -> None:
    gan = build("stylegan2-e-1024", *channels(base), *D_TOPOLOGIES[topology])
    assert count(gan.D) == expected


@pytest.mark.parametrize(
    ("base", "g", "d"),
    [
        (
            32768,
            [2_894_852] + [5_509_125] * 4 + [2_296_069, 705_669, 242_245, 93_477],
            [4_981_760] * 4 + [1_901_312, 475_520, 118_976, 29_920],
        ),
        (
            16384,
            [2_894_852] + [5_509_125] * 3 + [2_296_069, 705_669, 242_245, 93_477, 39_829],
            [4_981_760] * 3 + [1_901_312, 475_520, 118_976, 29_792, 7_536],
        ),
    ],
)
def test_stylegan2_blocks(base: int, g: list[int], d: list[int]) -> None:
    """Each resolution of the 1024x1024 networks, coarse to fine, with its RGB head; the first with the constant."""
    gan = build("stylegan2-e-1024", *channels(base))
    synthesis, trunk = gan.G.synthesis, gan.D.trunk
    ours = [count(b) + count(synthesis.to_rgb[str(level)]) for level, b in enumerate(synthesis.blocks)]
    ours[0] += count(synthesis.stem)
    assert ours == g
    blocks = [count(b) for b in trunk.blocks]
    blocks[-1] += count(trunk.from_rgb)
    assert blocks == d
    assert count(gan.D.head) == 6_559_745
    assert count(gan.G.mapping) == 8 * (512 * 512 + 512)
