"""The contract of docs/plugins.md: precision at a slot's border, logits of patches, state and micro-batches."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import trainer
from ganzoo import interfaces as zoo
from ganzoo.gan.discriminator import ComposedDiscriminator
from ganzoo.gan.generator import ComposedGenerator
from ganzoo.interfaces import Part, Shape, Stage
from ganzoo.registry import registry
from ganzoo_objectives.losses import LSGAN, Hinge, Logistic, RelativisticPaired, Wasserstein
from ganzoo_objectives.penalties import R1
from ganzoo_progan.discriminator import PlainDown
from ganzoo_progan.generator import PixelNorm
from ganzoo_progan.heads import DenseHead
from ganzoo_stylegan.layers import MLP, PixelNoise
from ganzoo_stylegan2.generator import ModConv, ModConvRGB, SkipSynthesis
from plain import stirred

SHAPE = Shape(((4, 4), (8, 8), (16, 16)), 3)
HALF = [torch.bfloat16, torch.float16]


# --- precision -------------------------------------------------------------------------------------------------------


class Layer(zoo.Layer, name="torchs"):
    """torch's convolution and dense layer, with ganzoo's noise and norm between them."""

    styled = True

    def __init__(self, in_channels, out_channels, w_dim, size, up, /):
        super().__init__()
        self.up = up
        self.conv, self.style = nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.Linear(w_dim, out_channels)
        self.noise, self.norm = PixelNoise(out_channels, size), PixelNorm(out_channels)

    def forward(self, x, w):
        x = F.interpolate(x, scale_factor=2) if self.up else x
        return self.norm(self.noise(F.leaky_relu(self.conv(x), 0.2))) * (1 + self.style(w))[:, :, None, None]


class Block(zoo.Block, name="torchs"):
    """One layer of torch's and one of ganzoo's, with a shortcut of torch's."""

    num_ws = 2

    def __init__(self, in_channels, out_channels, w_dim, size, first, /):
        super().__init__()
        self.first = first
        first_layer = Layer(in_channels, out_channels, w_dim, size, not first)
        self.layers = nn.ModuleList([first_layer, ModConv(out_channels, out_channels, w_dim, size, False)])
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x, ws):
        y = self.layers[1](self.layers[0](x, ws[:, 0]), ws[:, 1])
        return y + self.shortcut(x if self.first else F.interpolate(x, scale_factor=2))


class RGB(zoo.ToRGB, name="torchs"):
    """torch's convolution."""

    styled = False

    def __init__(self, channels, w_dim, image_channels, /):
        super().__init__()
        self.conv = nn.Conv2d(channels, image_channels, 1)

    def forward(self, x, w):
        return self.conv(x)


class Stem(zoo.Stem, name="torchs"):
    """A dense layer and a convolution."""

    styled = True

    def __init__(self, w_dim, channels, size, /):
        super().__init__()
        self.size, self.dense = size, nn.Linear(w_dim, channels * size[0] * size[1])
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, w):
        return self.conv(self.dense(w).unflatten(1, (-1, *self.size)))


class FromRGB(zoo.FromRGB, name="torchs"):
    """torch's convolution."""

    def __init__(self, image_channels, channels, /):
        super().__init__()
        self.conv = nn.Conv2d(image_channels, channels, 1)

    def forward(self, x):
        return F.softplus(self.conv(x))


class Down(zoo.Down, name="torchs"):
    """torch's strided convolution and group norm, then a block of ganzoo's at one size."""

    def __init__(self, in_channels, out_channels, size, /):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.GroupNorm(2, out_channels)
        self.ours = PlainDown(out_channels, out_channels, size)

    def forward(self, x):
        return self.ours(F.softplus(self.norm(self.conv(x))))


class Trunk(zoo.Trunk, name="torchs"):
    """Blocks in a chain, with a convolution of its own at each size."""

    rgb_at_every_level = False

    def __init__(self, plan, image_channels, /, *, down, from_rgb):
        super().__init__(plan, image_channels, down=down, from_rgb=from_rgb)
        self.mix = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _, channels in plan)

    def forward(self, images, stage):
        x = self.from_image(images[-1], stage.level)
        for level in range(stage.level, 0, -1):
            x = self.down(self.mix[level](x), level)
        return self.mix[0](x)


