"""`gz project`: what it writes, and that it goes on where it was."""

import json
import signal
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from commands import fails as fails
from commands import good as good
from commands import gz as gz
from ganzoo.model import latent_files
from ganzoo.recipe.datasets import open_set
from ganzoo.registry.lookup import registry
from ganzoo_cli import main
from ganzoo_projection.job.job import STATE
from ganzoo_projection.job.stress import masked, moved
from ganzoo_projection.search import Projection
from projecting import QUICK, loaded
from projecting import photos as photos
from projecting import snapshots as snapshots


def tree(folder: Path) -> dict[str, bytes]:
    """Files that a command wrote, by their relative path, except those that hold times."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix in (".json", ".html"):
            continue
        found[str(path.relative_to(folder))] = path.read_bytes()
    return found


# --- what it writes --------------------------------------------------------------------------------------------------


def test_a_folder(snapshots, photos, good, tmp_path):
    out = good("project", snapshots("stylegan2"), photos, *QUICK, "--batch", 2, "--film", "--outdir", tmp_path)
    names = ["a", "alpha", "gray", "more-a", "turned"]
    model = ganzoo.load(snapshots("stylegan2"), "cpu")
    same = open_set(str(photos), (16, 16), 3, 0, registry())
    for i, name in enumerate(names):
        home = tmp_path / name
        assert {p.name for p in home.iterdir()} == {"target.png", "proj.png", "projection.json", "film.webp"} | {
            f"projected_w.{s}" for s in ("npz", "safetensors")
        }
        assert (loaded(home / "target.png") == same.image(i)).all()  # fitted as training's are
        ws = latent_files.read(home / "projected_w.safetensors", model)
        with np.load(home / "projected_w.npz", allow_pickle=False) as file:
            assert (file["w"] == ws.numpy()).all() and file["w"].shape == (1, model.G.num_ws, 8)
        assert (loaded(home / "proj.png") == model.pixels(model.render(ws))[0]).all()
        assert Image.open(home / "film.webp").n_frames == 5  # four steps, and the end
    found = json.loads((tmp_path / "report.json").read_text())
    assert [r["name"] for r in found["images"]] == names
    assert found["digest"] == model.header.digest and found["space"] == "w+"
    for record in found["images"]:
        a, b = (loaded(tmp_path / record["name"] / f"{n}.png").astype(float) for n in ("target", "proj"))
        assert record["psnr"] == pytest.approx(20 * np.log10(255) - 10 * np.log10(np.mean((a - b) ** 2)))
        assert record["perceptual"] == pytest.approx(record["mse"], rel=1e-5)  # it is the pixels here
    assert found["summary"]["psnr"]["mean"] == pytest.approx(np.mean([r["psnr"] for r in found["images"]]))
    assert not (tmp_path / "project.state.safetensors").exists()
    assert all(name in out for name in [*names, "report.html", "contact.png"])


class Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.found += [value for key, value in attrs if key in ("src", "href")]


def test_the_page_needs_nothing_from_elsewhere(snapshots, photos, good, tmp_path):
    odd = tmp_path / "<b> & 'é'.png"
    odd.write_bytes((photos / "a.png").read_bytes())
    good("project", snapshots("stylegan2"), odd, *QUICK, "--outdir", tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Sources()
    page.feed(text)
    from urllib.parse import unquote

    assert page.found and all((tmp_path / "out" / unquote(name)).is_file() for name in page.found)
    assert "script" not in page.tags and "<b> & " not in text


def test_files_of_one_name(snapshots, photos, good, tmp_path):
    second = tmp_path / "a-2.png"
    second.write_bytes((photos / "a.png").read_bytes())
    files = [photos / "a.png", photos / "more" / "a.png", second]
    good("project", snapshots("stylegan2"), *files, *QUICK, "--outdir", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == ["a", "a-2", "a-2-2"]


def test_a_folder_with_the_name_of_a_dataset(snapshots, photos, good, monkeypatch, tmp_path):
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "x.png").write_bytes((photos / "a.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    good("project", snapshots("stylegan2"), "shapes", *QUICK)
    found = json.loads(Path("projected/report.json").read_text())["images"]
    assert [(r["name"], r["source"]) for r in found] == [("x", "shapes/x.png")]


def test_json(snapshots, photos, good, tmp_path):
    found = json.loads(
        good("project", snapshots("stylegan2"), photos / "a.png", *QUICK, "--json", "--outdir", tmp_path)
    )
    written = json.loads((tmp_path / "report.json").read_text())
    assert found == written
    assert found["options"]["steps"] == 4 and found["options"]["perceptual"] == {"use": "pixel"}


def test_stylegan2_keeps_the_noise(snapshots, photos, good, tmp_path):
    """The picture is that of the optimised noise, which is written too."""
    from safetensors.torch import load_file

    good("project", snapshots("stylegan2"), photos / "a.png", *QUICK, "--method", "stylegan2", "--outdir", tmp_path)
    model = ganzoo.load(snapshots("stylegan2"), "cpu")
    ws = latent_files.read(tmp_path / "a" / "projected_w.npz", model)
    noise = load_file(tmp_path / "a" / "projected_noise.safetensors")
    assert bool((ws == ws[:, :1]).all())
    modules = {m: n for n, m in model.G.named_modules()}
    with torch.no_grad(), model.G.drawing(lambda module, x: noise[f"noise.{modules[module]}"]):
        image = model.G.synthesize(ws, model.stage)[-1]
    assert (loaded(tmp_path / "a" / "proj.png") == model.pixels(image)[0]).all()
    record = json.loads((tmp_path / "report.json").read_text())["images"][0]
    assert record["psnr_stored_noise"] != record["psnr"]


@pytest.mark.parametrize("name, size", [("gray", (16, 16)), ("rgba", (8, 16)), ("growing", (8, 8)), ("progan", (4, 4))])
def test_any_generator(snapshots, photos, good, tmp_path, name, size):
    good("project", snapshots(name), photos / "alpha.png", *QUICK, "--outdir", tmp_path)
    assert Image.open(tmp_path / "alpha" / "proj.png").size == size
    assert Image.open(tmp_path / "alpha" / "target.png").mode == {"gray": "L", "rgba": "RGBA"}.get(name, "RGB")
    space = json.loads((tmp_path / "report.json").read_text())["space"]
    assert space == ("z" if name == "progan" else "w+")


def test_other_channels_come_from_arrays(snapshots, good, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (16, 16, 2), np.uint8))
    good("project", snapshots("two channels"), tmp_path / "x.npy", *QUICK, "--outdir", tmp_path / "out")
    assert np.load(tmp_path / "out" / "x" / "proj.npy").shape == (2, 16, 16)


def test_no_mapping_no_w(snapshots, photos, good, capsys, tmp_path):
    main(
        ["project", str(snapshots("progan")), str(photos / "a.png"), *QUICK, "--space", "w", "--outdir", str(tmp_path)]
    )
    said = capsys.readouterr().err
    assert "no learned mapping" in said and "--space w has no meaning" in said


def test_a_class(snapshots, photos, good, fails, tmp_path):
    command = ["project", snapshots("conditional"), photos / "a.png", *QUICK, "--outdir", tmp_path]
    fails(2, ["3 classes", "--class"], *command)
    good(*command, "--class", 2)
    assert json.loads((tmp_path / "report.json").read_text())["label"] == [0, 0, 1]


def test_stress(snapshots, photos, good, tmp_path):
    good("project", snapshots("stylegan2"), photos / "a.png", *QUICK, "--stress", "--outdir", tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())["images"]
    assert len(found) == 10 and Image.open(tmp_path / "stress.png").size[0] > 1000
    middle = loaded(tmp_path / "a-middle-masked" / "target.png")
    assert (middle[:, 7:9, 7:9] == 128).all() and (middle[:, :4] == loaded(photos / "a.png")[:, :4]).all()


def test_what_stress_does_to_an_image():
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 20), np.uint8)
    assert (moved(image, 0, 0, 1, 0) == image).all()
    assert (moved(image, 0.15, 0, 1, 0)[:, :, 3:] == image[:, :, :-3]).all()
    assert (moved(image, 0, 0.15, 1, 0)[:, 3:] == image[:, :-3]).all()
    turned = moved(image, 0, 0, 1, 90)
    assert (turned == np.rot90(image, 1, (1, 2))).all() or (turned == np.rot90(image, -1, (1, 2))).all()
    flat = np.full((1, 10, 30), 7, np.uint8)
    assert (moved(flat, 0.1, 0.2, 0.7, 45) == 7).all()
    assert (masked(image, 0, 0.5, 1, 1)[:, :, 10:] == 128).all()


# --- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, after", [("stylegan2", 0), ("image2stylegan", 3), ("image2stylegan", 8), ("stylegan2", 12)]
)
def test_interrupted_it_goes_on(snapshots, photos, good, fails, monkeypatch, tmp_path, method, after):
    """Stopped after some steps of the second batch, or between batches: all files are those of an unbroken run."""
    shared = ["project", snapshots("stylegan2"), photos, "--method", method, "--perceptual", "conv-random", "--film"]
    shared += ["--steps", 8, "--batch", 2, "--set", "patience=6", "--outdir"]
    good(*shared, tmp_path / "whole")
    advance, steps = Projection.advance, [0]

    def stopping(self):
        if steps[0] == after:
            signal.raise_signal(signal.SIGINT)
        steps[0] += 1
        return advance(self)

    monkeypatch.setattr(Projection, "advance", stopping)
    done = (after + 1) // 8 * 2
    fails(130, ["SIGINT", f"{done} of 5 images are done", "same command"], *shared, tmp_path / "parts")
    monkeypatch.setattr(Projection, "advance", advance)
    good(*shared, tmp_path / "parts")
    whole, parts = tree(tmp_path / "whole"), tree(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert [name for name in whole if whole[name] != parts[name]] == []
    a, b = (json.loads((tmp_path / n / "report.json").read_text())["images"] for n in ("whole", "parts"))
    assert [{**r, "seconds": 0} for r in a] == [{**r, "seconds": 0} for r in b]


def test_the_state_of_another_projection(snapshots, photos, fails, monkeypatch, tmp_path):
    command = ["project", snapshots("stylegan2"), photos / "a.png", "--perceptual", "pixel", "--outdir", tmp_path]
    monkeypatch.setattr(Projection, "advance", lambda self: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setattr(Projection, "state", lambda self: {})
    monkeypatch.setattr("ganzoo_projection.job.job.GLANCE", 1e9)
    fails(130, ["SIGTERM"], *command, "--steps", 9)
    fails(2, ["other options", "--outdir", "--overwrite"], *command, "--steps", 8)
    fails(2, ["other seed"], *command, "--steps", 9, "--seed", 1)
    (tmp_path / "project.state.safetensors").write_bytes(b"123")
    fails(1, ["project.state.safetensors is damaged"], *command, "--steps", 9)


def test_finished_results_stay(snapshots, photos, good, fails, monkeypatch, tmp_path):
    """The same command shows what is there; another one is refused, or told to replace it, and leaves no mixture."""
    model, out = snapshots("stylegan2"), tmp_path / "out"
    command = ["project", model, photos / "a.png", *QUICK, "--outdir", out]
    good(*command, "--film")
    before = {path: path.stat().st_mtime_ns for path in (out / "a").iterdir()}
    good(*command, "--film")
    assert {path: path.stat().st_mtime_ns for path in (out / "a").iterdir()} == before
    fails(2, [f"{out} holds the results", "other film", "--overwrite"], *command)
    fails(2, ["film and images"], "project", model, photos / "gray.png", *QUICK, "--outdir", out)
    fails(4, ["not finite"], *command[:3], "--perceptual", "pixel", *command[-2:], "--overwrite", "--set", "lr=1e30")
    assert {path: path.stat().st_mtime_ns for path in (out / "a").iterdir()} == before
    (out / "a" / "mine.txt").write_text("kept")
    good(*command, "--overwrite")
    assert not (out / "a" / "film.webp").exists() and (out / "a" / "mine.txt").exists()
    (out / "a" / "proj.png").unlink()
    fails(1, ["are gone", "--overwrite"], *command)
    unlink = Path.unlink
    with monkeypatch.context() as patch:  # as if it were killed before its state is gone
        patch.setattr(Path, "unlink", lambda path, **how: None if path.name == STATE else unlink(path, **how))
        good(*command, "--overwrite")
    assert (out / STATE).exists()
    (out / "a" / "proj.png").unlink()
    fails(1, ["are gone", "--overwrite"], *command)
    good(*command, "--overwrite")


def test_files_of_others_stay(snapshots, photos, good, fails, tmp_path):
    for name in ("contact.png", "report.json"):
        home = tmp_path / name[:3]
        home.mkdir()
        (home / name).write_text("mine")
        command = ["project", snapshots("stylegan2"), photos / "a.png", *QUICK, "--outdir", home]
        fails(2, [f"{home / name} is there already", "--overwrite"], *command)
        assert (home / name).read_text() == "mine"
        good(*command, "--overwrite")


def test_results_are_no_input(snapshots, good, fails, monkeypatch, tmp_path):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    Image.new("RGB", (16, 16), "red").save("x.png")
    for _ in range(2):
        good("project", snapshots("stylegan2"), ".", *QUICK)
    assert [r["name"] for r in json.loads(Path("projected/report.json").read_text())["images"]] == ["x"]
    good("project", snapshots("stylegan2"), "projected/x/proj.png", *QUICK, "--outdir", "../out")  # as it was named
    fails(2, ["the folder of the images"], "project", snapshots("stylegan2"), ".", *QUICK, "--outdir", ".")
    Path("x.png").unlink()
    fails(1, ["holds no images but those in --outdir projected"], "project", snapshots("stylegan2"), ".", *QUICK)
