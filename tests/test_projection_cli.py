"""`gz project`: what it writes, that it goes on where it was, and one sentence for whatever is wrong."""

import json
import signal
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo import codes
from ganzoo.data import open_set
from ganzoo.project import Projection
from ganzoo.project_input import masked, moved
from ganzoo.project_run import PLAN, STATE, _State
from ganzoo.registry import registry
from ganzoo_cli import main
from snapshots import family

MODELS = {
    "stylegan2": ["stylegan2-tiny"],
    "progan": ["progan-tiny"],
    "growing": [
        "progan-tiny",
        "generator.synthesis.block.layer=modconv",
        "generator.mapping=mlp",
        "growth.train_kimg=1",
        "growth.fade_kimg=1",
    ],
    "conditional": ["stylegan2-tiny", "labels"],
    "gray": ["stylegan2-tiny", "image.channels=1"],
    "rgba": ["stylegan2-tiny", "image.channels=4", "image.size=[16,8]"],
    "two channels": ["stylegan2-tiny", "image.channels=2"],
}
QUICK = ["--perceptual", "pixel", "--steps", "4"]


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return family(tmp_path_factory.mktemp("models"), MODELS)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Of every kind: RGB, alpha, gray, turned by EXIF, not square, in a sub-folder; and one that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape, np.uint8)

    Image.fromarray(noise(16, 16, 3)).save(folder / "a.png")
    Image.fromarray(noise(20, 20, 4)).save(folder / "alpha.png")
    Image.fromarray(noise(24, 18)).save(folder / "gray.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(30, 20, 3)).save(folder / "turned.jpg", exif=exif)
    (folder / "more").mkdir()
    Image.fromarray(noise(16, 40, 3)).save(folder / "more" / "a.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def good(capsys):
    def run(*args: object) -> str:
        capsys.readouterr()
        code = main([str(a) for a in args])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return run


@pytest.fixture
def fails(capsys):
    """Run a command that must fail with this exit code and one sentence that holds these words."""

    def run(code: int, words: list[object], *args: object) -> str:
        capsys.readouterr()
        got = main([str(a) for a in args])
        captured = capsys.readouterr()
        errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert got == code, captured.err
        assert len(errors) == 1 and errors[0].endswith("."), captured.err
        for word in words:
            assert str(word) in errors[0]
        return errors[0]

    return run


def loaded(path: Path) -> np.ndarray:
    array = np.asarray(Image.open(path))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def tree(folder: Path) -> dict[str, bytes]:
    """What a command wrote, without times."""
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
        ws = codes.read(home / "projected_w.safetensors", model)
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
    ws = codes.read(tmp_path / "a" / "projected_w.npz", model)
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
    monkeypatch.setattr("ganzoo.project_run.GLANCE", 1e9)
    fails(130, ["SIGTERM"], *command, "--steps", 9)
    fails(2, ["other options", "--outdir", "--overwrite"], *command, "--steps", 8)
    fails(2, ["other seed"], *command, "--steps", 9, "--seed", 1)
    (tmp_path / "project.state.safetensors").write_bytes(b"123")
    fails(1, ["project.state.safetensors is damaged"], *command, "--steps", 9)


def test_finished_results_stay(snapshots, photos, good, fails, tmp_path):
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
    about = json.loads((out / "report.json").read_text())
    plan = {key: about[key] for key in PLAN} | {"images": {"a": about["images"][0]["sha256"]}}
    _State(plan, ["a"]).write(out / STATE)
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


# --- bad input -------------------------------------------------------------------------------------------------------


def test_bad_images(snapshots, photos, fails, tmp_path):
    model = snapshots("stylegan2")
    out = ["--outdir", tmp_path / "out"]
    fails(1, ["no image or folder nowhere.png"], "project", model, "nowhere.png", *QUICK, *out)
    fails(1, ["notes.txt holds no images"], "project", model, photos / "notes.txt", *QUICK, *out)
    (tmp_path / "empty").mkdir()
    fails(1, ["empty holds no images"], "project", model, tmp_path / "empty", *QUICK, *out)
    bad = tmp_path / "bad.png"
    bad.write_bytes((photos / "a.png").read_bytes()[:200])
    fails(1, [f"{bad} cannot be decoded"], "project", model, photos / "a.png", bad, *QUICK, *out)
    Image.new("RGB", (5, 5)).save(tmp_path / "tiny.png")
    fails(1, [f"{tmp_path / 'tiny.png'} is 5x5", "upscale=true"], "project", model, tmp_path / "tiny.png", *QUICK, *out)
    fails(
        1, ["2 of the inputs", "nowhere.png", "notes.txt"], "project", model, "nowhere.png", photos / "notes.txt", *out
    )
    assert not (tmp_path / "out").exists()


def test_all_bad_images_are_named(snapshots, photos, fails, tmp_path):
    for i in range(7):
        Image.new("RGB", (5, 5)).save(tmp_path / f"tiny{i}.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "fine.png")
    command = ["project", snapshots("stylegan2"), tmp_path, *QUICK, "--outdir", tmp_path / "out"]
    words = ["7 of the inputs", "tiny0.png", "tiny4.png", "and 2 more", "--dataset upscale=true"]
    said = fails(1, words, *command)
    assert "tiny5.png" not in said and "image.size" not in said and "recipe" not in said
    said = fails(
        1,
        ["--dataset fit=crop", "--dataset fit=fit"],
        *command[:2],
        photos / "gray.png",
        *command[3:],
        "--dataset",
        "fit=error",
    )
    assert "set dataset" not in said
    assert not (tmp_path / "out").exists()


def test_tiny_images_are_enlarged_on_request(snapshots, good, tmp_path):
    Image.new("RGB", (5, 5), "red").save(tmp_path / "tiny.png")
    command = ["project", snapshots("stylegan2"), tmp_path / "tiny.png", *QUICK, "--outdir", tmp_path / "out"]
    good(*command, "--dataset", "upscale=true")
    assert (loaded(tmp_path / "out" / "tiny" / "target.png") == np.array([255, 0, 0])[:, None, None]).all()


def test_background(snapshots, good, tmp_path):
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    for colour, value in (("white", 255), ("black", 0)):
        out = tmp_path / colour
        flags = ["--dataset", f"background={colour}", "--outdir", out]
        good("project", snapshots("stylegan2"), tmp_path / "clear.png", *QUICK, *flags)
        assert (loaded(out / "clear" / "target.png") == value).all()


def test_bad_checkpoints_and_options(snapshots, photos, fails, monkeypatch, tmp_path):
    model, image = snapshots("stylegan2"), photos / "a.png"
    out = ["--outdir", tmp_path / "out"]
    fails(1, ["is a folder"], "project", tmp_path, image, *QUICK, *out)
    fails(1, ["no whole safetensors file"], "project", image, image, *QUICK, *out)
    fails(2, ["no projector named 'magic'"], "project", model, image, "--method", "magic", *out)
    fails(
        2,
        ["no perceptual named 'pixels'", "Did you mean 'pixel'"],
        "project",
        model,
        image,
        "--perceptual",
        "pixels",
        *out,
    )
    fails(2, ["'lrr'", "Did you mean 'lr'"], "project", model, image, *QUICK, "--set", "lrr=1", *out)
    fails(2, ["--set steps=3", "--steps"], "project", model, image, *QUICK, "--set", "steps=3", *out)
    fails(2, ["'sides'"], "project", model, image, "--set", "perceptual.sides=3", *out)
    fails(2, ["lr", "-1"], "project", model, image, *QUICK, "--set", "lr=-1", *out)
    fails(2, ["--dataset fit"], "project", model, image, *QUICK, "--dataset", "fit", *out)
    monkeypatch.setenv("GZ_CACHE", str(tmp_path / "cache"))
    for method in ("image2stylegan", "stylegan2"):
        fails(
            1,
            [
                "vgg16-397923af.pth",
                "--set perceptual.weights=FILE",
                "--perceptual pixel",
                tmp_path / "cache" / "weights",
            ],
            "project",
            model,
            image,
            "--method",
            method,
            *out,
        )
    fails(2, ["2 channels", "pixel or conv-random"], "project", snapshots("two channels"), image, *out)


def test_a_search_that_diverges(snapshots, photos, fails, tmp_path):
    command = ["project", snapshots("stylegan2"), photos / "a.png", "--perceptual", "pixel", "--steps", 40]
    fails(4, ["a.png", "not finite", "lr"], *command, "--set", "lr=1e30", "--outdir", tmp_path)
