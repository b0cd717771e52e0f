"""What a run keeps, forgets and says: signals, older states, best snapshots, metrics of a growing generator."""

import json
import os
import signal

import pytest
import torch

from conftest import small, trainer
from ganzoo.errors import Diverged, Interrupted, RecipeError
from ganzoo.evaluation import evaluate
from ganzoo.evaluation import images as images_
from ganzoo.gan.trainer import Trainer
from ganzoo.interfaces import Stage
from ganzoo.io.log import read_json_lines
from ganzoo.model import checkpoint
from ganzoo.runs import folder as folder_
from ganzoo.runs import keeper, loop, run
from ganzoo.runs.folder import set_back

TICKS = ["training.tick_kimg=0.008", "training.kimg=0.08"]


def train(folder, *overrides, resume=None, name="stylegan2-tiny"):
    node = small(name, *TICKS, *overrides)
    return run.train(node, folder_.RunOptions(outdir=folder, resume=resume and str(resume), workers=1, device="cpu"))


def kimgs(folder, kind):
    return sorted(checkpoint.header(f).images for f in folder.glob(f"{kind}-*.safetensors"))


def test_a_signal_during_a_tick_still_writes_the_state(tmp_path, monkeypatch):
    tick, calls = loop.Run.tick, []

    def interrupted(self, waited):
        calls.append(waited)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        tick(self, waited)

    monkeypatch.setattr(loop.Run, "tick", interrupted)
    with pytest.raises(Interrupted, match="--resume"):
        train(tmp_path)
    (folder,) = tmp_path.iterdir()
    assert max(kimgs(folder, "state")) == 24 == max(kimgs(folder, "snapshot"))


