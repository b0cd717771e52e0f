"""R3GAN's blocks, networks, losses, penalties and training steps against those recorded from brownvc/R3GAN.

The reference counts stages from the input: in the generator coarse to fine, in the discriminator fine to coarse.
"""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foreign import outputs_of
from ganzoo.gan.gan import Gan
from ganzoo.gan.trainer import Trainer
from ganzoo.interfaces import GanBatch, SampleRng
from ganzoo_r3gan.discriminator import BasisHead, ResidualDown
from ganzoo_r3gan.generator import Basis, ResidualLayer
from ganzoo_r3gan.residual import Bottleneck
from reference import GRADIENT, Recorded, Tree, experiment, load

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
NETWORKS = pytest.mark.parametrize("name", ["10_r3gan_uncond", "10_r3gan_cond"])

CONVOLUTIONS = {
    "LinearLayer1.Layer.weight": "conv0.weight",
    "NonLinearity1.Bias": "conv0.bias",
    "LinearLayer2.Layer.weight": "conv1.weight",
    "NonLinearity2.Bias": "conv1.bias",
    "LinearLayer3.Layer.weight": "conv2.weight",
}
OTHERS = {
    "LinearLayer.Layer.weight": "conv.weight",
    "LinearLayer.weight": "linear.weight",
    "Basis": "basis",
    "Basis.weight": "basis",
}


# --- names and sizes -------------------------------------------------------------------------------------------------


def ours(network: str, name: str, stages: int) -> str:
    """Our name of a parameter of one of the reference's networks, "G" or "D"."""
    if name == "EmbeddingLayer.weight":
        return "mapping.embed.weight" if network == "G" else "head.embed.weight"
    if name == "AggregationLayer.Layer.weight":
        return f"synthesis.to_rgb.{stages - 1}.conv.weight"
    if name == "ExtractionLayer.Layer.weight":
        return f"trunk.from_rgb.{stages - 1}.conv.weight"
    matched = re.fullmatch(r"MainLayers\.(\d+)\.Layers\.(\d+)\.(.+)", name)
    assert matched
    stage, layer, rest = int(matched[1]), int(matched[2]), matched[3]
    inner = CONVOLUTIONS.get(rest) or OTHERS[rest]
    if network == "G" and rest in CONVOLUTIONS:
        return f"synthesis.blocks.{stage}.layers.{layer - 1}.blocks.0.{inner}"
    if network == "G":
        return f"synthesis.blocks.{stage}.layers.0.{inner}" if stage else f"synthesis.stem.{inner}"
    part = "head" if stage == stages - 1 else f"trunk.blocks.{stages - 2 - stage}"
    return f"{part}.blocks.{layer}.{inner}" if rest in CONVOLUTIONS else f"{part}.{inner}"


def weights(recorded: Recorded, network: str, stages: int) -> dict[str, Tensor]:
    """Its weights under our names; the filters are constants, and are left out."""
    state = {name: w for name, w in recorded.state(f"{network}/").items() if not name.endswith("Kernel")}
    return {ours(network, name, stages): shaped(name, w) for name, w in state.items()}


def shaped(name: str, weight: Tensor) -> Tensor:
    """Remove the axis of single channels from the kernel of the depthwise convolution."""
    return weight[:, 0] if name.endswith("Basis.weight") else weight


