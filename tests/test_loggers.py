"""Loggers: TensorBoard's own reader sees what a run told; the table holds it; one that fails ends no training."""

import builtins
import csv
import math

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

from ganzoo.errors import PluginError
from ganzoo.interfaces import Logger
from ganzoo.interfaces.logger import numbers
from ganzoo.io.images import save
from ganzoo.registry.lookup import registry
from ganzoo.runs.loggers import Loggers

RECIPE = {"title": "a title", "training": {"kimg": 10.0}}
ROW = {"kimg": 1.5, "level": 2, "note": "text", "flag": True, "means": {"loss/g": 0.25}, "metric": {"swd": 7.0}}


def made(name, **options):
    return registry().get("logger", name)(**options)


def row(kimg, value):
    return {"kimg": kimg, "iteration": int(kimg * 10), "means": {"loss/g": value}}


def read(folder):
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def points(folder, tag):
    return [(e.step, e.value) for e in read(folder).Scalars(tag)]


def session(logger, folder, rows, resumed=None):
    logger.start(folder, RECIPE, resumed)
    for each in rows:
        logger.log(each)
    logger.close()


def test_numbers_of_a_row():
    assert numbers(ROW) == {"level": 2, "loss/g": 0.25, "metric/swd": 7.0}


def test_tensorboard_reads_scalars_back(tmp_path):
    session(made("tensorboard"), tmp_path, [row(k / 2, 1 / (k + 1)) for k in range(1, 6)])
    found = points(tmp_path, "loss/g")
    assert [step for step, _ in found] == [500, 1000, 1500, 2000, 2500]
    assert [value for _, value in found] == pytest.approx([1 / (k + 1) for k in range(1, 6)])
    assert set(read(tmp_path).Tags()["scalars"]) == {"iteration", "loss/g"}


def test_tensorboard_reads_pictures_and_the_recipe_back(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (3, 20, 30), np.uint8)
    save(picture, tmp_path / "fakes.png")
    logger = made("tensorboard")
    logger.start(tmp_path, RECIPE, None)
    logger.log(row(2, 1.0))
    logger.picture("fakes", tmp_path / "fakes.png")
    logger.close()
    (image,) = read(tmp_path).Images("fakes")
    assert (image.step, image.width, image.height) == (2000, 30, 20)
    assert image.encoded_image_string == (tmp_path / "fakes.png").read_bytes()
    (text,) = read(tmp_path).Tensors("recipe")
    assert "title: a title" in text.tensor_proto.string_val[0].decode()
    assert "recipe" in read(tmp_path).PluginTagToContent("text")


def test_tensorboard_shows_no_points_of_a_branch_that_was_left(tmp_path):
    session(made("tensorboard"), tmp_path, [row(k, 1.0) for k in range(1, 8)])
    session(made("tensorboard"), tmp_path, [row(k, 2.0) for k in range(5, 7)], resumed=4.0)
    assert points(tmp_path, "loss/g") == [(1000, 1), (2000, 1), (3000, 1), (4000, 1), (5000, 2), (6000, 2)]
    session(made("tensorboard"), tmp_path, [row(2, 3.0)], resumed=1.0)
    assert points(tmp_path, "loss/g") == [(1000, 1), (2000, 3)]


def test_the_reader_behind_tensorboards_pages_agrees(tmp_path):
    session(made("tensorboard"), tmp_path, [row(k, 1.0) for k in range(1, 4)])
    session(made("tensorboard"), tmp_path, [row(3, 2.0)], resumed=2.0)
    seen = EventMultiplexer({"run": str(tmp_path)}).Reload().Tensors("run", "loss/g")
    assert [e.step for e in seen] == [1000, 2000, 3000]


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("ganzoo_loggers.tensorboard.find_spec", lambda name: None)
    with pytest.raises(PluginError, match=r"pip install 'ganzoo\[tensorboard\]'"):
        made("tensorboard")


def test_building_the_plugin_does_not_import_tensorboard(monkeypatch):
    real = builtins.__import__

    def guarded(name, *args, **kwargs):
        assert not name.startswith("tensorboard"), name
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded)
    made("tensorboard")
    made("csv")


def table(folder):
    with (folder / "stats.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_every_number_under_its_name(tmp_path):
    session(made("csv"), tmp_path, [row(1, 0.1), {"kimg": 2, "means": {"loss/g": 0.3}}, ROW])
    session(made("csv"), tmp_path, [{"kimg": 1.5, "metric": {"fid": math.pi}}], resumed=1.5)
    found = table(tmp_path)
    assert [float(line["kimg"]) for line in found] == [1, 1.5]
    empty = {"level": "", "metric/fid": "", "metric/swd": ""}
    assert found[0] == {"kimg": "1.0", "iteration": "10", "loss/g": "0.1", **empty}
    assert float(found[1]["metric/fid"]) == math.pi
    assert found[1]["metric/swd"] == "7.0"


def test_the_table_drops_lines_of_a_branch_that_was_left(tmp_path):
    session(made("csv"), tmp_path, [row(k, 1.0) for k in range(1, 8)])
    session(made("csv"), tmp_path, [row(5, 2.0)], resumed=4.0)
    assert [(float(r["kimg"]), float(r["loss/g"])) for r in table(tmp_path)] == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2)]
    session(made("csv"), tmp_path, [row(1, 3.0)])  # a run that begins anew
    assert len(table(tmp_path)) == 1


class Breaking(Logger, name="breaking"):
    def __init__(self, at):
        self.at, self.calls = at, 0

    def start(self, folder, recipe, resumed_at_kimg):
        self._count()

    def log(self, row):
        self._count()

    def picture(self, name, path):
        self._count()

    def close(self):
        self._count()

    def _count(self):
        self.calls += 1
        if self.calls >= self.at:
            raise OSError("no space\nleft.")


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_logger_that_fails_is_said_once_and_the_others_go_on(tmp_path, at):
    said, breaking = [], Breaking(at)
    both = Loggers([breaking, made("csv")], said.append)
    session(both, tmp_path, [row(1, 1.0), row(2, 1.0)])
    assert breaking.calls == at
    assert said == ["The logger 'breaking' failed (OSError: no space left): training goes on without it."]
    assert len(table(tmp_path)) == 2
