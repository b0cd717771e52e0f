"""Weights of another model as a beginning: what is inherited does what it did; what is not says so. Freeze-D."""

import json

import pytest
import torch

from conftest import small, trainer
from ganzoo.errors import CheckpointError, RecipeError
from ganzoo.gan.freeze import first_layers
from ganzoo.gan.trainer import Trainer
from ganzoo.interfaces import Stage
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.model.inherit import Report, inherit

GROWN = ("growth.train_kimg=0.001", "growth.fade_kimg=0.001")  # 16x16 after 5 images


def parent(tmp_path, name: str, *overrides: str, images: int = 0, only: str = "", seed: int = 5):
    """A snapshot in which every number is its own, and the networks in it."""
    node = small(name, *overrides)
    made = trainer(name, *overrides)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for net in made.weights().values():
            for tensor in net.state_dict().values():
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.2)
    weights = {n: t.clone() for net, m in made.weights().items() for n, t in checkpoint.prefixed(net, m).items()}
    weights = {n: t for n, t in weights.items() if n.startswith(only)}
    path = tmp_path / "parent.safetensors"
    checkpoint.write(path, weights, Header("snapshot", node.dump(), images))
    return path, made


def kinds(report: Report, net: str) -> dict[str, str]:
    return {entry.name: entry.kind for entry in report.entries[net]}


def whole(report: Report, made: Trainer, path) -> None:
    """Every tensor of both sides is told of once."""
    _, tensors = checkpoint.read(path)
    for net, module in made.weights().items():
        entries = report.entries[net]
        assert [entry.name for entry in entries] == list(module.state_dict())
        assert all((entry.kind == "fresh") == (entry.copied == 0) for entry in entries)
        assert all((entry.kind == "matched") <= (entry.copied == entry.total) for entry in entries)
        own = {name.partition(".")[2] for name in tensors if name.startswith(f"{net}.")}
        used = {entry.source for entry in entries if entry.source}
        left = {name for name, _ in report.skipped[net]}
        assert used | left == own
        assert not used & left
    assert json.loads(json.dumps(report.record()))["from"] == str(path)
    for net, matched, resized, fresh, skipped, copied, total in report.rows():
        assert matched + resized + fresh == len(report.entries[net])
        assert skipped == len(report.skipped[net])
        assert copied <= total == sum(t.numel() for t in made.weights()[net].state_dict().values())


def images(made: Trainer, stage: Stage, *, ema: bool = True) -> torch.Tensor:
    G = made.G_ema if ema else made.G.eval()
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), G.noise("const"):
        return G(z, None, stage)[-1]


def logits(made: Trainer, given: torch.Tensor, stage: Stage) -> torch.Tensor:
    with torch.no_grad():
        return made.D((given,), None, stage)


@pytest.mark.parametrize("name", ["stylegan2-tiny", "progan-tiny", "stylegan-tiny", "msggan-tiny"])
def test_the_same_recipe_inherits_all_of_it_to_the_bit(tmp_path, name):
    path, old = parent(tmp_path, name, images=10**9)
    new = trainer(name)
    report = inherit(new, path)
    whole(report, new, path)
    for net, module in new.weights().items():
        assert set(kinds(report, net).values()) == {"matched"}
        theirs = old.weights()[net].state_dict()
        assert all(torch.equal(t, theirs[n]) for n, t in module.state_dict().items())
    assert not report.notes


