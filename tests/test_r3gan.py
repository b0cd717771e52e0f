"""R3GAN by its own rules: parameter counts, initialisation, shapes of any kind, and the recipes' schedules."""

import math

import pytest
import torch
from torch import nn

from conftest import small, trainer
from ganzoo import recipe
from ganzoo.errors import RecipeError
from ganzoo.gan.gan import Gan
from ganzoo.interfaces import Shape
from ganzoo.recipe.node import Node
from ganzoo.registry.ramp import at
from ganzoo_r3gan.discriminator import BasisHead
from ganzoo_r3gan.generator import LabelEmbedding, ResidualLayer
from ganzoo_r3gan.residual import Bottleneck

COUNTS = {
    "r3gan-cifar10-cond": (20_781_952, 21_280_512),
    "r3gan-cifar10": (20_732_160, 20_683_776),
    "r3gan-ffhq-64": (22_429_824, 22_381_440),
    "r3gan-ffhq-256": (23_057_952, 23_009_568),
    "r3gan-imagenet-32": (82_914_304, 86_548_992),
    "r3gan-imagenet-64": (103_570_432, 107_205_120),
}

TWO_BLOCKS = [
    "generator.synthesis.block.layers=2",
    "discriminator.trunk.down.blocks=2",
    "discriminator.head.blocks=2",
]


def count(*networks: nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())


def build(node: Node) -> Gan:
    gan: Gan = node.bind()()
    return gan


@pytest.fixture(scope="module")
def tiny() -> Gan:
    """Both networks of the tiny recipe, new."""
    torch.manual_seed(0)
    return build(recipe.load("r3gan-tiny"))


def blocks(network: nn.Module) -> list[Bottleneck]:
    return [module for module in network.modules() if isinstance(module, Bottleneck)]


# --- numbers of parameters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    with torch.device("meta"):
        gan = build(recipe.load(name))
    assert (count(gan.G), count(gan.D)) == COUNTS[name]


def test_counts_of_each_level():
    """The levels of FFHQ-256, coarse to fine; the image's ends and the 4x4 ends apart."""
    with torch.device("meta"):
        gan = build(recipe.load("r3gan-ffhq-256"))
    synthesis, trunk = gan.G.synthesis, gan.D.trunk
    levels = [count(block) for block in synthesis.blocks]
    levels[0] += count(synthesis.stem)
    assert levels == [5_228_544, 5_167_104, 5_167_104, 5_167_104, 1_698_816, 480_768, 148_224]
    assert (count(synthesis.to_rgb), count(trunk.from_rgb)) == (288, 288)
    assert [count(block) for block in trunk.blocks] == levels[1:]
    assert count(gan.D.head) == 5_180_160
    widths = [block.layers[0].blocks[0].conv1 for block in synthesis.blocks]
    assert [conv.groups for conv in widths] == [96, 96, 96, 96, 48, 24, 12]


# --- initialisation --------------------------------------------------------------------------------------------------


def test_blocks_begin_as_the_identity(tiny):
    for block in blocks(tiny.G) + blocks(tiny.D):
        x = torch.randn(2, block.conv0.weight.shape[1], 5, 4)
        assert torch.equal(block(x), x)


def test_generator_begins_linear_in_the_latent(tiny):
    """G(a z1 + b z2) = a G(z1) + b G(z2), and so is D of the image."""
    z = torch.randn(2, 3, tiny.G.z_dim)
    with torch.no_grad():
        first, second, both = (tiny.G(each)[-1] for each in (z[0], z[1], 2 * z[0] - 3 * z[1]))
        torch.testing.assert_close(both, 2 * first - 3 * second, rtol=1e-4, atol=1e-4)
        scores = [tiny.D((image,)) for image in (first, second, both)]
    torch.testing.assert_close(scores[2], 2 * scores[0] - 3 * scores[1], rtol=1e-4, atol=1e-4)


