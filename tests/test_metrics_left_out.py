"""`gz metrics`: what cannot be measured is left out by name, and what is compared only in part is said."""

import numpy as np
import pytest
from PIL import Image

from commands import fails as fails
from commands import gz as gz
from ganzoo.errors import UsageError
from ganzoo.registry.lookup import registry
from ganzoo_metrics import linsep
from snapshots import untrained

SWD = ["--set", "patches_per_image=4", "--set", "directions=4", "--num", "8", "--device", "cpu"]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("left_out"), "stylegan2-tiny")


def test_linsep_without_classifiers_leaves_the_others_to_be_measured(gz, fails, snapshot):
    result = gz("metrics", "all", snapshot, "--metrics", "linsep,swd", *SWD)
    assert result.code == 1
    assert [line.split()[0] for line in result.out.splitlines()[-2:]] == ["swd/16", "swd"]
    (line,) = [line for line in result.err.splitlines() if line.startswith("left out: ")]
    assert line.startswith("left out: linsep: linsep.classifiers: name a folder with a snapshot for each attribute")
    fails(2, ["linsep.classifiers"], "metrics", "linsep", snapshot, "--num", 8, "--device", "cpu")


def test_linsep_by_a_package_that_is_missing(monkeypatch, snapshot, gz):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(linsep.importlib, "import_module", missing)
    result = gz("metrics", "all", snapshot, "--metrics", "linsep,swd", *SWD, "--set", "svm=liblinear")
    assert (result.code, "left out: linsep: linsep.svm: liblinear needs scikit-learn" in result.err) == (1, True)


def test_a_metric_lacks_nothing_by_default():
    from ganzoo.interfaces import Shape

    shape = Shape(((8, 8), (16, 16)), 3)
    for name in registry().names("metric"):
        lacking = registry().get("metric", name)(shape, 0).missing()
        assert (type(lacking) is UsageError) == (name == "linsep"), name


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((64, 32), "warning: --data {}: not all images have the proportions of 16x16: of the others only the middle"),
        ((32, 32), ""),
    ],
)
def test_real_images_of_other_proportions_get_a_word(gz, snapshot, tmp_path, size, words):
    for seed in range(8):
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{seed}.png")
    result = gz("metrics", "swd", snapshot, "--data", tmp_path, *SWD)
    assert result.code == 0, result.err
    assert ("not all images have the proportions" in result.err) == bool(words)
    assert words.format(tmp_path) in result.err
