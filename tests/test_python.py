"""ganzoo from Python: the public names, training, measuring, one component alone, and the page that shows them."""

import inspect
import json
import pydoc
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import ganzoo
from commands import TINY
from commands import good as good
from commands import gz as gz
from ganzoo import recipe
from ganzoo.errors import CheckpointError, PluginError, RecipeError, UsageError
from ganzoo.io.log import read_json_lines
from ganzoo.model import checkpoint
from ganzoo.runs.api import TrainingRun
from ganzoo_cli import main

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
PUBLIC = {"load", "Model", "train", "measure", "recipe", "registry", "interfaces", "hookimpl", "Make", "__version__"}
CPU = {"device": "cpu", "workers": 0}


def tree() -> dict:
    """The tiny recipe as Python values."""
    return recipe.source.parse_yaml(TINY, "tiny").tree


def rows(record: dict) -> dict:
    """A record without what differs between two equal measurements."""
    return {key: value for key, value in record.items() if key not in ("time", "seconds")}


# --- the public names ------------------------------------------------------------------------------------------------


def test_the_public_names():
    assert set(ganzoo.__all__) == set(dir(ganzoo)) == PUBLIC
    assert all(getattr(ganzoo, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        ganzoo.lod  # noqa: B018


def test_help_lists_them_first():
    text = pydoc.plain(pydoc.render_doc(ganzoo)).partition("PACKAGE CONTENTS")[0]
    listed = re.findall(r"^ +(\w+)  +\w", text, flags=re.MULTILINE)
    assert set(listed) == PUBLIC - {"__version__"}
    assert len(text.splitlines()) < 40


def test_names_are_listed_and_completed_without_torch():
    code = (
        "import sys, ganzoo, rlcompleter; dir(ganzoo); ganzoo.recipe, ganzoo.registry; "
        "print(rlcompleter.Completer({'ganzoo': ganzoo}).complete('ganzoo.reci', 0)); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["ganzoo.recipe", "False"], done.stderr


def test_a_name_is_imported_once():
    assert ganzoo.load is ganzoo.load
    assert vars(ganzoo)["load"] is ganzoo.load


def test_python_m_ganzoo_is_gz():
    done = subprocess.run([sys.executable, "-m", "ganzoo", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"ganzoo {ganzoo.__version__}\n")
    refused = subprocess.run([sys.executable, "-m", "ganzoo", "nope"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: no such command 'nope'")


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_runs(tmp_path, monkeypatch, capfd):
    """Every block of docs/python.md, in order, as one program."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 8
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capfd.readouterr().out
    assert "runs/00000-stylegan2-tiny-shapes" in printed
    for comment in re.findall(r"^ *print\(err\)  # (.+)$", "".join(blocks), flags=re.MULTILINE):
        assert comment in printed
    assert Path("one.png").is_file()
    assert names["images"].shape == (8, 3, 16, 16)
    assert names["mixed"].shape == names["halfway"].shape == (1, 3, 16, 16)
    assert names["maps"].shape == (4, 32, 16, 16)
    assert names["record"]["num_fake"] == 64
    assert len(names["run"].snapshots) == 3


# --- train -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The tiny recipe trained by `gz train` and by `ganzoo.train`: (run directory, run)."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "tiny.yaml").write_text(TINY)
    assert main(["train", str(folder / "tiny.yaml"), "--outdir", str(folder / "gz"), "--device", "cpu"]) == 0
    run = ganzoo.train(tree(), outdir=folder / "python", **CPU)
    return folder / "gz" / "00000-tiny-shapes", run


def test_train_does_what_the_command_does(trained):
    """Of a file and of a dict: the same recipe, the same weights to the bit, the same measurements."""
    folder, run = trained
    assert run.folder.name == "00000-stylegan2-tiny-shapes"
    (snapshot,) = folder.glob("snapshot-*.safetensors")
    assert [path.name for path in run.snapshots] == [snapshot.name]
    (head, wanted), (own, found) = checkpoint.read(snapshot), checkpoint.read(run.snapshots[0])
    assert own.recipe == head.recipe
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    measured = read_json_lines(folder / "metric-swd.jsonl")
    assert [rows(record) for record in run.metrics] == [rows(record) for record in measured]
    assert [row["means"] for row in run.statistics] == [r["means"] for r in read_json_lines(folder / "stats.jsonl")]


def test_a_run_is_read_from_its_directory(trained):
    _, run = trained
    again = TrainingRun(run.folder, "cpu")
    assert again.recipe == run.recipe == run.model.header.recipe
    assert torch.equal(again.model.images([3]), run.model.images([3]))
    assert (run.folder / "recipe.yaml").read_text().startswith("# as given")


def test_a_run_goes_on(trained, tmp_path):
    """Stopped and continued, the weights are those of one training."""
    whole = ganzoo.train(tree(), kimg=0.032, outdir=tmp_path, **CPU)
    part = ganzoo.train(tree(), kimg=0.016, outdir=tmp_path, desc="part", **CPU)
    assert part.folder.name.endswith("-part")
    continued = ganzoo.train(part.recipe, kimg=0.032, resume=part.folder, outdir=tmp_path, **CPU)
    assert continued.folder == part.folder
    assert torch.equal(continued.model.images([1]), whole.model.images([1]))


def test_overrides_are_those_of_set(tmp_path):
    by_name = {"training.kimg": 0.008, "loss": "hinge", "regularizers": [], "metrics": []}
    as_text = [f"{name}={json.dumps(value)}" for name, value in by_name.items()]
    one = ganzoo.train(tree(), outdir=tmp_path, overrides=by_name, **CPU)
    other = ganzoo.train(tree(), outdir=tmp_path, overrides=as_text, **CPU)
    assert one.recipe == other.recipe
    assert one.recipe["loss"] == {"use": "hinge"}
    assert '# --set loss="hinge"' in (one.folder / "recipe.yaml").read_text()


def test_train_begins_with_other_weights(trained, tmp_path):
    """The moving average is not ramped up then, as with --init-from."""
    _, run = trained
    assert run.recipe["training"]["ema_rampup"] is not None
    begun = ganzoo.train(
        tree(), kimg=0.008, init_from=run.snapshots[0], outdir=tmp_path, overrides={"metrics": []}, **CPU
    )
    assert begun.recipe["training"]["ema_rampup"] is None
    assert json.loads((begun.folder / "inherited.json").read_text())["from"] == str(run.snapshots[0])


def test_data_is_what_the_flag_means(tmp_path):
    with pytest.raises(UsageError, match="'squares' is no folder that exists, and no dataset knows it"):
        ganzoo.train(tree(), "squares", outdir=tmp_path, **CPU)
    nothing = {key: value for key, value in tree().items() if key != "dataset"}
    with pytest.raises(UsageError, match="names no images"):
        ganzoo.train(nothing, outdir=tmp_path, **CPU)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extends": "stylegan2-tinny"}, "recipe: extends: no recipe file or architecture 'stylegan2-tinny'. Did you"),
        ({"los": "hinge"}, "recipe: los: the recipe has no option 'los'"),
        ({"image": {"size": "big"}}, "recipe: image.size: "),
        ({"image": {"size": object()}}, "recipe: image.size: "),
        ({"regularizers": [{"use": "r1", "gama": 1}]}, "recipe: regularizers.0.gama: r1 has no option 'gama'"),
    ],
)
def test_a_wrong_dict_is_refused_with_its_place(change, words, tmp_path):
    with pytest.raises(RecipeError) as err:
        ganzoo.train({**tree(), **change}, outdir=tmp_path, **CPU)
    assert str(err.value).startswith(words)
    assert list(tmp_path.iterdir()) == []


def test_a_dict_is_what_its_file_is(tmp_path):
    """Tuples and paths too; and it is left as it was."""
    (tmp_path / "parent.yaml").write_text(TINY)
    mine = {"extends": tmp_path / "parent.yaml", "image": {"size": (16, 24)}}
    (tmp_path / "mine.yaml").write_text("extends: parent.yaml\nimage: {size: [16, 24]}\n")
    assert (
        recipe.load(mine, ["training.batch=4"]).dump()
        == recipe.load(tmp_path / "mine.yaml", ["training.batch=4"]).dump()
    )
    assert mine == {"extends": tmp_path / "parent.yaml", "image": {"size": (16, 24)}}


def test_a_run_without_a_snapshot_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="holds no snapshot"):
        TrainingRun(tmp_path).model  # noqa: B018


def test_a_thread_of_its_own_trains(tmp_path):
    """Python gives signals to the main thread only: there is nothing to install in another."""
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(ganzoo.train, tree(), kimg=0.008, outdir=tmp_path, overrides={"metrics": []}, **CPU).result()
    assert len(run.snapshots) == 1


# --- measure ---------------------------------------------------------------------------------------------------------


def test_measure_is_the_command(trained, good):
    _, run = trained
    for given, flags in [
        ({}, []),
        ({"seed": 5, "num": 12}, ["--seed", "5", "--num", "12"]),
        ({"data": "shapes", "options": {"directions": 4}}, ["--data", "shapes", "--set", "directions=4"]),
    ]:
        (record,) = ganzoo.measure(run.model, "swd", **given)
        printed = json.loads(good("metrics", "swd", run.snapshots[0], "--device", "cpu", "--json", *flags))
        assert rows(record) == rows(printed)


def test_measure_takes_a_path_and_several_names(trained):
    _, run = trained
    records = ganzoo.measure(run.snapshots[0], ["swd", "msssim"], num=8, device="cpu")
    assert [record["metric"] for record in records] == ["swd", "msssim"]
    assert all(record["snapshot"] == run.snapshots[0].name for record in records)


def test_measure_tells_how_far_it_is(trained):
    calls: list = []
    ganzoo.measure(trained[1].model, num=8, progress=lambda *call: calls.append(call))
    assert {which for which, _, _ in calls} == {"real", "fake"}
    assert all(0 < done <= total == 8 for _, done, total in calls)


def test_measure_refuses_what_it_does_not_know(trained):
    with pytest.raises(UsageError, match=r"no metric 'swt'\. Did you mean 'swd'\?"):
        ganzoo.measure(trained[1].model, "swt")
    with pytest.raises(UsageError, match="has no such option"):
        ganzoo.measure(trained[1].model, "swd", options={"extractor": "conv-random"})


# --- one component alone ---------------------------------------------------------------------------------------------


def test_a_component_alone_is_a_module():
    layer = recipe.component("layer", "modconv", clamp=256.0)(8, 4, 6, (16, 16), True)
    assert layer(torch.randn(2, 8, 8, 8), torch.randn(2, 6)).shape == (2, 4, 16, 16)
    assert layer.clamp == 256.0
    assert recipe.component("regularizer", "r1", gamma=2)().gamma == 2


def test_a_component_takes_components_in_its_slots():
    block = recipe.component("layer", "modconv", noise={"use": "pixel_noise"})(8, 4, 6, (16, 16), True)
    assert type(block.noise).name == "pixel_noise"


@pytest.mark.parametrize(
    ("kind", "name", "options", "error", "words"),
    [
        ("regularizer", "r1", {"gama": 1.0}, RecipeError, "regularizer: gama: r1 has no option 'gama'. Did you mean"),
        (
            "regularizer",
            "r1",
            {"gamma": -1.0},
            RecipeError,
            "regularizer: gamma: input should be greater than",
        ),
        (
            "regularizer",
            "r1",
            {"gamma": torch.ones(2)},
            RecipeError,
            "regularizer: gamma: input should be a valid",
        ),
        ("regularizer", "r3", {}, RecipeError, "regularizer: no regularizer named 'r3'"),
        ("layer", "nobody:modconv", {}, PluginError, "layer: 'nobody:modconv' needs the plugin 'nobody'"),
    ],
)
def test_options_in_python_are_checked(kind, name, options, error, words):
    with pytest.raises(error) as err:
        recipe.component(kind, name, **options)
    assert str(err.value).startswith(words)


def test_signatures_are_described():
    """Every parameter of the functions for users, in the `Args:` of their docstrings."""
    for function in (ganzoo.train, ganzoo.measure, recipe.component):
        described = set(re.findall(r"^    (\w+): ", inspect.getdoc(function) or "", flags=re.MULTILINE))
        assert set(inspect.signature(function).parameters) <= described, function
