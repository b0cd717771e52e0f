"""Latent files: what is written is read again to the bit, by numpy alone too; what belongs elsewhere is refused."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import ganzoo
from ganzoo.errors import DataError, UsageError
from ganzoo.model import latent_files
from ganzoo.model.model import Model
from ganzoo.training.seeds import latents
from snapshots import family

MODELS = {
    "stylegan2": ("stylegan2-tiny",),
    "adain": ("stylegan2-tiny", "generator.synthesis.block.layer=adain"),
    "progan": ("progan-tiny",),
    "conditional": ("stylegan2-tiny", "labels"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    snapshots = family(tmp_path_factory.mktemp("codes"), MODELS)
    loaded: dict[str, Model] = {}
    return lambda name: loaded.setdefault(name, ganzoo.load(snapshots(name)))


def written(model: Model, stem: Path, ws=None, **more: object) -> list[Path]:
    return latent_files.save(stem, model.styles([1, 2]) if ws is None else ws, latent_files.about(model) | more)


@pytest.mark.parametrize("name", MODELS)
def test_a_round_trip_is_exact_in_both_files(models, tmp_path, name):
    model = models(name)
    ws = torch.randn(3, model.G.num_ws, 8 if name != "conditional" else model.G.w_mean.shape[0])
    plain, full = written(model, tmp_path / "new" / "projected_w", ws)
    assert (plain.name, full.name) == ("projected_w.npz", "projected_w.safetensors")
    for path in (plain, full):
        assert torch.equal(latent_files.read(path, model), ws)
    with np.load(plain, allow_pickle=False) as file:  # the StyleGAN tools' name, shape and type
        assert file.files == ["w"]
        assert file["w"].dtype == np.float32
        assert np.array_equal(file["w"], ws.numpy())
    assert np.array_equal(load_file(full)["w"], ws.numpy())
    assert not [p for p in plain.parent.iterdir() if p not in (plain, full)]


def test_the_file_says_what_it_belongs_to(models, tmp_path):
    model = models("stylegan2")

    def says(**more: object) -> dict:
        _, full = written(model, tmp_path / "a", **more)
        with safe_open(full, framework="np") as file:
            return json.loads(file.metadata()[latent_files.KEY])

    found = says(psnr=30.5)
    assert found["digest"] == model.header.digest
    assert found["recipe"] == model.about()["recipe"]
    assert (found["format"], found["layers"], found["w_dim"], found["psnr"]) == (1, 6, 8, 30.5)
    assert found["space"] == "w"  # a code that all layers share
    assert says(ws=torch.randn(1, 6, 8))["space"] == "w+"
    assert says(space="z")["space"] == "z"


def test_every_shape_that_others_write(models, tmp_path):
    model = models("stylegan2")
    w, one = torch.randn(2, 8), torch.randn(6, 8)
    cases = {
        "[L, W]": (one, one[None]),
        "[1, L, W]": (one[None], one[None]),
        "[1, 1, W]": (w[:1, None], w[:1, None].expand(1, 6, 8)),
        "[N, W]": (w, w[:, None].expand(2, 6, 8)),
        "[N, 1, W]": (w[:, None], w[:, None].expand(2, 6, 8)),
    }
    for given, wanted in cases.values():
        np.savez(tmp_path / "w.npz", w=given.numpy())
        np.savez_compressed(tmp_path / "c.npz", w=given.numpy().astype(np.float64), other=np.zeros(3))
        save_file({"w": given.numpy().copy()}, tmp_path / "w.safetensors")
        for name in ("w.npz", "c.npz", "w.safetensors"):
            assert torch.equal(latent_files.read(tmp_path / name, model), wanted)
    np.save(tmp_path / "f.npy", np.asfortranarray(torch.stack([one, one * 2]).numpy()))
    assert torch.equal(latent_files.read(tmp_path / "f.npy", model), torch.stack([one, one * 2]))


def test_latents_go_through_the_mapping(models, tmp_path):
    np.savez(tmp_path / "z.npz", z=latents([4, 5], 8).numpy())
    for name in ("stylegan2", "progan"):
        assert torch.equal(latent_files.read(tmp_path / "z.npz", models(name)), models(name).styles([4, 5]))
    conditional = models("conditional")
    assert torch.equal(latent_files.read(tmp_path / "z.npz", conditional, label=2), conditional.styles([4, 5], label=2))
    with pytest.raises(UsageError, match="3 classes"):
        latent_files.read(tmp_path / "z.npz", conditional)


def test_codes_of_another_model_are_refused(models, tmp_path):
    ours, other = models("stylegan2"), models("adain")
    plain, full = written(other, tmp_path / "w")
    with pytest.raises(DataError) as caught:
        latent_files.read(full, ours)
    for model in (ours, other):
        assert model.path.name in str(caught.value)
        assert model.header.digest[:12] in str(caught.value)
        assert model.about()["recipe"] in str(caught.value)
    assert latent_files.read(full, ours, foreign=True).shape == (2, 6, 8)
    assert latent_files.read(plain, ours).shape == (2, 6, 8)  # an .npz does not say


def test_directions_are_no_codes(models, tmp_path):
    model = models("stylegan2")
    given = torch.randn(2, 6, 8)
    for path in latent_files.save(tmp_path / "d", given, latent_files.about(model), latent_files.DIRECTIONS):
        assert torch.equal(latent_files.directions(path, model), given)
        with pytest.raises(DataError, match="'directions': name the array 'z'"):
            latent_files.read(path, model)
    for path in written(model, tmp_path / "w"):
        with pytest.raises(DataError, match="'gz edit directions' wrote"):
            latent_files.directions(path, model)
    latent_files.save(tmp_path / "d", given[:, :3], latent_files.about(model), latent_files.DIRECTIONS)
    with pytest.raises(DataError, match=r"\[2, 3, 8\]"):
        latent_files.directions(tmp_path / "d.npz", model)


def _bomb(path: Path) -> None:
    """A small file that says it unpacks to 4 TB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (10**9, 6, 8), "fortran_order": False, "descr": "<f8"})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("w.npy", header.getvalue() + b"\0" * 10**6)


