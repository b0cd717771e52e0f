"""State files of jobs: continued by the same job only, whole or not there."""

import errno
import json
import signal

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ganzoo.errors import CheckpointError, UsageError, ZooError
from ganzoo.io import resumable
from ganzoo.io.resumable import KEY, StateFile, differences

PLAN = {"seed": 3, "pictures": ("a", "b"), "options": {"lr": 0.1}}
TENSORS = {"x": torch.randn(3, 2), "frames": torch.arange(12, dtype=torch.uint8).view(3, 4), "step": torch.tensor(7)}


@pytest.fixture
def state(tmp_path):
    """The file of a job with a plan."""

    def of(plan=PLAN) -> StateFile:
        def conflict(names: list[str]) -> UsageError:
            return UsageError(f"other {' and '.join(names)}")

        return StateFile(tmp_path / "a.state.safetensors", plan, "choose another --out", conflict)

    return of


def test_a_state_is_read_as_it_was_written(state):
    assert state().read() is None
    state().write({"step": 7, "done": ["a"]}, TENSORS)
    saved = state().read()
    assert saved.progress == {"step": 7, "done": ["a"]}
    assert saved.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(saved.tensors[name], tensor) and saved.tensors[name].dtype == tensor.dtype
        assert torch.equal(load_file(state().path)[name], tensor)
    state().write({"step": 8}, {})
    assert (state().read().progress, state().read().tensors) == ({"step": 8}, {})
    state().delete()
    state().delete()
    assert state().read() is None


def test_another_plan_is_refused_by_the_names_of_what_differs(state):
    state().write({"step": 7}, TENSORS)
    for change, names in (
        ({"seed": 4}, "seed"),
        ({"options": {"lr": 0.1, "steps": 3}, "seed": None}, "seed and options"),
        ({"pictures": ["a"]}, "pictures"),
        ({"size": 8}, "size"),
    ):
        with pytest.raises(UsageError, match=f"^other {names}$"):
            state(PLAN | change).read()
    assert state(PLAN | {"pictures": ["a", "b"]}).read() is not None  # as JSON knows no tuples
    assert differences({"seed": 3, "more": 1}, PLAN) == ["pictures", "options"]


def _edited(path, change) -> None:
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(metadata[KEY])
    change(header, tensors)
    save_file(tensors, path, metadata={KEY: json.dumps(header)})


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("state"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "tensor": lambda path: _edited(path, lambda header, tensors: tensors["x"].add_(1)),
    "lost tensor": lambda path: _edited(path, lambda header, tensors: tensors.pop("x")),
    "lost plan": lambda path: _edited(path, lambda header, tensors: header.pop("plan")),
    "odd plan": lambda path: _edited(path, lambda header, tensors: header.update(plan=3)),
    "odd progress": lambda path: _edited(path, lambda header, tensors: header.update(progress=3)),
    "no json": lambda path: save_file({}, path, metadata={KEY: "{"}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_state_is_refused(state, name):
    state().write({"step": 7}, TENSORS)
    DAMAGES[name](state().path)
    with pytest.raises(CheckpointError) as caught:
        state().read()
    assert str(caught.value).startswith(f"{state().path} is damaged (")
    assert str(caught.value).endswith("): choose another --out.")


@pytest.mark.parametrize("metadata", [None, {"ganzoo-projection": '{"plan": {}}'}, {"ganzoo": '{"kind": "state"}'}])
def test_a_state_of_another_version_is_refused(state, metadata):
    """Such as projections and style transfers left before they shared this file."""
    save_file(TENSORS, state().path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"is no state that this version .*: choose another --out\.$"):
        state().read()


def test_a_full_disk_keeps_the_earlier_state(state, monkeypatch):
    state().write({"step": 7}, TENSORS)

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(resumable, "save_file", full)
    with pytest.raises(CheckpointError, match=rf"^{state().path} cannot be written \(No space left on device\): free"):
        state().write({"step": 8}, TENSORS)
    assert state().read().progress == {"step": 7}
    assert [path.name for path in state().path.parent.iterdir()] == [state().path.name]


def test_an_interrupted_job_says_how_it_continues(state):
    err = state().interrupted(signal.SIGTERM, "at step 7 of 9")
    assert isinstance(err, ZooError) and err.exit_code == 130
    assert str(err) == f"stopped by SIGTERM at step 7 of 9; the same command continues from {state().path}."