@pytest.mark.parametrize("name", ["progan-tiny", "stylegan-tiny"])
@pytest.mark.parametrize("sizes", [(16, 32), (32, 16)])
def test_a_growing_gan_of_another_size_does_the_same_at_the_sizes_of_both(tmp_path, name, sizes):
    before, after = sizes
    path, old = parent(tmp_path, name, f"image.size={before}", images=10**9)
    new = trainer(name, f"image.size={after}")
    report = inherit(new, path)
    whole(report, new, path)
    for level in range(3):  # 4x4, 8x8, 16x16
        stage = Stage(level)
        assert torch.equal(images(new, stage), images(old, stage))
        assert torch.equal(images(new, stage, ema=False), images(old, stage, ema=False))
        given = torch.randn(4, 3, 4 * 2**level, 4 * 2**level)
        assert torch.equal(logits(new, given, stage), logits(old, given, stage))
    fresh = {name for name, kind in kinds(report, "D").items() if kind == "fresh"}
    if after > before:
        assert {name.split(".conv")[0] for name in fresh} == {"trunk.from_rgb.3", "trunk.blocks.2"}
    else:
        assert not fresh
        assert {name.split(".conv")[0] for name, _ in report.skipped["D"]} == {"trunk.from_rgb.3", "trunk.blocks.2"}


def test_levels_are_matched_by_size_not_by_order(tmp_path):
    """From base 4x4 to base 8x8: block 1 of the old one becomes none, since the coarsest block is another; 2 is 1."""
    wide = ("image.size=32", "generator.channel_base=1024", "discriminator.channel_base=1024")  # 8 channels anywhere
    path, old = parent(tmp_path, "stylegan2-tiny", *wide)
    new = trainer("stylegan2-tiny", *wide, "image.base=[8,8]")
    report = inherit(new, path)
    whole(report, new, path)
    sources = {entry.name: entry.source for entry in report.entries["G"]}
    assert sources["synthesis.blocks.0.layers.0.weight"] == ""
    assert sources["synthesis.blocks.1.layers.1.weight"] == "synthesis.blocks.2.layers.1.weight"
    assert sources["synthesis.to_rgb.0.weight"] == "synthesis.to_rgb.1.weight"
    assert sources["synthesis.stem.const"] == ""
    sources = {entry.name: entry.source for entry in report.entries["D"]}
    assert sources["trunk.blocks.1.conv0.weight"] == "trunk.blocks.2.conv0.weight"
    assert sources["head.dense.weight"] == ""
    assert sources["head.out.weight"] == "head.out.weight"
    theirs = dict(old.D.named_parameters())["trunk.blocks.2.conv0.weight"]
    assert torch.equal(dict(new.D.named_parameters())["trunk.blocks.1.conv0.weight"], theirs)


def test_sizes_that_have_nothing_in_common_are_matched_in_order(tmp_path):
    path, _ = parent(tmp_path, "stylegan2-tiny")
    new = trainer("stylegan2-tiny", "image.size=[24,40]")  # base 6x10 or so
    report = inherit(new, path)
    whole(report, new, path)
    assert "no size is in both (4x4 to 16x16;" in report.notes[0]
    found = kinds(report, "G")
    assert found["synthesis.blocks.1.layers.0.weight"] == "matched"
    assert found["synthesis.stem.const"] == "fresh"  # of another size
    assert kinds(report, "D")["head.dense.weight"] == "fresh"


def test_what_had_not_grown_is_not_inherited(tmp_path):
    path, _ = parent(tmp_path, "progan-tiny", *GROWN, images=1)
    new = trainer("progan-tiny")
    report = inherit(new, path)
    whole(report, new, path)
    assert "still growing" in report.notes[0]
    found = kinds(report, "G")
    assert found["synthesis.blocks.0.layers.0.conv.weight"] == "matched"
    assert {kind for name, kind in found.items() if name.startswith("synthesis.blocks.2")} == {"fresh"}


def test_colour_becomes_gray(tmp_path):
    path, old = parent(tmp_path, "stylegan2-tiny")
    new = trainer("stylegan2-tiny", "image.channels=1")
    whole(inherit(new, path), new, path)
    stage = Stage(2)
    assert torch.allclose(images(new, stage), images(old, stage).mean(dim=1, keepdim=True), atol=1e-5)
    gray = torch.randn(4, 1, 16, 16)
    assert torch.allclose(logits(new, gray, stage), logits(old, gray.expand(-1, 3, -1, -1), stage), atol=1e-4)


