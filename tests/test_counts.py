"""Numbers of trainable parameters, exact, against those of the papers' released networks.

Counted on the meta device from the shipped recipes, so no memory is needed even at 1024x1024.
"""

import pytest
import torch
from torch import nn

from ganzoo.gan.gan import Gan
from ganzoo.interfaces import Noise
from ganzoo.recipe.loading import load

LAYER = 512 * 512 + 512  # of a mapping network


def build(recipe: str, *overrides: str) -> Gan:
    with torch.device("meta"):
        gan: Gan = load(recipe, overrides).bind()()
    return gan


def count(*networks: nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())


def channels(base: int) -> list[str]:
    return [f"{network}.channel_base={base}" for network in ("generator", "discriminator")]


def noise_elements(network: nn.Module) -> int:
    return sum(m.const.numel() for m in network.modules() if isinstance(m, Noise))


PROGAN = {  # size: (G, D)
    32: (20_719_628, 20_726_785),
    64: (22_490_383, 22_498_049),
    128: (22_933_394, 22_941_313),
    256: (23_044_309, 23_052_353),
    512: (23_072_120, 23_080_225),
    1024: (23_079_115, 23_087_249),
}
STYLEGAN = {32: 22_841_356, 64: 25_137_935, 128: 25_843_858, 256: 26_086_229, 512: 26_179_768, 1024: 26_219_627}
MSGGAN = {32: 17_184_001, 64: 18_364_161, 128: 18_659_329, 256: 18_733_185, 512: 18_751_681, 1024: 18_756_321}
NUM_WS = {32: 8, 64: 10, 128: 12, 256: 14, 512: 16, 1024: 18}

RECIPES = {  # what ships, beside the sizes above
    "progan-table1-d": (13_629_810, 13_632_289),  # 9 * 512 less than the released D, which has the statistic
    "progan-table1-e": (13_629_810, 13_636_897),
    "progan-table1-f": (13_629_810, 13_636_897),
    "progan-table1-g": (13_629_810, 13_636_897),
    "progan-cifar": (1_296_908, 1_298_689),
    # ten more inputs of the dense layer; ten more outputs of D's
    "progan-cifar-cond": (1_296_908 + 10 * 128 * 16, 1_298_689 + 10 * (128 + 1)),
    "progan-lsgan-1024": PROGAN[1024],
    "stylegan-a-1024": (23_079_115, 23_087_249),
    "stylegan-b-1024": (23_079_115, 23_087_249),
    "stylegan-c-1024": (30_400_651, 23_087_249),
    "stylegan-d-1024": (26_214_539, 23_087_249),
    "stylegan-e-1024": (26_219_627, 23_087_249),
    "stylegan-1024": (26_219_627, 23_087_249),
    "stylegan2-a-1024": (26_219_627, 23_087_249),
    "stylegan2-b-1024": (24_900_764, 23_087_249),
    "stylegan2-c-1024": (24_900_764, 23_087_249),
    "stylegan2-d-1024": (24_900_764, 23_087_249),
    "stylegan2-e-1024": (24_900_764, 24_038_161),
    "stylegan2-f-1024": (30_370_060, 29_012_513),
    "ada-auto-64": (22_243_608, 23_407_361),
    "ada-auto-128": (22_949_277, 23_882_369),
    "ada-auto-256": (23_191_522, 24_001_089),
    "ada-auto-512": (28_700_647, 28_982_849),
    "ada-auto-1024": (28_794_124, 29_012_513),
    "ada-stylegan2-1024": (30_370_060, 29_012_513),
    "ada-paper256": (24_767_458, 24_001_089),
    "ada-paper512": (30_276_583, 28_982_849),
    "ada-paper1024": (30_370_060, 29_012_513),
    "ada-cifar": (19_947_539, 20_720_641),
    "ada-cifar-cond": (20_215_315, 23_089_664),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name: str) -> None:
    gan = build(name)
    assert (count(gan.G), count(gan.D)) == RECIPES[name]


# --- ProGAN and MSG-GAN ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", PROGAN)
def test_progan(size: int) -> None:
    gan = build(f"progan-{size}")
    assert (count(gan.G), count(gan.D)) == PROGAN[size]