def test_scales_of_new_weights():
    """Residual weights have the deviation √(2 / 1.04) L^(-1/4) / √fan_in, L counted over the whole network."""
    gain = {32: 0.824567, 64: 0.779829, 256: 0.716921}
    for size, L in ((32, 8), (64, 10), (256, 14)):
        torch.manual_seed(0)
        gan = build(recipe.load("r3gan-tiny", [f"image.size={size}", *TWO_BLOCKS]))
        assert gain[size] == pytest.approx(math.sqrt(2 / 1.04) * L**-0.25, rel=2e-5)
        for network in (gan.G, gan.D):
            assert len(blocks(network)) == L
            for which in ("conv0", "conv1"):
                weights = [getattr(block, which).weight.detach() for block in blocks(network)]
                unit = torch.cat([(w * math.sqrt(w[0].numel())).flatten() for w in weights])
                assert float(unit.std()) == pytest.approx(gain[size], rel=0.02)
    stem, head = gan.G.requires_grad_(False).synthesis.stem, gan.D.requires_grad_(False).head
    assert float(stem.basis.std()) == pytest.approx(1, rel=0.1)
    assert float(stem.linear.weight.std()) == pytest.approx(1 / 8, rel=0.1)  # 64 inputs
    assert float(head.basis.std()) == pytest.approx(1 / 4, rel=0.1)  # 4x4 pixels
    embed = BasisHead(6, (4, 4), 9, cmap_dim=400).embed
    assert embed is not None
    assert float(embed.weight.detach().std()) == pytest.approx(1 / (3 * 20), rel=0.1)  # 9 classes; 1/√400


def test_a_composed_network_leaves_the_depth_out():
    layer = ResidualLayer(400, 400, 8, (8, 8), False, channels_per_group=8)
    assert float(layer.blocks[0].conv0.weight.detach().std()) == pytest.approx(math.sqrt(2 / 1.04) / 20, rel=0.02)


# --- shapes, labels and options --------------------------------------------------------------------------------------


def test_any_shape_of_images():
    """A base of 3x5, two channels, a number of blocks for each height, groups that do not divide the channels."""
    per_height = "{3: 1, 6: 3}"
    node = small(
        "r3gan-cifar10-cond",
        "image={size: [6, 10], base: [3, 5], channels: 2}",
        "generator.w_dim=72",
        "labels=4",
        f"generator.synthesis.block.layers={per_height}",
        f"discriminator.trunk.down.blocks={per_height}",
        f"discriminator.head.blocks={per_height}",
        "generator.synthesis.block.layer.channels_per_group=3",
    )
    gan = build(node)
    label = torch.eye(4)[:3]
    (image,) = gan.G(torch.randn(3, 8), label)
    assert image.shape == (3, 2, 6, 10)
    assert gan.D((image,), label).shape == (3, 1)
    assert gan.G.synthesis.stem.basis.shape == gan.D.head.basis.shape == (8, 3, 5)
    assert [len(blocks(part)) for part in (*gan.G.synthesis.blocks, gan.D.head, gan.D.trunk)] == [1, 3, 1, 3]
    assert {block.conv1.groups for block in blocks(gan.G)} == {8}  # 16 channels: 2 in a group, not 3
    with pytest.raises(RecipeError, match=r"blocks: \{4: 2\} has no number for the height 3: add it"):
        BasisHead(8, (3, 5), 0, blocks={4: 2})


def test_label_embedding():
    """The latent stays as it is, and the label's vector follows it; another length of the style takes a projection."""
    mapping, z, label = LabelEmbedding(5, 12, 3, embed_dim=7), torch.randn(4, 5), torch.eye(3)[[0, 2, 1, 1]]
    w = mapping(z, label)
    assert torch.equal(w[:, :5], z)
    assert torch.equal(w[:, 5:], mapping.embed.weight.T[[0, 2, 1, 1]])
    assert count(mapping) == 21
    assert list(LabelEmbedding(5, 5, 0).parameters()) == []
    assert LabelEmbedding(5, 8, 3, embed_dim=7)(z, label).shape == (4, 8)


def test_half_precision_is_of_maps_alone(tiny):
    """Maps are bfloat16, parameters and logits float32, and images nearly those of float32."""
    z = torch.randn(2, tiny.G.z_dim)
    with torch.no_grad():
        (expected,) = tiny.G(z)
        for network in (tiny.G, tiny.D):
            network.set_dtype(torch.bfloat16)
        seen: list[torch.dtype] = []
        hooks = [b.register_forward_hook(lambda m, x, y: seen.append(y.dtype)) for b in blocks(tiny.G) + blocks(tiny.D)]
        (image,) = tiny.G(z)
        logits = tiny.D((image,))
    for hook in hooks:
        hook.remove()
    for network in (tiny.G, tiny.D):
        network.set_dtype(torch.float32)
    assert seen == [torch.bfloat16] * 7 + [torch.float32]  # the head's block is float32
    assert (image.dtype, logits.dtype) == (torch.float32, torch.float32)
    assert {p.dtype for p in tiny.G.parameters()} == {torch.float32}
    torch.testing.assert_close(image, expected, rtol=0.05, atol=0.05)


