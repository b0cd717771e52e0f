"""`gz train -n`: what it says before it measures, which may take long."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from commands import gz as gz
from ganzoo.errors import ZooError
from ganzoo.runs import estimate
from snapshots import with_labels


@pytest.fixture
def before_measuring(monkeypatch, gz):
    """Run `gz train stylegan2-tiny -n` up to the measurement."""

    def measure(*_: object) -> None:
        raise ZooError("measuring begins.")

    monkeypatch.setattr(estimate, "estimate", measure)

    def run(*args):
        result = gz("train", "stylegan2-tiny", "-n", "--device", "cpu", *args)
        assert result.err.endswith("error: measuring begins.\n")
        return result

    return run


@pytest.fixture
def labelled(tmp_path):
    """Six images of classes 0 and 3."""
    labels = []
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        labels.append([f"{number}.png", 3 * (number % 2)])
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    return tmp_path


def sets(count):
    return [part for item in with_labels(count) for part in ("--set", item)]


def test_recipe_and_images_come_before_the_measurement(before_measuring):
    result = before_measuring("--data", "shapes")
    assert [line.split()[0] for line in result.out.splitlines()] == ["recipe", "images"]
    assert result.err.splitlines()[0] == "Estimating what this training needs; nothing is written."


def test_classes_without_images_are_named_where_labels_are_used(before_measuring, labelled):
    result = before_measuring("--data", labelled, *sets(5))
    assert f"3 of the recipe's 5 classes have no image in {labelled.name} (1, 2, 4)" in result.err
    result = before_measuring("--data", labelled, *sets(4))
    assert f"2 of the recipe's 4 classes have no image in {labelled.name} (1, 2)" in result.err
    result = before_measuring("--data", labelled)
    assert "classes" not in result.err


def test_labels_that_the_recipe_has_no_room_for_are_refused(gz, labelled):
    result = gz("train", "stylegan2-tiny", "-n", "--data", labelled, *sets(2))
    assert result.code == 1
    assert "error: " in result.err


def test_the_first_words_come_before_torch_is_imported():
    code = "import sys; sys.modules['torch'] = None; from ganzoo_cli import main; main(['train', 'quickstart', '-n'])"
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "Estimating what this training needs; nothing is written.\n"
        assert time.monotonic() - began < 30  # of a machine that does other work; half a second by itself
        process.kill()
