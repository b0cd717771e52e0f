"""The `gz` command where nothing was trained: data, recipes, the schema and listings."""

import json
import os
import subprocess
import sys
import time

import jsonschema
import numpy as np
import pytest
from PIL import Image

from commands import TINY
from commands import good as good
from commands import gz as gz
from ganzoo import recipe
from ganzoo.interfaces import Loss
from ganzoo.recipe import index as index_module
from ganzoo.recipe.draft import draft
from ganzoo.recipe.index import index, index_path
from ganzoo.recipe.schema import schema
from ganzoo.registry import lookup, plugin
from ganzoo.registry.lookup import registry
from snapshots import with_labels

SHIPPED = [path for p in plugin.installed() for path in p.recipes()]


# --- train -----------------------------------------------------------------------------------------------------------


def test_the_summary_names_an_architecture_for_own_images(tmp_path, capsys):
    from ganzoo_cli.commands.next_steps import summary

    (tmp_path / "snapshot-000000.safetensors").write_text("")

    def for_own_images(name: str, *overrides: str) -> str:
        source = recipe.read(name, overrides)
        summary(tmp_path, recipe.checked(source), source, name)
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("  gz train ")]
        return line.removeprefix("  gz train ").removesuffix(" --data PATH/TO/YOUR/IMAGES")

    demos = {p.stem: tree for p in SHIPPED if "dataset" in (tree := recipe.load_yaml(p).tree)}
    assert demos
    for name, tree in demos.items():
        assert for_own_images(name) == tree["extends"]
    assert for_own_images("stylegan2-tiny", "dataset=shapes") == "stylegan2-tiny"


@pytest.mark.parametrize(
    "labels, flags",
    [
        (0, "--seeds 0-31 --grid 8x4"),
        (1, "--class 0 --seeds 0-7 --grid 8x1"),
        (4, "--class 0-3 --seeds 0-7 --grid 8x4"),
        (10, "--class 0-7 --seeds 0-7 --grid 8x8"),
    ],
)
def test_the_summary_names_classes_where_there_are_some(tmp_path, capsys, labels, flags):
    from ganzoo_cli.commands.next_steps import summary

    (tmp_path / "snapshot-000000.safetensors").write_text("")
    (tmp_path / "r.yaml").write_text(TINY)
    given = with_labels(labels) if labels else []
    source = recipe.read(tmp_path / "r.yaml", given)
    summary(tmp_path, recipe.checked(source), source, str(tmp_path / "r.yaml"))
    assert f"gz generate {tmp_path}/snapshot-000000.safetensors {flags}\n" in capsys.readouterr().err


def test_a_dry_run_shows_how_a_gan_grows(good):
    out = good(
        "train",
        "progan-tiny",
        "-n",
        "--set",
        "image.size=8",
        "--set",
        "generator.channel_max=8",
        "--set",
        "discriminator.channel_max=8",
        "--set",
        "growth.train_kimg=1",
        "--set",
        "growth.fade_kimg=2",
        "--kimg",
        4,
        "--batch",
        4,
    )
    table = [line.split() for line in out.splitlines()[-3:]]
    assert [row[:2] for row in table] == [["0.0", "4x4"], ["1.0", "8x8"], ["3.0", "8x8"]]
    assert table[1][2:4] == ["fades", "in"]


# --- data, recipes, listings -----------------------------------------------------------------------------------------


def test_data_info_and_doctor(good):
    facts = json.loads(good("data", "info", "shapes", "--size", "24x16", "--channels", 1, "--json"))
    assert (facts["images"], facts["size"], facts["channels"]) == (10_000, [16, 24], 1)
    assert "24x16" in good("data", "info", "shapes", "--size", "24x16")
    assert "0 unusable, 0 odd" in good("data", "doctor", "shapes")


def test_data_is_seen_as_a_recipe_wants_it(gz, good, tmp_path):
    for name, size in {"a": (40, 24), "b": (24, 48), "c": (9, 2)}.items():
        pixels = np.random.default_rng(size).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    result = gz("data", "info", tmp_path)
    assert result.code == 0
    assert "Assuming 2x2, the smallest side" in result.err
    (tmp_path / "c.png").write_bytes(b"text")
    result = gz("data", "info", tmp_path)
    assert "Assuming 24x24, the smallest side" in result.err
    assert "1 (c.png)" in result.out
    (tmp_path / "r.yaml").write_text("extends: stylegan2-tiny\ndataset: {use: zip, path: none.zip, upscale: true}\n")
    facts = json.loads(good("data", "info", tmp_path, "--recipe", tmp_path / "r.yaml", "--json"))
    assert (facts["size"], facts["unusable"], facts["odd"]) == ([32, 32], 1, 2)
    facts = json.loads(good("data", "info", tmp_path, "--recipe", tmp_path / "r.yaml", "--size", "8x8", "--json"))
    assert (facts["size"], facts["unusable"], facts["odd"]) == ([8, 8], 1, 0)
    assert gz("data", "doctor", tmp_path, "--recipe", "stylegan2-tiny").out.count("unusable") == 4