def test_progan_blocks() -> None:
    """Each resolution of the 1024x1024 networks."""
    gan = build("progan-1024")
    synthesis, trunk = gan.G.synthesis, gan.D.trunk
    assert count(synthesis.stem, synthesis.blocks[0]) == 6_554_624
    assert [count(b) for b in synthesis.blocks[1:]] == [4_719_616] * 3 + [1_769_984, 442_624, 110_720, 27_712, 6_944]
    assert [count(m) for m in synthesis.to_rgb.values()] == [1_539] * 4 + [771, 387, 195, 99, 51]
    assert count(gan.D.head) == 6_559_745
    assert [count(b) for b in trunk.blocks] == [4_719_616] * 3 + [1_770_240, 442_752, 110_784, 27_744, 6_960]
    assert [count(m) for m in trunk.from_rgb.values()] == [2_048] * 4 + [1_024, 512, 256, 128, 64]


def test_channels_of_each_level() -> None:
    """The tables of channels, coarse to fine: by rule, few of them, and for CIFAR-10."""
    full = [512] * 4 + [256, 128, 64, 32, 16]
    tables = {
        "progan-1024": full,
        "stylegan-1024": full,
        "stylegan2-e-1024": full,
        "stylegan2-f-1024": [512] * 5 + [256, 128, 64, 32],
        "progan-table1-g": [512, 512, 256, 128, 64, 32],
        "progan-cifar": [128] * 4,
    }
    for name, expected in tables.items():
        network = load(name)["generator"]
        shape = load(name).value("image").shape()
        plan = shape.plan(network.value("channel_base"), network.value("channel_max"))
        assert [c for _, c in plan] == expected, name


@pytest.mark.parametrize("size", MSGGAN)
def test_msggan(size: int) -> None:
    """D combines by `lin_cat`, as the original implementation does; G is ProGAN's."""
    gan = build("msggan-1024", f"image.size={size}")
    assert (count(gan.G), count(gan.D)) == (PROGAN[size][0], MSGGAN[size])


def test_msggan_channels() -> None:
    """Half of a block's input channels come from the features, half from the image of its size."""
    gan = build("msggan-1024")
    blocks = [[tuple(p.shape[1::-1]) for p in b.parameters() if p.ndim == 4] for b in gan.D.trunk.blocks]
    assert blocks == [[(512, 512), (512, 256)]] * 3 + [[(c, c), (c, c)] for c in (256, 128, 64, 32, 16)]
    rgb = [m.conv.weight.shape[0] for m in gan.D.trunk.from_rgb.values()]
    assert rgb == [256] * 4 + [128, 64, 32, 16, 16]
    assert gan.D.head.conv.weight.shape[:2] == (512, 513)


# --- StyleGAN --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", STYLEGAN)
def test_stylegan(size: int) -> None:
    gan = build("stylegan-1024", f"image.size={size}")
    assert (count(gan.G), count(gan.D)) == (STYLEGAN[size], PROGAN[size][1])
    assert gan.G.num_ws == NUM_WS[size]


@pytest.mark.parametrize("size", [128, 256, 512])
def test_stylegan_recipes(size: int) -> None:
    gan = build(f"stylegan-{size}")
    assert (count(gan.G), count(gan.D)) == (STYLEGAN[size], PROGAN[size][1])


def test_stylegan_with_large_networks() -> None:
    """Row 'A with large networks' of StyleGAN2's table 1."""
    gan = build("stylegan-1024", *channels(32768))
    assert (count(gan.G), count(gan.D)) == (31_952_571, 27_801_889)


