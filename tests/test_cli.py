"""The `gz` command where all is well: a tiny training, and every command on what it made."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ganzoo
from commands import TINY
from commands import good as good
from commands import gz as gz
from ganzoo import recipe
from ganzoo.recipe.source import parse_yaml
from ganzoo_cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(recipe file, run directory) of a training of four iterations."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(TINY)
    assert main(["train", str(folder / "tiny.yaml"), "--outdir", str(folder / "runs")]) == 0
    return folder / "tiny.yaml", folder / "runs" / "00000-tiny-shapes"


@pytest.fixture(scope="module")
def snapshot(trained):
    return next(trained[1].glob("snapshot-*.safetensors"))


# --- train -----------------------------------------------------------------------------------------------------------


def test_train_writes_a_run_directory(trained):
    file, folder = trained
    names = {p.name for p in folder.iterdir()}
    assert names >= {
        "recipe.yaml",
        "recipe.resolved.yaml",
        "environment.json",
        "log.txt",
        "stats.jsonl",
        "metric-swd.jsonl",
        "reals.png",
        "fakes_init.png",
        "snapshot-000000.safetensors",
        "state-000000.safetensors",
    }
    given = (folder / "recipe.yaml").read_text()
    assert given == "# as given; recipe.resolved.yaml is complete\n" + file.read_text()


def test_train_prints_the_run_and_what_comes_next(gz, trained, tmp_path):
    result = gz(
        "train",
        trained[0],
        "--outdir",
        tmp_path,
        "--metrics",
        "none",
        "--kimg",
        0.008,
        "--desc",
        "a b",
        "--snap",
        0,
        "--workers",
        0,
    )
    folder = tmp_path / "00000-tiny-shapes-a_b"
    assert result.code == 0
    assert result.out == f"{folder}\n"
    assert f"gz generate {folder}/snapshot-000000.safetensors" in result.err
    assert f"gz metrics swd {folder}/snapshot-000000.safetensors" in result.err
    assert not list(folder.glob("metric-*"))
    assert "# --set training.kimg=0.008" in (folder / "recipe.yaml").read_text()


def test_train_says_how_the_metrics_moved(gz, trained, tmp_path):
    text = trained[0].read_text().rstrip("\n")  # no newline at the end
    (tmp_path / "bare.yaml").write_text(text)
    result = gz("train", tmp_path / "bare.yaml", "--outdir", tmp_path, "--kimg", 0.008)
    folder = Path(result.out.strip())
    first, *_, last = (json.loads(row) for row in (folder / "metric-swd.jsonl").read_text().splitlines())
    before, after = first["results"]["swd"], last["results"]["swd"]
    assert f"\nswd {before:.2f} -> {after:.2f} (16 images; kimg 0 -> 0.008)\n" in result.err
    assert f"Look at {folder}/fakes000000.png" in result.err
    assert f"gz train {tmp_path}/bare.yaml --data PATH/TO/YOUR/IMAGES" in result.err
    assert recipe.load(folder / "recipe.yaml").dump() == recipe.load(trained[0]).dump()


def test_a_devices_name_is_one_of_ours(gz, trained):
    said = gz("train", trained[0], "--device", "foo").err
    assert said.startswith("error: --device foo: there is no such device: choose auto, cpu, cuda, cuda:1 or mps;")
    assert "xla" not in said


def test_help_of_a_metric_is_found(gz):
    assert gz("metrics", "swd").err == "error: missing argument 'CKPT'. See 'gz metrics NAME --help'.\n"
    assert gz("metrics", "NAME", "--help").code == 0


def interrupted(*args: object, when: str = "") -> tuple[int, str]:
    """(exit code, stderr) of a command that gets a SIGINT as soon as a module is in use."""
    code = f"""