def test_gray_becomes_colour(tmp_path):
    path, old = parent(tmp_path, "stylegan2-tiny", "image.channels=1")
    new = trainer("stylegan2-tiny")
    whole(inherit(new, path), new, path)
    stage = Stage(2)
    assert torch.allclose(images(new, stage), images(old, stage).expand(-1, 3, -1, -1), atol=1e-5)
    colours = torch.randn(4, 3, 16, 16)
    assert torch.allclose(logits(new, colours, stage), logits(old, colours.mean(dim=1, keepdim=True), stage), atol=1e-4)


@pytest.mark.parametrize("channels", [(3, 4), (4, 3), (1, 4), (4, 1)])
def test_alpha_comes_and_goes(tmp_path, channels):
    before, after = channels
    path, old = parent(tmp_path, "stylegan2-tiny", f"image.channels={before}")
    new = trainer("stylegan2-tiny", f"image.channels={after}")
    report = inherit(new, path)
    whole(report, new, path)
    theirs, ours = images(old, Stage(2))[:, :3], images(new, Stage(2))[:, :3]
    theirs = theirs.mean(dim=1, keepdim=True) if after == 1 else theirs.expand(-1, 3, -1, -1)
    assert torch.allclose(ours, theirs, atol=1e-5)
    with torch.no_grad():  # without alpha the discriminator sees what it saw
        effective = [d.trunk.from_rgb["2"].conv for d in (old.D, new.D)]
        was, now = ((conv.weight * conv.scale)[:, :3] for conv in effective)
    if min(before, after) > 1:
        assert torch.allclose(now, was, atol=1e-6)
    else:
        assert torch.allclose(now.sum(dim=1), was.sum(dim=1), atol=1e-6)


def test_a_wider_network_keeps_the_function_of_the_channels_it_inherits(tmp_path):
    wide = ("generator.channel_max=12", "discriminator.channel_max=12", "generator.channel_base=512")
    path, old = parent(tmp_path, "progan-tiny", images=10**9)
    new = trainer("progan-tiny", *wide, "discriminator.channel_base=512")
    before = {net: {n: t.clone() for n, t in m.state_dict().items()} for net, m in new.weights().items()}
    report = inherit(new, path)
    whole(report, new, path)
    layer = "synthesis.blocks.1.layers.1.conv"
    assert kinds(report, "G")[f"{layer}.weight"] == "resized"
    ours, theirs = new.G.get_submodule(layer), old.G.get_submodule(layer)
    assert ours.weight.shape == (12, 12, 3, 3)
    assert torch.allclose(ours.weight[:8, :8] * ours.scale, theirs.weight * theirs.scale, atol=1e-6)
    fresh = before["G"][f"{layer}.weight"]
    assert torch.equal(ours.weight[8:], fresh[8:])
    assert torch.equal(ours.weight[:, 8:], fresh[:, 8:])
    entry = next(e for e in report.entries["G"] if e.name == f"{layer}.weight")
    assert (entry.copied, entry.total) == (8 * 8 * 9, 12 * 12 * 9)


def test_another_learning_rate_multiplier_keeps_the_mapping(tmp_path):
    path, old = parent(tmp_path, "stylegan2-tiny", "generator.mapping.lr_mul=0.01")
    new = trainer("stylegan2-tiny", "generator.mapping.lr_mul=0.1")
    inherit(new, path)
    z = torch.randn(3, 8)
    assert torch.allclose(new.G_ema.map(z), old.G_ema.map(z), rtol=1e-4, atol=1e-5)
    assert torch.allclose(images(new, Stage(2)), images(old, Stage(2)), atol=1e-4)


def test_a_file_with_the_average_alone_starts_both_generators(tmp_path):
    path, old = parent(tmp_path, "stylegan2-tiny", only="G_ema")
    new = trainer("stylegan2-tiny")
    report = inherit(new, path)
    theirs = dict(old.G_ema.named_parameters())
    assert all(torch.equal(p, theirs[name]) for name, p in new.G.named_parameters())
    assert set(kinds(report, "D").values()) == {"fresh"}
    assert [note.split(":")[0] for note in report.notes] == [
        "parent.safetensors holds no G",
        "parent.safetensors holds no D",
    ]


