"""StyleGAN's networks against outputs recorded from genforce/genforce and huangzh13/StyleGAN.pytorch.

genforce counts levels of detail from the finest and works on full-size images; `at` turns that into our stages.
huangzh13 counts depths from the coarsest, and its alpha is ours.
"""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

import foreign
from foreign import at, full, outputs_of, seen
from ganzoo.interfaces import Discriminator, GanBatch, Generator, Stage
from ganzoo_import.formats import genforce_stylegan, huangzh13
from ganzoo_import.formats.genforce_stylegan import GenforceStyleGAN
from ganzoo_objectives.penalties import R1
from reference import GRADIENT, Recorded, load

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
GENERATORS = pytest.mark.parametrize("name", foreign.files("05_gf_stylegan_G"))
DISCRIMINATORS = pytest.mark.parametrize("name", foreign.files("05_gf_stylegan_D"))
HUANGZH13 = pytest.mark.parametrize("name", foreign.files("05_hz"))


# --- genforce --------------------------------------------------------------------------------------------------------


def generator(name: str, dtype: torch.dtype) -> tuple[Generator, Recorded, Tensor | None]:
    """Build the generator with a file's weights: (generator, labels of the inputs)."""
    recorded = load(name, dtype)
    kwargs = recorded.meta["constructor_kwargs"]
    importer = GenforceStyleGAN(fused=kwargs.get("fused_scale", "auto"), lr_mul=kwargs.get("mapping_lr_mul", 0.01))
    label = recorded["label"] if "in/label" in recorded.tensors else None
    return foreign.generator(importer, recorded.state(), dtype), recorded, label


@PRECISIONS
@GENERATORS
def test_generator(name: str, dtype: torch.dtype) -> None:
    """Style codes, the layers' modulations, and images at every level and during a fade."""
    G, recorded, label = generator(name, dtype)
    meta = recorded.meta
    assert G.num_ws == meta["num_layers"]
    layers = [G.synthesis.stem, *(layer for block in G.synthesis.blocks for layer in block.layers)]
    styles = {f"lod0/style{i:02}": layer.epilogue.style for i, layer in enumerate(layers)}
    with torch.no_grad(), G.noise("const"):
        recorded.check("w", G.map(recorded["z"], label))
        ws = G.styles(recorded["z"], label)
        recorded.check("wp", ws)
        with outputs_of(styles) as features:
            G.synthesize(ws)
        names = [key for key in features if key in recorded]
        assert len(names) == sum(key.startswith("out/lod0/style") for key in recorded.tensors)
        for key in names:
            recorded.check(key, features[key])
        for lod in meta["lods"]:
            stage = at(lod, G)
            recorded.check(f"lod{lod}/image", full(G.synthesize(ws, stage)[-1], G))
        assert len(meta["lods"]) == sum(bool(re.fullmatch(r"out/lod[\d.]+/image", key)) for key in recorded.tensors)


@PRECISIONS
@GENERATORS
def test_truncation_mixing_and_noise(name: str, dtype: torch.dtype) -> None:
    G, recorded, label = generator(name, dtype)
    calls = recorded.meta["calls"]
    with torch.no_grad(), G.noise("const"):
        ws, other = G.styles(recorded["z"], label), G.styles(recorded["z2"], label)
        for key in ("trunc_part", "trunc_all"):
            psi = float(torch.tensor(calls[key]["trunc_psi"], dtype=torch.float32))  # float32 there in either precision
            near = G.truncate(ws, psi, calls[key]["trunc_layers"])
            recorded.check(f"{key}/image", G.synthesize(near)[-1])
            if f"{key}/wp" in recorded:
                recorded.check(f"{key}/wp", near)
        assert "trunc_part/wp" in recorded
        cuts = set(re.findall(r"layers (?:<|>=) (\d+)", calls["mix"]))
        assert len(cuts) == 1
        cut = int(cuts.pop())
        recorded.check("mix/image", G.synthesize(torch.cat([ws[:, :cut], other[:, cut:]], dim=1))[-1])
        with G.noise("none"):
            recorded.check("nonoise/image", G.synthesize(ws)[-1])