def networks() -> tuple[zoo.Generator, zoo.Discriminator]:
    """Networks of the parts above, with random strengths."""
    torch.manual_seed(0)
    synthesis = partial(SkipSynthesis, stem=Stem, block=Block, to_rgb=RGB)
    small = {"channel_base": 64, "channel_max": 8}
    G = ComposedGenerator(SHAPE, 0, mapping=partial(MLP, depth=2), synthesis=synthesis, z_dim=6, w_dim=6, **small)
    D = ComposedDiscriminator(SHAPE, 0, trunk=partial(Trunk, down=Down, from_rgb=FromRGB), head=DenseHead, **small)
    return stirred(G), stirred(D)


def penalised(G, D, dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Images, and gradients of -D(G(z)) and of R1, which needs the second derivative, at all parameters."""
    for net in (G, D):
        net.set_dtype(dtype)
    torch.manual_seed(1)
    with G.noise("const"):
        images = G(torch.randn(4, 6))
        batch = zoo.GanBatch(G, D, Stage(2), torch.randn(4, 6), None, (torch.rand(4, 3, 16, 16) * 2 - 1,), None)
        loss = -D(images).mean() + R1(gamma=1.0).penalty(batch).mean()
        parameters = [*G.parameters(), *D.parameters()]
        return images[-1].detach(), torch.autograd.grad(loss, parameters)


@pytest.mark.parametrize("dtype", HALF)
def test_layers_of_torch_work_in_half_precision_with_second_derivatives(dtype):
    G, D = networks()
    expected, exact = penalised(G, D, torch.float32)
    image, grads = penalised(G, D, dtype)
    assert image.dtype == torch.float32
    assert not torch.equal(image, expected)  # it has been computed in the other precision
    assert (image - expected).norm() < 0.05 * expected.norm()
    assert all(g.dtype == torch.float32 for g in grads)
    flat, other = (torch.cat([g.flatten() for g in each]) for each in (grads, exact))
    assert (flat - other).norm() < 0.1 * other.norm()


@pytest.mark.parametrize("dtype", HALF)
def test_maps_keep_their_precision_between_parts(dtype):
    layer, norm = Layer(5, 6, 4, (8, 8), True), PixelNorm(6)
    seen = []
    for part in (layer.conv, layer.norm, layer.noise):
        part.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    assert layer(torch.randn(2, 5, 4, 4, dtype=dtype), torch.randn(2, 4)).dtype == dtype
    assert seen == [dtype] * 3
    assert norm(torch.randn(2, 6, 4, 4, dtype=dtype)).dtype == dtype
    assert not torch.is_autocast_enabled("cpu")


def test_float32_and_float64_maps_meet_parameters_without_autocast():
    layer = Layer(5, 6, 4, (8, 8), False)
    x, w = torch.randn(2, 5, 8, 8), torch.randn(2, 4)
    with torch.autocast("cpu", torch.bfloat16):  # of whoever calls
        y = layer(x, w)
    torch.manual_seed(0)
    assert y.dtype == torch.float32
    assert layer.double()(x.double(), w.double()).dtype == torch.float64


@pytest.mark.parametrize("part", [partial(ModConv, 5, 6, 4, (8, 8), False), partial(ModConvRGB, 5, 4, 3)])
def test_what_casts_its_weights_runs_without_autocast(part):
    """Inside of what runs under it as well: ganzoo's own layers keep style affines in float32."""
    layer, x, w = stirred(part()), torch.randn(2, 5, 8, 8, dtype=torch.bfloat16), torch.randn(2, 4)
    expected = layer(x, w)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x, w), expected)


def test_all_parts_of_ganzoos_cast_their_weights():
    kinds = ("norm", "noise", "layer", "block", "to_rgb", "down", "from_rgb", "trunk")
    ours = [
        cls for cls in registry() if cls.kind in kinds and registry().versions[registry().owner(cls)][0] == "ganzoo"
    ]
    assert len(ours) > 15
    assert [cls for cls in ours if not (issubclass(cls, Part) and cls.casts_weights)] == []