def test_images_that_are_not_square():
    with torch.device("meta"):
        gan = build(recipe.load("r3gan-ffhq-64", ["image.size=[48, 80]", "image.channels=4"]))
    assert gan.shape == Shape(((6, 10), (12, 20), (24, 40), (48, 80)), 4)
    assert gan.G.synthesis.stem.basis.shape == (768, 6, 10)


# --- recipes ---------------------------------------------------------------------------------------------------------

MIXES = [
    "r3gan-tiny",
    "r3gan-cifar10-cond",
    "mix-r3gan-skip-tiny",
    "mix-modconv-r3gan-tiny",
    "mix-stylegan3-r3gan-tiny",
]


@pytest.mark.parametrize("name", MIXES)
def test_tiny_recipes_and_mixes_train(name):
    """Two iterations: every parameter of both networks has moved, and the average follows the generator."""
    labels = "cond" in name
    made = trainer(name, *(["labels=3", "generator.w_dim=72", "augment.p=0.3"] if labels else []))
    label = torch.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]] if labels else torch.zeros(8, 0)
    before = {id(p): p.detach().clone() for net in (made.G, made.D) for p in net.parameters()}
    for _ in range(2):
        made.step(torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8), label, label[:4])
    for net in (made.G, made.D):
        assert [name for name, p in net.named_parameters() if torch.equal(before[id(p)], p)] == []
    assert all(math.isfinite(value) for value in made.report().values())


SCHEDULES = {  # end in kimg; batch; gamma, p and half-life in kimg, each at the beginning and at the end
    "r3gan-cifar10": (20_000, 512, 0.05, 0.005, 0.55, 5_000),
    "r3gan-cifar10-cond": (20_000, 512, 0.05, 0.005, 0.55, 5_000),
    "r3gan-ffhq-64": (20_000, 256, 2, 0.2, 0.3, 500),
    "r3gan-ffhq-256": (20_000, 256, 150, 15, 0.3, 500),
    "r3gan-imagenet-32": (200_000, 4096, 0.5, 0.05, 0.5, 50_000),
    "r3gan-imagenet-64": (200_000, 4096, 1, 0.1, 0.4, 50_000),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    kimg, batch, gamma, gamma_end, p_end, half_life = SCHEDULES[name]
    node = recipe.load(name)
    training = node.value("training")
    penalties = node.children["regularizers"]
    assert isinstance(penalties, list)
    assert [(each.cls.name, each.value("every")) for each in penalties] == [("r1", 1), ("r2", 1)]
    assert (training.batch, training.order, training.fresh_reals, training.mirror) == (batch, "dg", True, True)
    assert training.betas[0] == 0
    assert training.d_lr is None
    numbers = {
        "lr": (training.lr, 2e-4, 5e-5),
        "beta2": (training.betas[1], 0.9, 0.99),
        "r1": (penalties[0].value("gamma"), gamma, gamma_end),
        "r2": (penalties[1].value("gamma"), gamma, gamma_end),
        "p": (node["augment"].value("p"), 0, p_end),
        "half-life": (training.ema_kimg, 0, half_life),
    }
    for what, (ramp, a, b) in numbers.items():
        for t in (0, 0.25, 0.5, 0.75, 1, 2):
            expected = b + (a - b) * math.cos(math.pi * min(t, 1) / 2) ** 2
            assert at(ramp, round(t * kimg * 1000)) == pytest.approx(expected, rel=1e-9, abs=1e-12), what
    multipliers = node["augment"].value("multipliers")
    assert multipliers == dict.fromkeys(("brightness", "contrast", "lumaflip", "hue", "saturation"), 0.5) | {
        "cutout": 1
    }
    assert (node["augment"].value("pipeline"), node["augment"].value("target")) == ("bgc", None)