def test_another_architecture_inherits_what_has_a_name_in_both(tmp_path):
    path, _ = parent(tmp_path, "stylegan2-tiny")
    new = trainer("stylegan2-tiny", "generator.synthesis.block.layer=adain")
    report = inherit(new, path)
    whole(report, new, path)
    found = kinds(report, "G")
    assert found["mapping.layers.0.weight"] == "matched"
    assert found["synthesis.blocks.0.layers.0.conv.weight"] == "fresh"
    assert set(kinds(report, "D").values()) == {"matched"}


def test_training_goes_on_from_it(tmp_path):
    path, _ = parent(tmp_path, "stylegan2-tiny")
    new = trainer("stylegan2-tiny", "image.size=32")
    inherit(new, path)
    new.frozen |= set(first_layers(new.D, 4).values())
    kept = {name: p.detach().clone() for name, p in new.D.named_parameters()}
    real = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    for _ in range(2):
        new.step(real, torch.zeros(4, 0), torch.zeros(4, 0))
    held = {name for name, p in new.D.named_parameters() if torch.equal(p, kept[name])}
    assert held == set(first_layers(new.D, 4))


def test_nothing_that_fits(tmp_path):
    path, _ = parent(tmp_path, "stylegan2-tiny", only="G_ema.w_mean")
    with pytest.raises(CheckpointError, match=r"parent.safetensors: nothing in it fits .*\.$"):
        inherit(trainer("stylegan2-tiny"), path)


def test_a_file_that_is_none(tmp_path):
    new = trainer("stylegan2-tiny")
    with pytest.raises(CheckpointError, match="no checkpoint file"):
        inherit(new, tmp_path / "gone.safetensors")
    with pytest.raises(CheckpointError, match="is a folder"):
        inherit(new, tmp_path)


# --- Freeze-D ---------------------------------------------------------------------------------------------------------


def test_layers_are_frozen_from_the_image_on():
    D = trainer("stylegan2-tiny").D  # 16x16: from_rgb, two residual blocks, the head
    order = ["from_rgb.2.conv"] + [f"blocks.{i}.{part}" for i in (1, 0) for part in ("conv0", "conv1", "shortcut")]
    for count in range(len(order) + 1):
        wanted = {f"trunk.{place}" for place in order[:count]}
        assert {name.rpartition(".")[0] for name in first_layers(D, count)} == wanted
    assert all(dict(D.named_parameters())[name] is p for name, p in first_layers(D, 7).items())
    with pytest.raises(RecipeError, match=r"training.freeze_d: 8: .*has 7 layers .*0 to 7"):
        first_layers(D, 8)


def test_norms_are_frozen_with_their_blocks_last_layer():
    D = trainer("progan-tiny", "discriminator.trunk.down.norm=batch_norm").D
    names = [{name for name in first_layers(D, k) if ".norm" in name} for k in (2, 3)]  # from_rgb, conv0; conv1
    assert not names[0]
    assert {name.split(".norm")[0] for name in names[1]} == {"trunk.blocks.1"}


def test_a_discriminator_in_which_every_size_comes_in():
    skip = ("discriminator.trunk=skip", "discriminator.trunk.from_rgb=plain", "discriminator.trunk.down=filtered")
    D = trainer("stylegan2-tiny", *skip).D
    places = [name.rpartition(".")[0] for name in first_layers(D, 4)]
    assert list(dict.fromkeys(places)) == [
        "trunk.from_rgb.2.conv",
        "trunk.blocks.1.conv0",
        "trunk.blocks.1.conv1",
        "trunk.from_rgb.1.conv",
    ]


def test_other_discriminators_cannot_be_frozen():
    with pytest.raises(RecipeError, match="freeze_d"):
        first_layers(torch.nn.Linear(1, 1), 1)
    assert first_layers(torch.nn.Linear(1, 1), 0) == {}