import importlib.abc, os, signal, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == {when!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from ganzoo_cli import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("when", ["typer", "ganzoo.recipe", "torch", "numpy", "ganzoo.runs.run"])
def test_an_interrupt_in_the_first_seconds(trained, tmp_path, when):
    found = interrupted("train", trained[0], "--outdir", tmp_path, when=when)
    assert found == (130, "error: interrupted: nothing was written.\n")


def test_an_interrupt_while_measuring(snapshot):
    found = interrupted("metrics", "swd", snapshot, when="ganzoo.evaluation.score")
    assert found == (130, "error: interrupted: nothing was written.\n")


def test_a_second_interrupt_of_a_training(gz, trained, monkeypatch, tmp_path):
    from ganzoo.gan.trainer import Trainer

    def step(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "step", step)
    result = gz("train", trained[0], "--outdir", tmp_path, "--metrics", "none")
    assert result.code == 130
    assert result.err.splitlines()[-1].startswith("error: interrupted before the first state was written")


def test_train_resumes_without_a_recipe(gz, trained, tmp_path):
    result = gz("train", trained[0], "--outdir", tmp_path, "--metrics", "none", "--kimg", 0.008, "--batch", 4)
    folder = Path(result.out.strip())
    for kimg, resume in ((0.012, "latest"), (0.016, folder), (0.02, next(folder.glob("state-*")))):
        result = gz("train", "--resume", resume, "--outdir", tmp_path, "--kimg", kimg)
        assert (result.code, result.out) == (0, f"{folder}\n"), result.err
        assert "Continuing" in result.err
        assert json.loads((folder / "stats.jsonl").read_text().splitlines()[-1])["kimg"] == kimg


def test_a_recipe_without_images_goes_on_with_those_of_the_run(gz, tmp_path):
    small = ["image.size=16", "generator.channel_max=8", "discriminator.channel_max=8", "training.batch=4"]
    flags = ["stylegan2-tiny", "--outdir", tmp_path, "--metrics", "none", *(x for s in small for x in ("--set", s))]
    first = gz("train", *flags, "--data", "shapes", "--kimg", 0.008)
    again = gz("train", *flags, "--resume", "latest", "--kimg", 0.012)
    assert (again.code, again.out) == (0, first.out), again.err
    assert "Continuing" in again.err
    missing = gz("train", *flags, "--resume", tmp_path / "nowhere", "--kimg", 0.012)
    assert missing.code == 1 and "nowhere" in missing.err


def test_train_resumes(gz, trained):
    file, folder = trained
    result = gz("train", file, "--outdir", folder.parent, "--resume", "auto")
    assert result.code == 0
    assert result.out == f"{folder}\n"
    assert "Continuing" in result.err


def flagged(monkeypatch, *flags: str) -> tuple[recipe.Node, object]:
    """What run.train would be called with."""
    calls = []
    monkeypatch.setattr("ganzoo.runs.run.train", lambda node, options: calls.append((node, options)) or Path("nowhere"))
    assert main(["train", *flags]) == 0
    return calls[0]


def test_flags_become_values_of_the_recipe(monkeypatch, trained, tmp_path):
    (tmp_path / "my images").mkdir()
    node, options = flagged(
        monkeypatch,
        str(trained[0]),
        "--data",
        str(tmp_path / "my images"),
        "--kimg",
        "2",
        "--batch",
        "12",
        "--batch_gpu",
        "6",
        "--snap",
        "7",
        "--keep",
        "last=4,best=1",
        "--metrics",
        "swd",
        "--seed",
        "5",
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--workers",
        "1",
        "--resume",
        "latest",
        "--set",
        "training.lr=1e-3",
        "--set",
        "dataset.fit=fit",
    )
    t = node.value("training")
    assert (t.kimg, t.batch, t.batch_gpu, t.snapshot_ticks, t.keep_last, t.keep_best, t.seed, t.precision, t.lr) == (
        2,
        12,
        6,
        7,
        4,
        1,
        5,
        "fp32",
        0.001,
    )
    assert node["dataset"].dump() | {"filter": 0, "background": 0, "upscale": 0} == {
        "use": "folder",
        "path": str(tmp_path / "my images"),
        "labels": "file",
        "fit": "fit",
        "filter": 0,
        "background": 0,
        "upscale": 0,
    }
    assert node.dump()["metrics"][0]["num"] == 16  # the recipe's own options stay
    assert (options.device, options.workers, options.resume, options.name) == ("cpu", 1, "latest", "tiny")


def test_data_by_its_own_name_keeps_the_recipes_options(monkeypatch, trained):
    node, _ = flagged(monkeypatch, str(trained[0]), "--data", "shapes", "--metrics", "none")
    assert node["dataset"].value("count") == 64
    assert node.dump()["metrics"] == []


def test_a_dry_run_estimates_and_writes_nothing(good, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = good("train", trained[0], "-n")
    for word in ("G ", "D ", "peak memory", "seconds / kimg", "64 of shapes", "stylegan2-tiny.yaml"):
        assert word in out
    assert not list(tmp_path.iterdir())


# --- generate --------------------------------------------------------------------------------------------------------


def test_generate_one_picture_a_seed(good, snapshot, tmp_path):
    out = good("generate", snapshot, "--seeds", "0,3,10-12", "--trunc", 0.7, "--trunc-cutoff", 2, "--outdir", tmp_path)
    names = [f"seed{n:04d}.png" for n in (0, 3, 10, 11, 12)]
    assert out.split() == [str(tmp_path / n) for n in names]
    picture = Image.open(tmp_path / "seed0003.png")
    assert picture.size == (16, 16)
    assert picture.text["seed"] == "3"
    assert picture.text["psi"] == "0.7"
    assert picture.text["ganzoo"] == ganzoo.__version__
    assert len(picture.text["recipe"]) == 12
    assert float(picture.text["kimg"]) == 0.032


def test_generate_is_what_python_gives(good, snapshot, tmp_path):
    good("generate", snapshot, "--seeds", "4", "--psi", 0.5, "--noise_mode", "random", "--outdir", tmp_path)
    made = ganzoo.load(snapshot).sample(seeds=[4], psi=0.5, noise="random")[0]
    assert np.array_equal(np.asarray(made), np.asarray(Image.open(tmp_path / "seed0004.png")))


def test_generate_a_grid(good, snapshot, tmp_path):
    out = good("generate", snapshot, "--grid", "4x2", "--outdir", tmp_path / "new")
    picture = Image.open(out.strip())
    assert picture.size == (64, 32)
    assert json.loads(picture.text["seeds"]) == list(range(8))


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_needs_nothing_but_the_checkpoint(good, snapshot):
    lines = good("metrics", "swd", snapshot).splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["swd/16", "swd"]
    assert float(lines[-1].split()[1]) > 0


def test_metrics_as_json_says_what_was_measured(good, snapshot, tmp_path):
    record = json.loads(
        good("metrics", "swd", snapshot, "--json", "--num", 12, "--seed", 3, "--out", tmp_path / "swd.json")
    )
    assert record == json.loads((tmp_path / "swd.json").read_text())
    assert (record["num_real"], record["num_fake"], record["seed"]) == (12, 12, 3)
    assert record["snapshot"] == snapshot.name
    assert record["kimg"] == 0.032
    assert record["data"]["images"] == 64
    assert len(record["data"]["fingerprint"]) == 64
    assert record["options"]["patches_per_image"] == 8  # of the recipe


def test_metrics_repeated_and_the_floor(good, gz, snapshot):
    record = json.loads(good("metrics", "swd", snapshot, "--repeat", 2, "--json"))
    values = [run["results"]["swd"] for run in record["runs"]]
    assert record["results"]["swd"] == pytest.approx(np.mean(values))
    assert record["spread"]["swd"] == pytest.approx(np.std(values, ddof=1))
    floor = json.loads(good("metrics", "swd", snapshot, "--floor", "--json"))
    assert floor["compared"] == "real halves"
    assert floor["results"]["swd"] < record["results"]["swd"]
    assert "±" in good("metrics", "swd", snapshot, "--repeat", 2)


def test_metrics_warns_of_other_images(gz, snapshot, tmp_path):
    for i in range(4):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / f"{i}.png")
    result = gz("metrics", "swd", snapshot, "--data", tmp_path)
    assert result.code == 0
    assert "warning" in result.err
    assert "not those that" in result.err


# --- data, recipes, listings -----------------------------------------------------------------------------------------


def test_recipe_resolve(good, trained):
    out = good("recipe", "resolve", trained[0], "--set", "training.lr=1e-3")
    tree = parse_yaml(out, "out").tree
    assert tree["training"]["lr"] == 0.001
    assert tree == recipe.load(trained[0], ["training.lr=0.001"]).dump()


def test_plugins_env_and_checkpoints(good, snapshot):
    assert "stylegan2" in good("plugins", "list")
    assert "OK" in good("plugins", "doctor")
    assert json.loads(good("env", "--json"))["ganzoo"] == ganzoo.__version__
    facts = json.loads(good("ckpt", "info", snapshot, "--json"))
    assert (facts["kind"], facts["kimg"]) == ("snapshot", 0.032)
    assert facts["filled_recipe"]["title"] == "tiny"
    net = ganzoo.load(snapshot).G
    assert facts["parameters+buffers"]["G"] == sum(t.numel() for t in net.state_dict().values())
    assert good("ckpt", "verify", snapshot).startswith("OK")
    assert good("ckpt", "verify", next(snapshot.parent.glob("state-*"))).startswith("OK")
