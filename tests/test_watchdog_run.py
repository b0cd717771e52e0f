"""The watchdog and the loggers in a run: what is said, written and stopped."""

import csv
from contextlib import nullcontext

import pytest

from conftest import small
from ganzoo.errors import Diverged
from ganzoo.gan import watchdog
from ganzoo.gan.adversarial import AdversarialExperiment
from ganzoo.interfaces import Alarm, Monitor
from ganzoo.io.log import read_json_lines
from ganzoo.model import checkpoint
from ganzoo.runs import run
from ganzoo.runs.folder import RunOptions

FAILING = ["training.d_lr=1e-9", "training.kimg=0.2"]  # a discriminator that learns nothing


@pytest.fixture
def early(monkeypatch):
    monkeypatch.setattr(watchdog, "WARMUP", 0.0)


def train(tmp_path, *overrides, **options):
    return run.train(
        small("stylegan2-tiny", *overrides), RunOptions(outdir=tmp_path, device="cpu", workers=0, **options)
    )


def lines(folder):
    return [line for line in (folder / "log.txt").read_text().splitlines() if line.startswith("watchdog:")]


def test_a_failing_run_says_so_once(tmp_path, early):
    folder = train(tmp_path, *FAILING)
    said = lines(folder)
    assert sum("discriminator fails" in line for line in said) == 1
    assert all(row["diversity"] > 0 for row in read_json_lines(folder / "stats.jsonl"))


def test_stop_ends_it_with_a_state_to_go_on_from(tmp_path, early):
    with pytest.raises(Diverged, match=r"stopped at .* by --watchdog stop: discriminator fails") as err:
        train(tmp_path, *FAILING, watchdog="stop")
    assert err.value.exit_code == 4
    (folder,) = tmp_path.iterdir()
    reached = read_json_lines(folder / "stats.jsonl")[-1]["kimg"]
    assert reached < 0.2
    assert list(folder.glob("state-*.safetensors"))
    train(tmp_path, *FAILING, watchdog="stop", resume=str(folder))  # it was said: now it is wanted
    assert read_json_lines(folder / "stats.jsonl")[-1]["kimg"] == 0.2
    assert len(lines(folder)) == 1


def test_off_says_and_measures_nothing(tmp_path, early):
    folder = train(tmp_path, *FAILING, watchdog="off")
    assert lines(folder) == []
    assert "diversity" not in read_json_lines(folder / "stats.jsonl")[0]


def test_watching_changes_no_weights(tmp_path, early):
    digests = []
    for policy in ("warn", "off"):
        folder = train(tmp_path / policy, "training.kimg=0.06", watchdog=policy)
        snapshot = max(folder.glob("snapshot-*.safetensors"))
        digests.append(checkpoint.header(snapshot).digest)
    assert digests[0] == digests[1]


class Counting(Monitor):
    """Counts ticks, and raises an alarm at the second one."""

    def __init__(self):
        self.count = 0

    def values(self, learner, dataset):
        self.count += 1
        return {"count": self.count, "unknown": None}

    def alarms(self, folder):
        counts = [row["count"] for row in read_json_lines(folder / "stats.jsonl")]
        return [Alarm("too many ticks", "There are two.", "Train less.", 0.0)] if counts[-1] == 2 else []


@pytest.mark.parametrize(("policy", "ticks"), [("warn", 3), ("stop", 2)])
def test_an_experiment_brings_its_own_monitors(tmp_path, monkeypatch, policy, ticks):
    monkeypatch.setattr(AdversarialExperiment, "monitors", lambda self: [Counting()])
    with nullcontext() if policy == "warn" else pytest.raises(Diverged, match="too many ticks: There are two"):
        train(tmp_path, "training.kimg=0.06", watchdog=policy)
    (folder,) = tmp_path.iterdir()
    rows = read_json_lines(folder / "stats.jsonl")
    assert [(row["count"], row["unknown"]) for row in rows] == [(i + 1, None) for i in range(ticks)]
    assert lines(folder) == ["watchdog: too many ticks since 0.0 kimg: There are two. Train less."]


def test_loggers_are_told_of_ticks_and_metrics(tmp_path):
    metrics = 'metrics=[{"use": "swd", "num": 8}]'
    folder = train(tmp_path, "loggers=[csv, tensorboard]", "training.kimg=0.06", metrics)
    with (folder / "stats.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    ticks = read_json_lines(folder / "stats.jsonl")
    assert [row["loss/g"] for row in found if row["loss/g"]] == [str(row["means"]["loss/g"]) for row in ticks]
    assert found[0]["metric/swd"]
    assert list(folder.glob("events.out.tfevents.*"))


def test_a_logger_that_fails_ends_no_training(tmp_path, monkeypatch):
    def broken(self, row):
        raise OSError("gone")

    monkeypatch.setattr("ganzoo_loggers.table.Table.log", broken)
    folder = train(tmp_path, "loggers=[csv]", "training.kimg=0.06")
    assert (folder / "log.txt").read_text().count("The logger 'csv' failed (OSError: gone)") == 1
