"""Settings that no one would write on purpose: refused in one short sentence, before they cost anything."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ganzoo
from commands import fails as fails
from ganzoo import recipe
from ganzoo.errors import RecipeError, UsageError
from sampling import snapshots as snapshots

TINY = "stylegan2-tiny"
REFUSED = {
    "a key of 3,000 steps": (f"{'x.' * 3000}y=1", ["50 levels"]),
    "a key of 3,000 indices": (f"x{'[0]' * 3000}=1", ["50 levels"]),
    "a long value": (f"training.lr={'a' * 60_000}", ["training.lr: input should be a valid number"]),
    "null for a list": ("metrics=null", ["write it as []"]),
    "none for a list": ("metrics=none", ["write it as []"]),
    "a list that is too short": ("training.betas=[0.5]", ["training.betas.1", "entry 1 is missing"]),
    "a batch beyond the length": ("training.batch=999999999999", ["--set training.batch", "raise kimg or lower batch"]),
    "two lines": ("training.lr=1\ntraining.batch=2", ["--set training.lr=1 training.batch=2:"]),
    "many pixels": ("image.size=1048576", ["image.size", "268,435,456 values"]),
    "many channels": ("image.channels=1000000", ["image.channels", "268,435,456 values"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_are_refused_at_once(case: str, fails: Callable[..., str]) -> None:
    setting, words = REFUSED[case]
    start = time.monotonic()
    sentence = fails(2, words, "recipe", "validate", TINY, "--set", setting)
    assert time.monotonic() - start < 5 and len(sentence) < 1_000


def test_the_largest_images_of_a_recipe(tmp_path: Path) -> None:
    """8192x8192 with alpha are 2**28 values, which is the limit."""
    for size, channels in (("8192", 4), ("[16384, 4096]", 4)):
        recipe.load(TINY, [f"image.size={size}", f"image.channels={channels}"])
    with pytest.raises(RecipeError, match="268,435,456"):
        recipe.load(TINY, ["image.size=8192", "image.channels=5"])


def test_keys_that_are_bytes(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"extends: {TINY}\n? !!binary aGVsbG8=\n: 1\n")
    fails(2, [f"{tmp_path}/r.yaml:2", "byte string"], "recipe", "validate", tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text(f"extends: {TINY}\n", encoding="utf-16")
    fails(2, [f"{tmp_path}/r.yaml", "not UTF-8", "save it as UTF-8"], "recipe", "validate", tmp_path / "r.yaml")


def test_flags_are_checked_before_an_estimate(fails: Callable[..., str], tmp_path: Path) -> None:
    fails(2, ["--watchdog maybe", "warn, stop or off"], "train", TINY, "-n", "--watchdog", "maybe")
    fails(1, [f"--init-from {tmp_path}", "without snapshots"], "train", TINY, "-n", "--init-from", tmp_path)


# --- Python ----------------------------------------------------------------------------------------------------------


def test_values_of_numpy_are_numbers(tmp_path: Path) -> None:
    """Scalars and arrays are what their lists are; keys that are tuples, and loops, are refused in a sentence."""
    tree = {"extends": TINY, "training": {"lr": np.float32(0.5), "batch": np.int64(8), "betas": np.array([0.0, 0.5])}}
    training = recipe.checked(recipe.read(tree)).value("training")
    assert (training.lr, training.batch, training.betas) == (0.5, 8, (0.0, 0.5))
    loop: dict[str, object] = {"extends": TINY}
    loop["training"] = loop
    for odd in ({"extends": TINY, (1, 2): 3}, loop):
        with pytest.raises(RecipeError, match="cannot be written as YAML"):
            recipe.read(odd)
    for settings in ({"training": {(1, 2): 3}}, {"training": loop}):
        with pytest.raises(RecipeError, match="--set training"):
            ganzoo.train(TINY, "shapes", outdir=tmp_path, overrides=settings)


def test_workers_are_checked_before_a_run_is_made(tmp_path: Path) -> None:
    for workers in (-1, 65):
        with pytest.raises(UsageError, match="choose 0 to 64"):
            ganzoo.train(TINY, "shapes", outdir=tmp_path, workers=workers)
    assert not [*tmp_path.iterdir()]


def test_style_codes_of_other_types(snapshots: Callable[[str], Path]) -> None:
    model = ganzoo.load(snapshots("stylegan2"))
    ws = model.styles([1])
    assert (model.render(ws.double()) == model.render(ws)).all()
    assert (model.render(ws.round().int()) == model.render(ws.round())).all()
    assert math.isclose(float((model.render(ws.half()) - model.render(ws)).abs().max()), 0, abs_tol=0.1)
    with pytest.raises(UsageError, match=r"\[0, "):
        model.render(ws[:0])