def test_a_claim_is_inherited_with_forward():
    class Wider(ModConv):
        """The same `forward`."""

    class Other(ModConv):
        def forward(self, x, w):
            return self.extra(super().forward(x, w))

    class Same(Other):
        casts_weights = True

    assert [cls.casts_weights for cls in (Wider, Other, Same)] == [True, False, True]
    layer = Other(5, 6, 4, (8, 8), False)
    layer.extra = nn.Conv2d(6, 6, 1)  # a convolution of torch's after ganzoo's
    x, w = torch.randn(2, 5, 8, 8, dtype=torch.bfloat16), torch.randn(2, 4)
    assert layer(x, w).dtype == torch.bfloat16


# --- logits of patches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [Hinge, Logistic, Wasserstein, LSGAN, RelativisticPaired])
def test_a_loss_of_patches_is_the_mean_of_theirs(loss):
    real, fake = torch.randn(4, 3), torch.randn(4, 3)
    made, columns = loss(), [(real[:, [i]], fake[:, [i]]) for i in range(3)]
    assert torch.allclose(made.d(real, fake), sum(made.d(r, f) for r, f in columns) / 3)
    assert torch.allclose(made.g(fake, real), sum(made.g(f, r) for r, f in columns) / 3)


def test_a_gradient_penalty_is_on_the_mean_logit():
    a = torch.randn(3, 12)  # three patches, each linear in all pixels
    real = torch.randn(4, 3, 2, 2)
    D = lambda images, label, stage: images[-1].flatten(1) @ a.T  # noqa: E731
    batch = zoo.GanBatch(None, D, Stage(0), torch.randn(4, 5), None, (real,), None)
    assert torch.allclose(R1(gamma=3.0).penalty(batch), 1.5 * a.mean(dim=0).square().sum().expand(4))


# --- micro-batches ---------------------------------------------------------------------------------------------------

PLAIN = [
    "generator.mixing=0.0",
    "generator.synthesis.block.layer.noise=null",
    "discriminator.head.statistic=null",
    "training.batch=8",
]


def mean_length(micro_batch: object, every: int, shrink: int) -> tuple[float, float]:
    """The moving mean of path lengths, and a weight of the generator, after one step."""
    penalty = f"regularizers=[{{use: path_length, every: {every}, shrink: {shrink}, decay: 0.25}}]"
    made = trainer("stylegan2-tiny", *PLAIN, penalty, f"training.batch_gpu={micro_batch}")
    real = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made.step(real, torch.zeros(8, 0), torch.zeros(8, 0))
    return float(made.regularizers[0].mean), float(made.G.synthesis.blocks[0].layers[0].weight.square().sum())


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("shrink", [1, 2])
def test_path_length_keeps_the_same_mean_however_the_batch_is_cut(every, shrink):
    whole, weight = mean_length("null", every, shrink)
    assert whole > 0
    for micro_batch in (1, 2, 4):
        mean, other = mean_length(micro_batch, every, shrink)
        assert mean == pytest.approx(whole, rel=1e-4)
        assert other == pytest.approx(weight, rel=1e-3)


def test_a_moving_mean_moves_once_a_step():
    class Kept(zoo.Regularizer):
        on = "d"

        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.tensor([1.0, 2.0]))

        def penalty(self, batch):
            return self.moving_mean("mean", self.values[batch.start : batch.start + len(batch.z)], 0.1, batch)

    values = torch.randn(6, 2, requires_grad=True)
    expected = 0.9 * torch.tensor([1.0, 2.0]) + 0.1 * values.mean(dim=0)
    for cut in (6, 4, 3, 2, 1):
        kept, notes = Kept(), {}
        kept.values = values
        for attempt in range(2):  # the first one fails in its last part, as where memory runs out
            before = kept.mean.clone()
            for start in range(0, 6 if attempt else 6 - cut, cut):
                part = torch.zeros(len(range(start, min(start + cut, 6))), 1)
                moved = kept.penalty(
                    zoo.GanBatch(None, None, Stage(0), part, None, (), None, start=start, size=6, notes=notes)
                )
            if not attempt:
                kept.mean.copy_(before)
        assert torch.allclose(kept.mean, expected.detach())
        assert torch.allclose(moved, expected)
        (grad,) = torch.autograd.grad(moved.sum(), values)
        assert torch.allclose(grad[-1], torch.full((2,), 0.1 / 6))