def discriminator(name: str, dtype: torch.dtype) -> tuple[Discriminator, Recorded, Tensor | None]:
    """Build the discriminator with a file's weights: (discriminator, labels of the inputs)."""
    recorded = load(name, dtype)
    meta, state = recorded.meta["constructor_kwargs"], recorded.state()
    importer = GenforceStyleGAN(group=meta.get("minibatch_std_group_size", 4))
    labels = meta.get("label_size", 0)
    tree = genforce_stylegan.discriminator_recipe(state, importer.group, labels)
    D = foreign.discriminator(tree, importer.to_discriminator(state), dtype, labels)
    return D, recorded, recorded["label"] if labels else None


@PRECISIONS
@DISCRIMINATORS
def test_discriminator(name: str, dtype: torch.dtype) -> None:
    """Scores at every level, during a fade, and at all batch sizes; with labels that of the label."""
    D, recorded, label = discriminator(name, dtype)
    with torch.no_grad():
        for lod in recorded.meta["lods"]:
            stage = at(lod, D)
            recorded.check(f"lod{lod}/score", D((seen(recorded["image"], stage, D),), label, stage))
        for n in (4, 2):
            recorded.check(f"batch{n}/score", D((recorded["image"][:n],), None if label is None else label[:n]))


@PRECISIONS
@DISCRIMINATORS
def test_r1(name: str, dtype: torch.dtype) -> None:
    """The gradient of the scores at the image, and its squared norm per sample: the penalty at gamma = 2."""
    D, recorded, label = discriminator(name, dtype)
    image = recorded["image"].requires_grad_()
    (gradient,) = torch.autograd.grad(D((image,), label).sum(), image)
    recorded.check("r1_image_grad", gradient[: len(recorded.output("r1_image_grad")[0])], GRADIENT)
    G: Any = None
    batch = GanBatch(G, D, Stage(len(D.shape.sizes) - 1), recorded["image"], label, (recorded["image"],), label)
    recorded.check("r1_penalty", R1(gamma=2.0).penalty(batch), GRADIENT)


# --- huangzh13 -------------------------------------------------------------------------------------------------------


def pair(name: str, dtype: torch.dtype) -> tuple[Generator, Discriminator, Recorded]:
    """Build both networks with a file's weights and the recorded noise maps."""
    recorded = load(name, dtype)
    importer = huangzh13.Huangzh13StyleGAN()
    states = {"G_ema": recorded.state("G/"), "D": recorded.state("D/")}
    gan = foreign.built(importer.recipe(states), dtype)
    gan.G.load_state_dict(importer.to_generator(states["G_ema"]))
    gan.D.load_state_dict(importer.to_discriminator(states["D"]))
    maps = {k.removeprefix("in/noise/"): v for k, v in recorded.tensors.items() if k.startswith("in/noise/")}
    buffers = dict(gan.G.named_buffers())
    for key, noise in maps.items():
        (ours,) = huangzh13.generator({f"{key}.weight": torch.zeros(1)}, False)
        buffers[ours.replace("strength", "const")].copy_(noise)
    assert len(maps) == gan.G.num_ws
    return gan.G, gan.D, recorded


@PRECISIONS
@HUANGZH13
def test_huangzh13(name: str, dtype: torch.dtype) -> None:
    """Style codes, images with and without truncation, and scores, at each depth and during fades."""
    G, D, recorded = pair(name, dtype)
    kwargs = recorded.meta["constructor_kwargs"]["G"]
    with torch.no_grad(), G.noise("const"):
        ws = G.styles(recorded["z"])
        recorded.check("dlatents", ws)
        near = G.truncate(ws, kwargs["truncation_psi"], kwargs["truncation_cutoff"])
        recorded.check("dlatents_truncated", near)
        for depth, alpha in recorded.meta["depth_alpha_pairs"]:
            stage, key = Stage(depth, alpha), f"d{depth}_a{alpha}"
            recorded.check(f"{key}/image", G.synthesize(ws, stage)[-1])
            recorded.check(f"{key}/image_truncated", G.synthesize(near, stage)[-1])
            image = recorded[f"img_depth{depth}"]
            recorded.check(f"{key}/score", D((image,), None, stage))
            recorded.check(f"{key}/score_batch4", D((image[:4],), None, stage))


@PRECISIONS
@HUANGZH13
def test_huangzh13_mean_style(name: str, dtype: torch.dtype) -> None:
    """Its moving mean of style codes uses the first sample of a batch only."""
    G, _, recorded = pair(name, dtype)
    G.train().styles(recorded["z"][:1])
    recorded.check("avg_latent_after_update", G.w_mean)
