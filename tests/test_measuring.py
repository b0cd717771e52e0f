"""One pass for all metrics; statistics of real images that are kept; several processes; any two sets of images."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PIL

from conftest import small
from ganzoo.errors import DataError, UsageError
from ganzoo.evaluation import cache, choose, evaluate
from ganzoo.evaluation import compare as compare_
from ganzoo.evaluation.extractors import Extractors
from ganzoo.evaluation.shares import share
from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.interfaces import Metric, Stage
from ganzoo.model.restore import build_experiment
from ganzoo.recipe.node import Node
from ganzoo.registry.lookup import registry
from ganzoo_cli import main

NAMES = ("swd", "msssim", "fid", "kid", "pr")
METRICS = [
    "{use: swd, num: 24, patches_per_image: 16}",
    "{use: msssim, num: 22}",
    "{use: fid, num: 30, extractor: conv-random}",
    "{use: kid, num: 20, num_real: 26, extractor: conv-random}",
    "{use: pr, num: 24, num_real: 24, extractor: conv-random}",
]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def recipe(*overrides: str) -> Node:
    return small("stylegan2-tiny", "dataset={use: shapes, count: 40}", f"metrics=[{', '.join(METRICS)}]", *overrides)


def measured(node: Node) -> list[dict]:
    torch.manual_seed(0)
    made = build_experiment(node)
    return evaluate.measure_generator(made.G.eval(), Stage(2), made.metrics(7), made.dataset(), 7, CPU)


def values(records: list[dict]) -> dict[str, float]:
    return {name: value for record in records for name, value in record["results"].items()}


def test_one_pass_gives_what_each_metric_alone_gives():
    together = values(measured(recipe()))
    alone = {}
    for metric in METRICS:
        alone |= values(measured(recipe(f"metrics=[{metric}]")))
    assert together == alone


def test_an_extractor_runs_once_a_batch_for_all_metrics(monkeypatch):
    seen = []
    forward = ConvRandom.forward
    monkeypatch.setattr(
        ConvRandom, "forward", lambda self, x, outputs: seen.append(len(x)) or forward(self, x, outputs)
    )
    measured(recipe(f"metrics=[{METRICS[2]}, {{use: kid, num: 30, extractor: conv-random}}]"))
    assert sum(seen) == 40 + 30  # all the real ones, and the generated ones


def test_a_record_says_what_was_measured():
    for record in measured(recipe()):
        assert {"metric", "results", "num_real", "num_fake", "seed", "data", "ema", "psi", "precision", "ganzoo"} <= (
            record.keys()
        )
        assert record["data"].keys() == {"title", "images", "fingerprint", "fitted"}
        looked = record["extractor"]
        assert looked is None or (looked["name"] == "conv-random" and len(looked["sha256"]) == 64)
        assert (looked is None) == (record["metric"] in ("swd", "msssim"))


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_kept_statistics_change_no_value_and_save_the_real_images(own_cache, monkeypatch):
    first = measured(recipe("metrics=[{use: fid, num: 30, extractor: conv-random}]"))
    files = list(own_cache.rglob("*.safetensors"))
    assert len(files) == 1
    read = []
    monkeypatch.setattr(evaluate, "real_images", lambda *args: read.append(args) or iter(()))
    again = measured(recipe("metrics=[{use: fid, num: 30, extractor: conv-random}]"))
    assert values(again) == values(first)
    assert not read


def test_a_damaged_file_is_made_anew(own_cache):
    first = measured(recipe(f"metrics=[{METRICS[2]}]"))
    (file,) = own_cache.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    assert values(measured(recipe(f"metrics=[{METRICS[2]}]"))) == values(first)


def key_of(node: Node, seed: int = 7) -> str:
    made = build_experiment(node)
    (metric,), dataset = made.metrics(seed), made.dataset()
    evaluate.limit([metric], len(dataset))
    return cache.key(metric, dataset, seed, Extractors([metric], 3, CPU).record(metric))


def test_the_key_changes_with_everything_that_counts(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(6):
        PIL.fromarray(draw.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / f"{i}.png")

    def key(metric: str = "{use: kid, num: 4, extractor: conv-random}", **dataset: str) -> str:
        options = ", ".join(f"{k}: {v}" for k, v in {"use": "folder", "path": str(folder), **dataset}.items())
        return key_of(recipe(f"dataset={{{options}}}", f"metrics=[{metric}]"))

    before = key()
    assert key() == before
    others = {
        "filter": key(filter="box"),
        "subset": key("{use: kid, num: 4, num_real: 4, extractor: conv-random}"),
        "metric": key("{use: pr, num: 4, extractor: conv-random}"),
    }
    (folder / "3.png").rename(folder / "9.png")
    others["renamed"] = key()
    (folder / "9.png").rename(folder / "3.png")
    assert key() == before
    image = np.array(PIL.open(folder / "3.png"))
    image[0, 0, 0] ^= 1
    PIL.fromarray(image).save(folder / "3.png")
    others["one bit"] = key()
    assert len({before, *others.values()}) == 1 + len(others)


# --- several processes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "world"), [(40, 1), (40, 3), (7, 2), (2, 4), (0, 2)])
def test_shares_are_the_whole_in_order(total, world):
    shares = [share(total, (rank, world)) for rank in range(world)]
    assert [i for part in shares for i in part] == list(range(total))
    assert all(part.start % 2 == 0 for part in shares if len(part))  # neighbours stay together


RANK = """
import json, sys
import torch
import torch.distributed as dist
sys.path.insert(0, sys.argv[4])
from test_measuring import measured, recipe
rank, world = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
print(json.dumps([r["results"] for r in measured(recipe())]))
dist.destroy_process_group()
"""


def test_two_processes_give_what_one_gives(tmp_path):
    alone = values(measured(recipe()))
    cache_of_its_own = {"GZ_CACHE": str(tmp_path / "other")}
    command = [sys.executable, "-c", RANK]
    import os

    tasks = [
        subprocess.Popen(
            [*command, str(rank), "2", str(tmp_path / "meet"), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            env={**os.environ, **cache_of_its_own},
            text=True,
        )
        for rank in range(2)
    ]
    for task in tasks:
        out, _ = task.communicate(timeout=300)
        assert task.returncode == 0
        found = {name: value for results in json.loads(out.splitlines()[-1]) for name, value in results.items()}
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-9), name


# --- names, and any two sets -----------------------------------------------------------------------------------------


def test_published_names_mean_metric_and_numbers():
    known = registry()
    for alias, name, num, real in (
        ("fid50k_full", "fid", 50_000, None),
        ("fid50k", "fid", 50_000, 50_000),
        ("kid50k_full", "kid", 50_000, 1_000_000),  # as stylegan2-ada-pytorch limits it
        ("is50k", "is", 50_000, 0),
        ("pr50k3_full", "pr", 50_000, 200_000),
    ):
        cls, options = choose.resolve_metric(alias, known)
        assert cls.name == name
        assert options["num"] == num
        assert options.get("num_real", real) == real
    assert choose.resolve_metric("ppl2_wend", known)[0].name == "ppl"
    with pytest.raises(UsageError, match=r"no metric 'fid50k_ful'\. Did you mean 'fid50k_full'\?"):
        choose.resolve_metric("fid50k_ful", known)


def folder_of(path: Path, seed: int, number: int = 12, side: int = 32) -> Path:
    path.mkdir()
    draw = np.random.default_rng(seed)
    for i in range(number):
        PIL.fromarray(draw.integers(0, 256, (side, side, 3), np.uint8)).save(path / f"{i:02d}.png")
    return path


def compare(*args: str) -> list[dict]:
    a, b, shape = compare_.open_sources(args[0], args[1], registry_shape(), "cpu")
    return compare_.compare(a, b, ["swd", "msssim"], shape)


def registry_shape():
    from ganzoo.interfaces import Shape

    return Shape(((32, 32),), 3)


def test_two_folders(tmp_path):
    one, other = folder_of(tmp_path / "a", 1), folder_of(tmp_path / "b", 2)
    swd, msssim = compare(str(one), str(other))
    assert swd["num_real"] == swd["num_fake"] == 12
    assert swd["compared"] == f"{one} with {other}"
    assert msssim["num_real"] == 0
    same = folder_of(tmp_path / "c", 1)
    assert compare(str(same), str(other))[0]["results"] == swd["results"]


def test_comparing_from_the_command_line(tmp_path, capsys):
    one, other = folder_of(tmp_path / "a", 1), folder_of(tmp_path / "b", 2)
    assert main(["metrics", "compare", str(one), str(other), "--metrics", "swd,msssim", "--json"]) == 0
    out = capsys.readouterr().out
    assert [record["metric"] for record in json.loads(out)] == ["swd", "msssim"]
    for words, sentence in (
        (["compare", str(one), str(other), "--metrics", ","], "--metrics names none"),
        (["compare", str(one), str(other), "--size", "32"], "--size 32: write it as width x height"),
        (["compare", str(one), str(other), "--metrics", "ppl2_wend"], "'ppl' asks a generator"),
        (["compare", str(one), str(tmp_path / "none")], "none does not exist"),
        (["show", str(one)], "is no run directory"),
    ):
        assert main(["metrics", *words]) != 0
        err = capsys.readouterr().err
        assert sentence in err
        assert "Traceback" not in err


def test_options_of_metrics_from_the_command_line(tmp_path, capsys):
    one, other = folder_of(tmp_path / "a", 1), folder_of(tmp_path / "b", 2)
    words = ["metrics", "compare", str(one), str(other), "--json"]
    assert main([*words, "--metrics", "fid,msssim", "--set", "extractor=conv-random", "--set", "ddof=1"]) == 0
    fid, msssim = json.loads(capsys.readouterr().out)
    assert fid["extractor"]["name"] == "conv-random"
    assert fid["options"]["ddof"] == 1
    assert msssim["extractor"] is None
    assert main([*words, "--metrics", "msssim", "--set", "ddof=1"]) == 2
    assert "msssim has no such option" in capsys.readouterr().err
    assert main([*words, "--metrics", "fid", "--set", "ddof=3"]) == 2
    assert "ddof" in capsys.readouterr().err


def test_few_images_are_refused(tmp_path):
    one, other = folder_of(tmp_path / "a", 1, number=1), folder_of(tmp_path / "b", 2)
    with pytest.raises(DataError, match="too few"):
        compare(str(one), str(other))


def test_every_metric_says_what_it_ranks_by():
    for cls in registry():
        if issubclass(cls, Metric):
            assert isinstance(cls.lower_is_better, bool)