def trees(g: Tree, d: Tree, z_dim: int) -> dict[str, Tree]:
    """Both networks' parts of a recipe, from the arguments of the reference's."""

    def per_level(tree: Tree, coarse_first: bool) -> tuple[list[int], dict[int, int], dict[int, int]]:
        """Channels, blocks and channels of a group of each level, coarse to fine."""
        order = slice(None) if coarse_first else slice(None, None, -1)
        widths, cards, blocks = (tree[f"{key}PerStage"][order] for key in ("Width", "Cardinality", "Blocks"))
        heights = [4 << level for level in range(len(widths))]
        groups = [tree["ExpansionFactor"] * width // card for width, card in zip(widths, cards)]
        return widths, dict(zip(heights, blocks)), dict(zip(heights, groups))

    channels, layers, groups = per_level(g, coarse_first=True)
    embed_dim = g.get("ConditionEmbeddingDimension", 0)
    layer = {"use": "r3gan", "expansion": g["ExpansionFactor"], "channels_per_group": groups}
    generator = {
        "use": "fixup",
        "z_dim": z_dim,
        "w_dim": z_dim + embed_dim,
        "channels": channels,
        "mapping": {"use": "label_embedding", **({"embed_dim": embed_dim} if embed_dim else {})},
        "synthesis": {
            "use": "last",
            "stem": "basis",
            "block": {"use": "stack", "layers": layers, "layer": layer},
            "to_rgb": "r3gan",
        },
    }
    channels, blocks, groups = per_level(d, coarse_first=False)
    part = {"use": "r3gan", "blocks": blocks, "expansion": d["ExpansionFactor"], "channels_per_group": groups}
    discriminator = {
        "use": "fixup",
        "channels": channels,
        "trunk": {"use": "plain", "down": part, "from_rgb": "r3gan"},
        "head": {**part, "cmap_dim": d.get("ConditionEmbeddingDimension")},
    }
    return {"generator": generator, "discriminator": discriminator}


def networks(name: str, dtype: torch.dtype) -> tuple[Gan, Recorded]:
    """Both networks with recorded weights, the relativistic loss, and the penalties at reals and fakes."""
    recorded = load(name, dtype)
    kwargs, gamma = recorded.meta["constructor_kwargs"], recorded.meta["gamma"]
    stages = len(kwargs["G"]["WidthPerStage"])
    gan = experiment(
        4 << (stages - 1),
        dtype=dtype,
        labels=kwargs["G"].get("ConditionDimension", 0),
        loss="relativistic_paired",
        regularizers=[{"use": use, "gamma": gamma, "every": 1} for use in ("r1", "r2")],
        **trees(kwargs["G"], kwargs["D"], kwargs["G"]["NoiseDimension"]),
    )
    gan.G.load_state_dict({**weights(recorded, "G", stages), "w_mean": gan.G.w_mean})
    gan.D.load_state_dict(weights(recorded, "D", stages))
    return gan, recorded


def batch_of(gan: Gan, recorded: Recorded) -> GanBatch:
    """The recorded latents, labels and reals; fakes have the labels of the reals."""
    label = recorded["c"] if gan.labels else None
    return GanBatch(gan.G, gan.D, gan.G.finest, recorded["z"], label, (recorded["real"],), label)


def check_gradients(recorded: Recorded, phase: str, network: str, module: nn.Module, stages: int) -> None:
    """Compare all recorded gradients of a network's phase."""
    gradients = {name: p.grad for name, p in module.named_parameters()}
    names = [key.removeprefix(f"out/{phase}/grad/") for key in recorded.tensors if key.startswith(f"out/{phase}/grad/")]
    assert len(names) >= 6
    for name in names:
        gradient = gradients[ours(network, name, stages)]
        assert gradient is not None
        reference, _ = recorded.output(f"{phase}/grad/{name}")
        recorded.check(f"{phase}/grad/{name}", gradient.reshape(reference.shape), GRADIENT)


# --- blocks ----------------------------------------------------------------------------------------------------------


def filled(module: nn.Module, recorded: Recorded, part: str) -> nn.Module:
    """A module with the recorded weights of a part of the same shape; its residual blocks are made the identity."""
    state = {k: torch.zeros_like(v) for k, v in module.state_dict().items()}
    for name, w in recorded.state(f"{part}.").items():
        if not name.endswith("Kernel"):
            state[CONVOLUTIONS.get(name) or OTHERS[name]] = shaped(name, w)
    module.load_state_dict(state)
    return module


@PRECISIONS
def test_blocks(dtype: torch.dtype) -> None:
    """The residual block, both changes of size with and without a change of channels, both ends at 4x4."""
    recorded = load("10_r3gan_blocks", dtype)
    kwargs = recorded.meta["constructor_kwargs"]
    residual, (c_in, c_out, _) = kwargs["residual"], kwargs["up"]
    inner = residual["InputChannels"] * residual["ExpansionFactor"]
    block = Bottleneck(residual["InputChannels"], residual["ExpansionFactor"], inner // residual["Cardinality"])
    with torch.no_grad():
        recorded.check("residual", filled(block.to(dtype), recorded, "residual")(recorded["residual"]))
        for part, channels in (("up", c_out), ("up_same", c_in)):
            layer = filled(ResidualLayer(c_in, channels, 4, (8, 10), True).to(dtype), recorded, part)
            recorded.check(part, layer(recorded[part], torch.zeros(2, 4)))
        for part, channels in (("down", c_out), ("down_same", c_in)):
            down = filled(ResidualDown(c_in, channels, (6, 8)).to(dtype), recorded, part)
            recorded.check(part, down(recorded[part]))
        z_dim, channels = kwargs["gbasis"]
        recorded.check(
            "gbasis", filled(Basis(z_dim, channels, (4, 4)).to(dtype), recorded, "gbasis")(recorded["gbasis"])
        )
        channels, outputs = kwargs["dbasis"]
        head = filled(BasisHead(channels, (4, 4), outputs, cmap_dim=outputs).to(dtype), recorded, "dbasis")
        head.embed.weight.copy_(torch.eye(outputs))  # then the logit of class i is the i-th feature
        logits = [head(recorded["dbasis"], label.expand(3, -1)) for label in torch.eye(outputs, dtype=dtype)]
        recorded.check("dbasis", torch.cat(logits, dim=1))


# --- networks, losses and penalties ----------------------------------------------------------------------------------


@PRECISIONS
@NETWORKS
def test_networks(name: str, dtype: torch.dtype) -> None:
    """Images, logits, and the maps of every stage of both networks."""
    gan, recorded = networks(name, dtype)
    batch, levels = batch_of(gan, recorded), len(gan.shape.sizes)
    g = {f"G_stage{i}": block for i, block in enumerate(gan.G.synthesis.blocks)}
    d = {f"D_stage{i}": gan.D.trunk.blocks[levels - 2 - i] for i in range(levels - 1)}
    d[f"D_stage{levels - 1}"] = gan.D.head.linear
    with torch.no_grad(), outputs_of(g | d) as maps:
        recorded.check("image", gan.G(batch.z, batch.label)[-1])
        recorded.check("logits_real", gan.D(batch.real, batch.label).flatten())
    for stage, x in maps.items():
        recorded.check(stage, x[:2])
    assert len(maps) == 2 * levels


@PRECISIONS
@NETWORKS
def test_phases(name: str, dtype: torch.dtype) -> None:
    """Relativistic losses, both penalties, and the gradients of each network's phase."""
    gan, recorded = networks(name, dtype)
    stages = len(gan.shape.sizes)
    batch = batch_of(gan, recorded)
    fake, real = gan.D(batch.fake_with_graph, batch.label), gan.D(batch.real, batch.label)
    recorded.check("Gphase/relativistic_logits", (fake - real).flatten())
    loss = gan.loss.g(fake, real.detach())
    recorded.check("Gphase/adv_loss", loss)
    loss.mean().backward()
    check_gradients(recorded, "Gphase", "G", gan.G, stages)

    gan.D.zero_grad()
    fake, real = batch.judged_fake.logits, batch.judged_real.logits
    recorded.check("Dphase/relativistic_logits", (real - fake).flatten())
    loss = gan.loss.d(real, fake)
    recorded.check("Dphase/adv_loss", loss)
    penalties = [reg.penalty(batch) for reg in gan.regularizers]
    for key, penalty in zip(("r1", "r2"), penalties):
        recorded.check(f"Dphase/{key}", penalty * 2 / recorded.meta["gamma"], GRADIENT)
    (loss + sum(penalties)).mean().backward()
    check_gradients(recorded, "Dphase", "D", gan.D, stages)


# --- steps -----------------------------------------------------------------------------------------------------------


class GivenTrainer(Trainer):
    """A trainer whose reals are given as they are, and which keeps the adversarial losses of each sample."""

    def pyramid(self, real: Tensor) -> tuple[Tensor, ...]:
        return (real,)

    def adversarial_loss(self, network: Any, batch: GanBatch) -> Tensor:
        loss = super().adversarial_loss(network, batch)
        self.losses[network] = loss.detach()
        return loss


def scheduled(recorded: Recorded, name: str) -> Tree:
    """A ramp of a recipe, from the recorded arguments of the reference's schedule."""
    kwargs = recorded.meta["schedules"][name]
    ends = {"from": float(kwargs["base_value"]), "to": float(kwargs["final_value"])}
    return {**ends, "kimg": kwargs["total_nimg"] / 1000, "curve": "cosine"}


def test_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of both networks with all schedules, Adam and the moving average."""
    recorded = load("18_r3gan_steps")
    kwargs = recorded.meta["constructor_kwargs"]
    stages, batch = len(kwargs["w"]), kwargs["batch"]
    tree = {"WidthPerStage": kwargs["w"], "CardinalityPerStage": kwargs["card"], "BlocksPerStage": kwargs["blocks"]}
    g = {**tree, "ExpansionFactor": 2}
    d = {**{key: values[::-1] for key, values in tree.items()}, "ExpansionFactor": 2}
    ema = scheduled(recorded, "ema")
    gan = experiment(
        kwargs["R"],
        dtype=torch.float64,
        loss="relativistic_paired",
        regularizers=[{"use": use, "gamma": scheduled(recorded, "gamma"), "every": 1} for use in ("r1", "r2")],
        training={
            "batch": batch,
            "lr": scheduled(recorded, "lr"),
            "betas": [0.0, scheduled(recorded, "beta2")],
            "ema_kimg": {**ema, "to": ema["to"] / 1000},
            "order": "dg",
            "fresh_reals": True,
            "precision": "fp32",
        },
        **trees(g, d, kwargs["z"]),
    )
    gan.G.load_state_dict({**weights(recorded, "G", stages), "w_mean": gan.G.w_mean})
    gan.D.load_state_dict(weights(recorded, "D", stages))
    trainer = GivenTrainer(gan, torch.device("cpu"))
    for net in (trainer.G, trainer.D, trainer.G_ema):
        net.set_dtype(torch.float64)
    trainer.losses = {}
    for step in range(kwargs["steps"]):
        latents = iter([recorded[f"d{step}/z"], recorded[f"g{step}/z"]])
        monkeypatch.setattr(SampleRng, "normal", lambda self, like, latents=latents: next(latents))
        reals = torch.cat([recorded[f"d{step}/real"], recorded[f"g{step}/real"]])
        trainer.step(reals, torch.zeros(2 * batch, 0), torch.zeros(batch, 0))
        for network in ("d", "g"):
            recorded.check(f"step{step}/{network}_loss", trainer.losses[network])
    finals = [key.removeprefix("out/final/") for key in recorded.tensors if key.startswith("out/final/")]
    assert len(finals) == 50
    modules = {"G": trainer.G, "D": trainer.D, "G_ema": trainer.G_ema}
    for key in finals:
        network, _, name = key.partition("/")
        reference, _ = recorded.output(f"final/{key}")
        parameter = modules[network].get_parameter(ours(network[0], name, stages))
        recorded.check(f"final/{key}", parameter.reshape(reference.shape))