def test_recipe_list_and_show(good):
    listed = good("recipe", "list")
    for row in index()["recipes"]:
        assert row["name"] in listed
    shown = good("recipe", "show", "stylegan2-tiny")
    assert "generator.synthesis.block.layer" in shown
    assert "arXiv:1912.04958" in shown
    assert "demodulate=true" in shown


def test_recipe_init_can_be_edited(good, tmp_path):
    file = tmp_path / "mine.yaml"
    good("recipe", "init", "stylegan2-tiny", file)
    assert good("recipe", "validate", file) == f"OK: {file}\n"
    filled = recipe.load("stylegan2-tiny").dump()
    assert recipe.load(file).dump() == filled
    sections = [
        line.removeprefix("# ") if line[:3] not in ("# C", "# t", "# S") else ""
        for line in file.read_text().splitlines()
    ]
    text = "\n".join(line.replace("  # ", "  ", 1) if line.startswith("  # ") else line for line in sections)
    file.write_text(text)
    assert recipe.load(file).dump() == filled | {"dataset": recipe.load(file).dump()["dataset"]}


@pytest.mark.parametrize("name", [p.stem for p in SHIPPED])
def test_every_draft_is_a_recipe(name, tmp_path):
    file = tmp_path / "draft.yaml"
    file.write_text(draft(name))
    assert recipe.load(file).dump() == recipe.load(name).dump()


@pytest.fixture(scope="module")
def validator():
    made = schema(registry())
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_the_schema_takes_every_shipped_recipe(validator, path):
    for tree in (recipe.load_yaml(path).tree, recipe.read(path).tree, recipe.load(path).dump()):
        validator.validate(tree)


@pytest.mark.parametrize(
    "wrong",
    [
        "generator.z_dimm=3",
        "generator.z_dim=many",
        "generator.mapping.use=mpl",
        "training.kimg=-1",
        "regularizers.0.gama=1",
        "loss=hinje",
        "metrics.0.num=0",
        "training.order=gg",
        "colour=blue",
        "generator.mapping.dept=2",
    ],
)
def test_the_schema_refuses_what_is_wrong(validator, wrong):
    assert not validator.is_valid(recipe.read("stylegan2-tiny", [wrong]).tree)


def test_recipe_schema_prints_it(good):
    printed = json.loads(good("recipe", "schema"))
    layer = printed["$defs"]["layer.modconv"]["properties"]
    assert layer["demodulate"]["description"]
    assert printed["$defs"]["Training"]["properties"]["kimg"]["exclusiveMinimum"] == 0


def test_components(good):
    assert "modconv" in good("components", "list", "layer")
    assert "gamma" in good("components", "show", "regularizer:r1")
    assert "from 1" in good("components", "show", "metric:metrics:swd")
    assert all(row["kind"] == "loss" for row in json.loads(good("components", "list", "loss", "--json")))


# --- speed -----------------------------------------------------------------------------------------------------------


LISTINGS = [
    ["--help"],
    ["train", "--help"],
    ["generate", "--help"],
    ["metrics", "--help"],
    ["recipe", "--help"],
    ["data", "--help"],
    ["ckpt", "--help"],
    ["recipe", "list"],
    ["components", "list"],
    ["plugins", "list"],
]


def test_listings_do_not_import_torch():
    assert recipe.load_yaml(index_path()).tree["components"]
    code = f"""
import sys
from ganzoo_cli import main
for args in {LISTINGS!r}:
    assert main(args) == 0, args
    assert "torch" not in sys.modules, args
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert index()["recipes"]


def test_a_strangers_rows_are_kept(monkeypatch, tmp_path):
    """A plugin that registry.yaml does not know is imported once, and again when its files change."""
    package = tmp_path / "gz_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    mine = plugin.Plugin("mine", "gz_mine", "gz-mine", "1.0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plugin, "installed", lambda: [mine])

    class Mine(Loss, name="mine"):
        """A stranger's loss."""

    imported = []

    def full() -> lookup.Registry:
        imported.append(1)
        made = lookup.Registry()
        made.add(Mine, "mine")
        return made

    monkeypatch.setattr(index_module, "registry", full)

    def rows() -> list[dict[str, str]]:
        return [row for row in index.__wrapped__()["components"] if row["plugin"] == "mine"]

    first = rows()
    assert [(row["kind"], row["name"], row["summary"]) for row in first] == [("loss", "mine", "A stranger's loss.")]
    assert rows() == first
    assert len(imported) == 1
    (kept,) = (tmp_path / "cache").rglob("index-*.json")
    assert kept.name.startswith("index-gz-mine-1.0-")
    for damaged in ("{", '["x"]', '[{"kind": 3}]', "[null]", "3"):
        kept.write_text(damaged)
        assert rows() == first
    assert len(imported) == 6
    (package / "more.py").write_text("")
    assert rows() == first
    assert len(imported) == 7
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # cannot be written
    assert rows() == first


@pytest.mark.slow
def test_listings_are_quick():
    took = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "ganzoo_cli", "recipe", "list"], capture_output=True, check=True, env={**os.environ}
        )
        took.append(time.perf_counter() - began)
    assert min(took) < 2  # 0.5 s on an idle machine
