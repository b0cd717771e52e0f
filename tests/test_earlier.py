"""Files of an earlier layout still load, sample and resume to the same bits.

`golden/earlier` was written by commit 0f019e8: a recipe, its run's snapshot and state at 0.064 kimg, what the snapshot
sampled, and the state that the run reached at 0.128 kimg. Bits hold on the processor that wrote them; elsewhere
floating-point sums may be taken in another order.
"""

import platform
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from commands import good as good
from commands import gz as gz
from conftest import GOLDEN
from ganzoo import recipe
from ganzoo.model import checkpoint
from ganzoo.model.model import load
from ganzoo.recipe.source import load_yaml
from ganzoo.training.seeds import iteration_seed, sample_seed

EARLIER = GOLDEN / "earlier"
SNAPSHOT = EARLIER / "snapshot-000000.064.safetensors"
RUN_FILES = ["recipe.yaml", "recipe.resolved.yaml", "stats.jsonl", SNAPSHOT.name, "state-000000.064.safetensors"]
TOLERANCE = 1e-5  # on another processor


def processor() -> str:
    """The processor's name, as the metadata of the recorded samples has it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@pytest.fixture(scope="module")
def recorded():
    """(images and styles that commit 0f019e8 sampled, whether this is the processor that computed them)."""
    with safe_open(EARLIER / "samples.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
        return tensors, file.metadata()["processor"] == processor()


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], *, bits: bool) -> None:
    assert found.keys() == wanted.keys()
    if bits:
        assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    else:
        torch.testing.assert_close(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def test_the_recipe_fills_in_as_it_did():
    """All values of then are those of today, which may have more options."""
    resolved = load_yaml(EARLIER / "recipe.resolved.yaml").tree
    assert _common(recipe.load(str(EARLIER / "recipe.yaml")).dump(), resolved) == resolved


def _common(value, like):
    """The part of nested dictionaries that has a place in `like`."""
    if isinstance(value, dict) and isinstance(like, dict):
        return {key: _common(value[key], like[key]) for key in like if key in value}
    if isinstance(value, list) and isinstance(like, list) and len(value) == len(like):
        return [_common(each, its_like) for each, its_like in zip(value, like)]
    return value


def test_the_snapshot_samples_the_same_images(recorded):
    wanted, same_processor = recorded
    model, seeds = load(SNAPSHOT, device="cpu"), range(3)
    found = {
        "images": model.images(seeds, psi=0.7, label=1, noise="random"),
        "styles": model.styles(seeds, label=1),
    }
    assert_same(found, wanted, bits=same_processor)


def test_the_run_resumes_to_the_same_state(recorded, tmp_path, good):
    folder = tmp_path / "00000-fixture-shapes"
    folder.mkdir()
    for name in RUN_FILES:
        shutil.copy(EARLIER / name, folder)
    good("train", "--resume", folder, "--kimg", 0.128, "--device", "cpu")
    header, found = checkpoint.read(folder / "state-000000.128.safetensors")
    earlier, wanted = checkpoint.read(EARLIER / "resumed-000000.128.safetensors")
    assert (header.images, header.iteration) == (earlier.images, earlier.iteration) == (128, 16)
    assert_same(found, wanted, bits=recorded[1])


def test_seeds_are_those_of_earlier_runs():
    """Of the first and second process; then after one and two reloads."""
    assert [iteration_seed(5, 64, rank=rank) for rank in (0, 1)] == [4554514700513964426, 17631929839925545]
    assert sample_seed(5, 66, phase=3) == 3467923065485235648
    assert iteration_seed(5, 64, reloads=1) == 4729630883736123293
    assert iteration_seed(5, 64, reloads=2, rank=1) == 7787221669320070766
    assert sample_seed(5, 66, phase=3, reloads=1) == 3880247469793148622
