"""Editing: morphs, crossovers and transfers end exactly, and directions are those that numpy finds."""

import numpy as np
import pytest
import torch

import ganzoo
from editing import code
from editing import snapshots as snapshots
from ganzoo.errors import UsageError
from ganzoo.io import images
from ganzoo.io.images import figure
from ganzoo_editing import style_codes

STYLED = ["stylegan2", "adain", "stylegan"]


@pytest.mark.parametrize("arc", [False, True])
def test_a_morph_ends_in_its_inputs_and_goes_straight(arc):
    torch.manual_seed(0)
    a, b = code(), code()
    ws = style_codes.morph(a, b, 5, arc=arc)
    assert torch.equal(ws[:1], a)
    assert torch.equal(ws[-1:], b)
    assert torch.equal(style_codes.morph(a, b, 2, arc=arc), torch.cat([a, b]))
    if arc:  # equal angles between neighbours
        unit = ws[:, 0] / ws[:, 0].norm(dim=1, keepdim=True)
        angles = (unit[1:] * unit[:-1]).sum(dim=1).acos()
        assert torch.allclose(angles, angles[:1].expand(4), atol=1e-4)
    else:
        wanted = [(1 - t) * a.double() + t * b.double() for t in (0, 0.25, 0.5, 0.75, 1)]
        assert torch.allclose(ws.double(), torch.cat(wanted), atol=1e-6)
    with pytest.raises(UsageError, match="1 frames"):
        style_codes.morph(a, b, 1)


def test_a_crossover_takes_each_layer_from_one_of_the_two():
    a, b = code(18), code(18)
    assert torch.equal(style_codes.crossover(a, b, 18), a)
    assert torch.equal(style_codes.crossover(a, b, 0), b)
    assert style_codes.split(18) == 9  # as published
    made = style_codes.crossover(a, b, style_codes.split(18))
    assert torch.equal(made[:, :9], a[:, :9])
    assert torch.equal(made[:, 9:], b[:, 9:])
    for k in (-1, 19):
        with pytest.raises(UsageError, match=f"after {k} layers: choose from 0 to 18"):
            style_codes.crossover(a, b, k)


def test_a_transfer_moves_by_the_difference():
    w, neutral, expressive = code(), code(), code()
    assert torch.equal(style_codes.transfer(w, neutral, expressive, 0), w)
    assert torch.equal(style_codes.transfer(w, neutral, neutral, 2.0), w)
    assert torch.allclose(style_codes.transfer(neutral, neutral, expressive, 1), expressive, atol=1e-6)
    half, full = (style_codes.transfer(w, neutral, expressive, s) - w for s in (0.5, 1.0))
    assert torch.allclose(2 * half, full, atol=1e-6)
    norms = (expressive - neutral).double().square().sum(dim=1).sqrt()[0]
    limit = float(norms.median())
    moved = (style_codes.transfer(w, neutral, expressive, 1, limit) != w).any(dim=1)[0]
    assert torch.equal(moved, norms >= limit * (1 - 1e-6))
    assert 0 < int(moved.sum()) < len(moved)


def test_factorization_is_numpys():
    torch.manual_seed(0)
    weights = [torch.randn(m, 8) for m in (5, 16, 3)]
    vectors, changes = style_codes.factorized(weights)
    _, singular, right = np.linalg.svd(torch.cat(weights).double().numpy())
    assert np.allclose(changes.numpy(), singular, rtol=1e-9)
    assert np.allclose(np.abs((vectors.numpy() * right).sum(axis=1)), 1, atol=1e-9)  # the same up to sign
    assert (vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True)) > 0).all()


def test_fewer_rows_than_columns():
    _, changes = style_codes.factorized([torch.randn(3, 8)])
    assert changes.shape == (8,)
    assert torch.allclose(changes[3:], torch.zeros(5, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("name", [*STYLED, "growing"])
def test_modulations_are_found_in_every_layer_in_use(snapshots, name):
    model = ganzoo.load(snapshots(name))
    found = style_codes.modulations(model)
    assert tuple(found) == model.styled or name == "growing"  # a dense stem takes a code, but is modulated by none
    assert set(found) <= set(model.styled)
    assert all(weight.shape[1] == 8 for weights in found.values() for weight in weights)


@pytest.mark.parametrize("name", STYLED)
def test_the_first_direction_changes_the_modulation_most(snapshots, name):
    """Measured on the network itself: by how much the outputs of its affines change when codes move."""
    model = ganzoo.load(snapshots(name))
    layers = list(model.styled[:4])
    found = style_codes.directions(model, layers, 8)
    affines = [m for n, m in model.G.synthesis.named_modules() if n.endswith((".affine", ".style"))]
    assert affines

    def modulation(ws: torch.Tensor) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        hooks = [m.register_forward_hook(lambda m, x, y: seen.append(y.flatten() * _scale(m))) for m in affines]
        model.render(ws)
        for hook in hooks:
            hook.remove()
        return torch.cat(seen).double()

    def _scale(affine: torch.nn.Module) -> float:  # a 1x1 convolution to RGB scales its styles once more
        owner = next(m for m in model.G.modules() if getattr(m, "affine", None) is affine or affine in m.children())
        return float(owner.scale) if type(owner).__name__ == "ModConvRGB" else 1.0

    w = model.styles([0])
    start = modulation(w)
    change = [float((modulation(w + d[None]) - start).norm()) for d in found.offsets]
    assert np.allclose(change, found.changes.numpy(), rtol=1e-4)
    assert change == sorted(change, reverse=True)
    for _ in range(20):
        other = torch.zeros_like(w)
        other[:, layers] = torch.nn.functional.normalize(torch.randn(1, 1, 8), dim=2)
        assert float((modulation(w + other) - start).norm()) <= change[0] * (1 + 1e-5)


def test_directions_are_unit_vectors_in_the_chosen_layers(snapshots):
    model = ganzoo.load(snapshots("stylegan2"))
    found = style_codes.directions(model, [1, 2], 3)
    assert found.offsets.shape == (3, 6, 8)
    assert not found.offsets[:, [0, 3, 4, 5]].any()
    assert torch.equal(found.offsets[:, 1], found.offsets[:, 2])
    assert torch.allclose(found.offsets[:, 1] @ found.offsets[:, 1].T, torch.eye(3), atol=1e-6)
    with pytest.raises(UsageError, match="layer 6: no matrix"):
        style_codes.directions(model, [6], 1)
    with pytest.raises(UsageError, match="9 directions: choose from 1 to 8"):
        style_codes.directions(model, [1], 9)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_figure_holds_its_images(channels):
    tiles = np.random.default_rng(0).integers(0, 255, (6, channels, 80, 70), dtype=np.uint8)
    made = figure(tiles, ["a", "a name that is longer than it may be", "c"], ["0", "é"])
    _, height, width = made.shape
    bare = images.grid(tiles, 3)
    assert np.array_equal(made[:, height - 160 :, width - 210 :], bare)
    assert (made[: min(channels, 3), : height - 160] < 128).any()  # something is written
    assert channels < 4 or (made[3, : height - 160] == 255).all()
    assert figure(tiles[:3], ["", "", ""]).shape[2] == 210