def test_stylegan_blocks() -> None:
    gan = build("stylegan-1024")
    synthesis = gan.G.synthesis
    assert count(synthesis) == 24_118_379
    assert count(gan.G.mapping) == 8 * LAYER == 2_101_248
    assert count(synthesis.stem, synthesis.blocks[0]) == 3_420_160
    blocks = [5_771_264] * 3 + [2_295_808, 705_536, 242_176, 93_440, 39_808]
    assert [count(b) for b in synthesis.blocks[1:]] == blocks
    assert noise_elements(synthesis) == 2_796_192
    noises = [m for m in synthesis.modules() if isinstance(m, Noise)]
    assert [m.const.shape[-1] for m in noises] == [2 ** (i // 2 + 2) for i in range(18)]


# --- StyleGAN2 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "size", "g", "d"),
    [
        ("stylegan2-e", 32, 21_523_475, 21_507_073),
        ("stylegan2-e", 64, 23_819_544, 23_407_361),
        ("stylegan2-e", 128, 24_525_213, 23_882_369),
        ("stylegan2-e", 256, 24_767_458, 24_001_089),
        ("stylegan2-e", 512, 24_860_935, 24_030_753),
        ("stylegan2-e", 1024, 24_900_764, 24_038_161),
        ("stylegan2-f", 64, 27_032_600, 26_488_833),
        ("stylegan2-f", 128, 29_328_669, 28_389_121),
        ("stylegan2-f", 256, 30_034_338, 28_864_129),
        ("stylegan2-f", 512, 30_276_583, 28_982_849),
        ("stylegan2-f", 1024, 30_370_060, 29_012_513),
    ],
)
def test_stylegan2(recipe: str, size: int, g: int, d: int) -> None:
    gan = build(f"{recipe}-{size}")
    assert (count(gan.G), count(gan.D)) == (g, d)
    assert gan.G.num_ws == NUM_WS[size]


G_TOPOLOGIES = {  # by channel_base
    16384: {"orig": 23_596_292, "skip": 24_900_764, "residual": 24_557_316},
    32768: {"orig": 28_817_908, "skip": 30_370_060, "residual": 30_040_564},
}
D_TOPOLOGIES = {
    16384: {"orig": 23_077_137, "skip": 23_087_249, "residual": 24_038_161},
    32768: {"orig": 27_789_857, "skip": 27_801_889, "residual": 29_012_513},
}


@pytest.mark.parametrize("base", G_TOPOLOGIES)
@pytest.mark.parametrize("d", ["orig", "skip", "residual"])
@pytest.mark.parametrize("g", ["orig", "skip", "residual"])
def test_stylegan2_topologies(g: str, d: str, base: int) -> None:
    """Table 2 of the paper, all nine, at the sizes of configurations E and F."""
    name = "stylegan2-e-1024" if (g, d) == ("skip", "residual") else f"stylegan2-{g}-{d}-1024"
    gan = build(name, *channels(base))
    assert (count(gan.G), count(gan.D)) == (G_TOPOLOGIES[base][g], D_TOPOLOGIES[base][d])
    assert gan.G.num_ws == 18


@pytest.mark.parametrize(
    ("recipe", "g", "d"),
    [
        (
            "stylegan2-f-1024",
            [2_894_852] + [5_509_125] * 4 + [2_296_069, 705_669, 242_245, 93_477],
            [4_981_760] * 4 + [1_901_312, 475_520, 118_976, 29_920],
        ),
        (
            "stylegan2-e-1024",
            [2_894_852] + [5_509_125] * 3 + [2_296_069, 705_669, 242_245, 93_477, 39_829],
            [4_981_760] * 3 + [1_901_312, 475_520, 118_976, 29_792, 7_536],
        ),
    ],
)
def test_stylegan2_blocks(recipe: str, g: list[int], d: list[int]) -> None:
    """Each resolution of the 1024x1024 networks, coarse to fine, with its RGB head; the first with the constant."""
    gan = build(recipe)
    synthesis, trunk = gan.G.synthesis, gan.D.trunk
    ours = [count(b, synthesis.to_rgb[str(level)]) for level, b in enumerate(synthesis.blocks)]
    ours[0] += count(synthesis.stem)
    assert ours == g
    blocks = [count(b) for b in trunk.blocks]
    blocks[-1] += count(trunk.from_rgb)
    assert blocks == d
    assert count(gan.D.head) == 6_559_745
    assert count(gan.G.mapping) == 8 * LAYER


def test_stylegan2_synthesis_of_configuration_f() -> None:
    synthesis = build("stylegan2-f-1024").G.synthesis
    assert count(synthesis) == 28_268_812
    assert noise_elements(synthesis) == 2_796_176
    noises = [m for m in synthesis.modules() if isinstance(m, Noise)]
    assert [m.const.shape[-1] for m in noises] == [4] + [2 ** ((i + 5) // 2) for i in range(1, 17)]
    assert len(synthesis.to_rgb) == 9


def test_mapping_of_ada() -> None:
    assert count(build("ada-auto-256").G.mapping) == 2 * LAYER == 525_312
    with_labels = build("ada-cifar-cond")
    embed = 10 * 512 + 512
    assert count(with_labels.G.mapping) == embed + 2 * LAYER + 512 * 512  # latent and label enter side by side
    assert count(with_labels.D.head.mapping) == embed + 8 * LAYER