def _cut_array(path: Path) -> None:
    whole = io.BytesIO()
    np.save(whole, np.zeros((2, 6, 8)))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("w.npy", whole.getvalue()[:-8])


def _says(text: str):
    return lambda path: save_file({"w": np.zeros((1, 6, 8), np.float32)}, path, metadata={latent_files.KEY: text})


BAD = {
    "pickle.npz": (lambda p: np.savez(p, w=np.array([{}], dtype=object)), ["objects", "pickle"]),
    "text.npz": (lambda p: np.savez(p, w=np.array(["a"])), ["<U1", "real numbers"]),
    "complex.npz": (lambda p: np.savez(p, w=np.zeros((1, 6, 8), complex)), ["complex128", "real numbers"]),
    "bool.safetensors": (lambda p: save_file({"w": np.zeros((1, 6, 8), bool)}, p), ["bool", "real numbers"]),
    "bomb.npz": (_bomb, ["[1000000000, 6, 8]", "MiB"]),
    "cut.npz": (_cut_array, ["cut off"]),
    "nan.npz": (lambda p: np.savez(p, w=np.full((1, 6, 8), np.nan)), ["not finite"]),
    "large.npz": (lambda p: np.savez(p, w=np.full((1, 6, 8), 1e300)), ["not finite"]),
    "far.npz": (lambda p: np.savez(p, w=np.full((1, 6, 8), -1e30)), ["values up to 1e+30", "project or save"]),
    "empty.npz": (lambda p: np.savez(p, w=np.zeros((0, 6, 8))), ["[0, 6, 8]"]),
    "scalar.npz": (lambda p: np.savez(p, w=np.float32(1)), ["[]"]),
    "layers.npz": (lambda p: np.savez(p, w=np.zeros((1, 7, 8))), ["[1, 7, 8]", "[K, 6, 8]"]),
    "length.npz": (lambda p: np.savez(p, w=np.zeros((1, 9))), ["[1, 9]", "[K, 8]"]),
    "names.npz": (lambda p: np.savez(p, a=np.zeros(3)), ["'a'", "'w'"]),
    "none.npz": (lambda p: np.savez(p), ["nothing"]),
    "zip.npz": (lambda p: p.write_bytes(b"PK\3\4 not a zip"), ["cannot be read", "give a file"]),
    "x.safetensors": (lambda p: p.write_bytes(b"x" * 100), ["cannot be read"]),
    "w.pt": (lambda p: p.write_bytes(b"x"), [".npz"]),
    "folder.npz": (lambda p: p.mkdir(), ["is a folder"]),
    "gone.npz": (lambda p: None, ["no file"]),
    "json.safetensors": (_says("{"), ["metadata is damaged"]),
    "list.safetensors": (_says("[1]"), ["metadata is damaged"]),
    "types.safetensors": (_says('{"format": "1", "digest": 3}'), ["metadata is damaged"]),
    "newer.safetensors": (_says('{"format": 2, "digest": ""}'), ["newer ganzoo", "format 2"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(models, tmp_path, name):
    make, words = BAD[name]
    make(tmp_path / name)
    with pytest.raises(DataError) as caught:
        latent_files.read(tmp_path / name, models("stylegan2"))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    for word in [name, *words]:
        assert word in str(caught.value)


def test_the_picture_that_codes_were_drawn_as(models, tmp_path):
    plain, full = written(models("stylegan2"), tmp_path / "a", picture="a.png")
    assert latent_files.drawn_as(full) == "a.png"
    _, unsaid = written(models("stylegan2"), tmp_path / "b")
    for path in (unsaid, plain, tmp_path / "gone"):
        assert latent_files.drawn_as(path) == ""


def test_a_place_that_cannot_be_written(models, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        written(models("stylegan2"), tmp_path / "file" / "w")