@pytest.mark.parametrize("step", ["save_reals", "save_samples", "measure", "write"])
def test_a_second_signal_says_what_is_lost(tmp_path, monkeypatch, step):
    def interrupted(self, *args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(keeper.SnapshotWriter, step, interrupted)
    with pytest.raises(Interrupted, match="before the first state was written: nothing can be continued"):
        train(tmp_path)


def test_a_second_signal_after_a_state_names_it(tmp_path, monkeypatch):
    write, calls = keeper.SnapshotWriter.write, []

    def interrupted(self, *args, **options):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(self, *args, **options)

    monkeypatch.setattr(keeper.SnapshotWriter, "write", interrupted)
    with pytest.raises(Interrupted) as error:
        train(tmp_path, "training.kimg=0.016", "training.snapshot_ticks=1")
    ((folder,),) = [list(tmp_path.iterdir())]
    (state,) = folder.glob("state-*")
    sentence = f"what came after {state.name} is lost; 'gz train --resume {folder}' continues from there."
    assert sentence in str(error.value)


def test_a_run_says_whether_images_stay_in_memory(tmp_path):
    said = (train(tmp_path, "training.kimg=0.016") / "log.txt").read_text(encoding="utf-8")
    assert "Images stay in memory once they are decoded: 0.01 GiB, up to 2 GiB may." in " ".join(said.split())
    large = f"dataset.count={(3 << 30) // (3 * 16 * 16)}"
    said = (train(tmp_path, "training.kimg=0.016", large) / "log.txt").read_text(encoding="utf-8")
    sentence = "Images are decoded each time: 3.00 GiB are more than the 2 GiB that may stay in memory."
    assert sentence in " ".join(said.split())


def test_an_older_state_wins_over_newer_files(tmp_path):
    folder = train(tmp_path, "training.snapshot_ticks=5")
    older, newer = sorted(folder.glob("state-*"))
    train(tmp_path, "training.snapshot_ticks=5", "training.kimg=0.06", resume=older)
    assert max(kimgs(folder, "state")) == 60
    assert {f.name for f in (folder / "superseded").iterdir()} == {newer.name, newer.name.replace("state", "snapshot")}
    rows = [row["kimg"] for row in read_json_lines(folder / "stats.jsonl")]
    assert rows == sorted(set(rows)), "each tick has one line"


def test_every_tick_has_its_line_and_a_finished_run_is_left_alone(tmp_path):
    folder = train(tmp_path, "training.kimg=0.016")
    rows = read_json_lines(folder / "stats.jsonl")
    assert [row["kimg"] for row in rows] == [0.008, 0.016] and all(row["means"] for row in rows)
    before = {f.name: f.stat().st_mtime_ns for f in folder.glob("*.safetensors")}
    train(tmp_path, "training.kimg=0.016", resume=folder)
    assert {f.name: f.stat().st_mtime_ns for f in folder.glob("*.safetensors")} == before
    assert len(read_json_lines(folder / "stats.jsonl")) == 2


def test_the_best_and_the_newest_snapshots_are_kept(tmp_path, monkeypatch):
    values = iter([9.0, 5.0, 1.0, 4.0, 3.0, 2.5, 2.7])

    def generator(G, stage, metrics, dataset, seed, device, progress=None):
        return [{"metric": m.name, "results": {"swd": next(values)}, "primary": "swd", "num_fake": 1} for m in metrics]

    monkeypatch.setattr(evaluate, "measure_generator", generator)
    options = ["metrics=[swd]", "training.snapshot_ticks=2", "training.keep_last=1", "training.keep_best=1"]
    folder = train(tmp_path, *options)
    ranked = {r["snapshot"]: r["results"]["swd"] for r in read_json_lines(folder / "metric-swd.jsonl") if r["snapshot"]}
    best = min(ranked, key=ranked.__getitem__)
    assert {f.name for f in folder.glob("snapshot-*")} == {best, max(ranked)}


def test_a_generator_that_fades_in_is_measured_as_it_is(tmp_path):
    made = trainer("progan-tiny")
    stage = Stage(2, 0.25)
    dataset = made.experiment.dataset()
    seeds, labels = [3, 4], torch.zeros(2, 0)
    (faded,) = images_.generated_images(made.G_ema, stage, seeds, made.device, labels)
    (full,) = images_.generated_images(made.G_ema, Stage(2), seeds, made.device, labels)
    assert faded.shape == (2, 3, *made.experiment.shape.size) and not torch.equal(faded, full)
    assert dataset is not None


def test_a_record_says_what_was_measured(tmp_path):
    folder = train(tmp_path, "metrics=[{use: swd, num: 12}]", "training.snapshot_ticks=0")
    first, last = read_json_lines(folder / "metric-swd.jsonl")
    assert (first["kimg"], first["snapshot"], last["kimg"]) == (0.0, None, 0.08)
    assert last["num_real"] == last["num_fake"] == last["options"]["num"] == 12
    assert last["precision"] == "fp32" and last["data"]["images"] == 10_000 and last["options"]["repeats"] == 4


def test_weights_that_are_not_finite_are_not_written(tmp_path, monkeypatch):
    step = Trainer.step

    def spoiled(self, *batch):
        step(self, *batch)
        with torch.no_grad():
            next(self.G_ema.parameters()).fill_(float("nan"))

    monkeypatch.setattr(Trainer, "step", spoiled)
    with pytest.raises(Diverged, match="not finite"):
        train(tmp_path)
    assert not list(tmp_path.glob("*/*.safetensors"))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("labels=4", "labels: labels is 4, but the head 'dense' does not use them"),
        ("metrics=[swd, swd]", "'swd' is listed twice"),
        ("training.kimg=0.001", "less than one batch"),
        ("generator.synthesis.block.layer.resample_filter=[]", "at least one number"),
        ("discriminator.head.statistic.features=-1", "greater than or equal to 1"),
        ("regularizers.9.gamma=1", "has 2 entries"),
        ("regularizers.²=1", "has 2 entries"),
        ("image=16", "Write image: {size: 16}."),
        ("regularizers=r1", "write it as [r1]"),
    ],
)
def test_recipes_that_cannot_be_trained_say_why(override, sentence):
    with pytest.raises(RecipeError) as error:
        small("stylegan2-tiny", "training.kimg=1", override)
    assert sentence in str(error.value)


def test_naming_the_default_component_keeps_its_options(tmp_path):
    file = tmp_path / "child.yaml"
    file.write_text("extends: stylegan2-tiny\nuse: gan\ngenerator: {use: composed, z_dim: 32}\n")
    node = small(str(file), "generator.use=composed", "generator.w_dim=32")
    assert node["generator"].value("z_dim") == 8 and node["generator"].value("w_dim") == 32
    assert json.dumps(node.dump())


def test_setting_back_keeps_the_line_of_the_state_itself(tmp_path):
    images = next(i for i in range(1, 200_000) if i / 1000 * 1000 > i)  # a number that rounding would cut
    rows = [{"kimg": n / 1000} for n in (images - 1, images, images + 1)]
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    set_back(tmp_path, images)
    assert read_json_lines(tmp_path / "stats.jsonl") == rows[:2]
    assert [f.name for f in tmp_path.iterdir()] == ["stats.jsonl"]
