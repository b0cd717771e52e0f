"""`gz project`: one sentence for whatever is wrong."""

import numpy as np
from PIL import Image

from commands import fails as fails
from commands import good as good
from commands import gz as gz
from projecting import QUICK, loaded
from projecting import photos as photos
from projecting import snapshots as snapshots


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
        ["no extractor named 'pixels'", "Did you mean 'pixel'"],
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
