"""Tiny stand-ins for what the documentation presumes: pictures, checkpoints, weights of others, shorter commands."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from conftest import GOLDEN, SMALL
from ganzoo_cli import main
from reference import load
from snapshots import untrained, with_labels

FOLDERS = {"photos": 8, "faces": 2, "few": 4, "emoji": 8, "coco": 8, "wikiart": 4}  # with that many pictures
PNGS = ["photo", "me", "a", "b", "monkey", "city"]
JPEGS = ["photo", "painting", "one", "two"]
PICTURES = [*(f"{name}.png" for name in PNGS), *(f"{name}.jpg" for name in JPEGS)]
ARCHIVES = ("photos.zip", "noto-emoji-128.zip")
FOREIGN = {
    "network-snapshot-025000.pkl": "12_network-snapshot-000200.pkl",
    "550000.pt": "04_rosinality_converted.pt",
}
SETTINGS = [setting for setting in SMALL if not setting.startswith("dataset=")]
OVERRIDES = {
    key: json.loads(value) if re.match(r"[\d\[]", value) else value
    for key, value in (setting.split("=", 1) for setting in SETTINGS)
}

Extra = tuple[str, ...]


def picture(seed: int, side: int = 32) -> Image.Image:
    """Smooth colours, so that files are small."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR)


def fill(folder: Path) -> Path:
    """Put into a folder all files that some page presumes."""
    for name, count in FOLDERS.items():
        (folder / name).mkdir()
        for i in range(count):
            picture(i, 256 if name == "photos" else 32).save(folder / name / f"{i}.png")
    for i, name in enumerate(PICTURES):
        picture(i).save(folder / name)
    for name in ARCHIVES:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for file in sorted((folder / "photos").iterdir()):
                archive.write(file, file.name)
    for name, recorded in FOREIGN.items():
        (folder / name).write_bytes((GOLDEN / recorded).read_bytes())
    bmsg = load(next(GOLDEN.glob("07_msggan*.safetensors")).stem, torch.float32)
    torch.save(bmsg.state("G/"), folder / "GAN_GEN_8.pth")
    torch.save(bmsg.state("D/"), folder / "GAN_DIS_8.pth")
    return folder


def trained(folder: Path) -> Path:
    """The directory of a run of 8 images, at 32x32: eight layers."""
    settings = [*SETTINGS, "image.size=32", "metrics=[{use: swd, num: 8}]"]
    sets = [word for value in settings for word in ("--set", value)]
    data = ["--data", str(folder / "photos"), "--outdir", str(folder / "runs"), "--desc", "mine"]
    assert main(["train", "stylegan2-tiny", *data, "--kimg", "0.008", *sets]) == 0
    (run,) = (folder / "runs").iterdir()
    run = run.rename(folder / "runs" / "00000-mine")
    (snapshot,) = run.glob("snapshot-*.safetensors")
    shutil.copy(snapshot, run / "snapshot-000112.safetensors")
    return run


def labelled(folder: Path) -> Path:
    """A snapshot with ten classes."""
    return untrained(folder, "stylegan2-tiny", *with_labels(10))


def shorter(words: list[str]) -> list[str]:
    """The same command, made short by options at its end: the last one of a name counts. Nothing else is changed."""
    name = words[0]
    sets = extra_settings(words)
    return [*words, *extra_options(name, words), *(word for value in sets for word in ("--set", value))]


def extra_options(name: str, words: list[str]) -> Extra:
    text = " ".join(words)
    if name == "train":
        resumed = "--resume" in words
        metrics = () if resumed else ("--metrics", "none")
        return ("--kimg", "0.016" if resumed else "0.008", *metrics, *(("--gpus", "1") if "--gpus" in words else ()))
    if name == "generate" and "--batch" in words:
        return ("--seeds", "0-7")
    if name == "walk":
        return ("--frames", "2")
    if text.startswith("edit morph"):
        return ("--frames", "3")
    if name == "metrics" and words[1] not in ("show", "fetch"):
        return ("--num", "8")
    if name == "project":
        perceptual = () if "--perceptual" in words or "encoder" in words else ("--perceptual", "conv-random")
        return ("--steps", "2", *perceptual)
    if name == "stylize":
        features = () if "--features" in words or "adain" in words else ("--features", "conv-random")
        return ("--size", "32", *features, *(() if "adain" in words else ("--steps", "2")))
    return ()


def extra_settings(words: list[str]) -> list[str]:
    """Values of a recipe, or options of a method, that make it small."""
    name = words[0]
    if name == "train" and "--resume" not in words:
        if re.match("adain", words[1]):
            return [
                "features=conv-random",
                "image.size=16",
                "resize=null",
                "training.batch=4",
                "training.precision=fp32",
            ]
        if words[1] == "encoder.yaml":
            return ["width=4", "blocks=1", "training.batch=4"]
        return SETTINGS
    if name == "metrics" and "fid50k_full" in "".join(words):
        return ["extractor=conv-random"]
    return []
