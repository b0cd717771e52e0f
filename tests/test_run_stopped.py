"""A run that was stopped and resumed has the lines of one that was left alone, in all that is no time and no memory."""

import json
import os
import signal

import pytest

from conftest import small
from ganzoo.errors import Interrupted
from ganzoo.gan.trainer import Trainer
from ganzoo.io.log import read_json_lines
from ganzoo.runs import folder as folder_
from ganzoo.runs import keeper, plot, run

MEASURES_OF_TIME = {"seconds", "sec_per_kimg", "waited", "memory_gib", "time"}
OVERRIDES = ["training.tick_kimg=0.016", "training.kimg=0.056", "training.snapshot_ticks=1"]  # ticks of four iterations
OVERRIDES += ["metrics=[{use: swd, num: 8, patches_per_image: 4, directions: 4}]"]


def train(folder, *overrides, resume=None):
    node = small("stylegan2-tiny", *OVERRIDES, *overrides)
    return run.train(node, folder_.RunOptions(outdir=folder, resume=resume, workers=0, device="cpu"))


def lines(folder, name):
    rows = read_json_lines(folder / name)
    return [json.dumps({key: value for key, value in row.items() if key not in MEASURES_OF_TIME}) for row in rows]


@pytest.fixture(autouse=True, scope="module")
def _no_curves():
    """Curves take most of the time of so short a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot, "draw", lambda folder: None)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def interrupted(monkeypatch):
    """Send this process a signal after so many further steps."""
    step, remaining = Trainer.step, []

    def counted(self, *batch):
        step(self, *batch)
        if remaining and remaining.append(remaining.pop() - 1) is None and remaining[0] == 0:
            remaining.clear()
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "step", counted)
    return remaining.append


def assert_equal_lines(folder, undisturbed):
    for name in ("stats.jsonl", "metric-swd.jsonl"):
        assert lines(folder, name) == lines(undisturbed, name), name


def test_the_end_of_a_training_within_a_tick_is_marked(undisturbed):
    rows = read_json_lines(undisturbed / "stats.jsonl")
    assert [row["kimg"] for row in rows] == [0.016, 0.032, 0.048, 0.056]
    assert [row.get("stopped", False) for row in rows] == [False, False, False, True]


def test_stops_leave_no_trace_in_the_statistics(tmp_path, undisturbed, interrupted):
    """Within a tick, twice within the same one, and at the end of one."""
    resume = None
    for steps, kimg in ((2, 0.008), (1, 0.012), (5, 0.032)):
        interrupted(steps)
        with pytest.raises(Interrupted, match="stopped by SIGINT"):
            train(tmp_path, resume=resume)
        (folder,), resume = tmp_path.iterdir(), "latest"
        last = read_json_lines(folder / "stats.jsonl")[-1]
        assert (last["kimg"], last.get("stopped", False)) == (kimg, kimg != 0.032)
    assert train(tmp_path, resume="latest") == folder
    assert_equal_lines(folder, undisturbed)


def test_a_longer_training_has_no_line_of_the_end_of_a_shorter_one(tmp_path, undisturbed):
    folder = train(tmp_path, "training.kimg=0.04")
    assert read_json_lines(folder / "stats.jsonl")[-1]["stopped"]
    train(tmp_path, resume="latest")
    assert lines(folder, "stats.jsonl") == lines(undisturbed, "stats.jsonl")
    assert train(tmp_path, resume="latest") == folder  # which has nothing to do, and changes nothing
    assert lines(folder, "stats.jsonl") == lines(undisturbed, "stats.jsonl")


def test_a_snapshot_is_measured_after_an_interrupt_of_its_measurement(tmp_path, undisturbed, monkeypatch):
    measure = keeper.SnapshotWriter.measure

    def broken_off(self, snapshot):
        if self.learner.images == 32:
            raise KeyboardInterrupt
        measure(self, snapshot)

    with monkeypatch.context() as patch:
        patch.setattr(keeper.SnapshotWriter, "measure", broken_off)
        with pytest.raises(Interrupted):
            train(tmp_path)
    train(tmp_path, resume="latest")
    (folder,) = tmp_path.iterdir()
    assert_equal_lines(folder, undisturbed)
    text = (folder / "log.txt").read_text(encoding="utf-8")
    assert text.count("swd/16") == 5  # at the beginning and at each of four snapshots, once


def test_each_status_line_says_how_far_of_how_much_and_what_is_left(undisturbed):
    """Logs and notebooks have no progress bar."""
    text = (undisturbed / "log.txt").read_text(encoding="utf-8")
    ticks = [line.split() for line in text.splitlines() if line.startswith("tick ")]
    assert [line[3:6] for line in ticks] == [[kimg, "of", "0.056"] for kimg in ("0.016", "0.032", "0.048", "0.056")]
    left = [line[line.index("left") + 1] for line in ticks]
    assert all(word[0].isdecimal() for word in left)
    assert left[-1] == "0s"
