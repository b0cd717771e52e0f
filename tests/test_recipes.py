"""The shipped recipes say what their papers and released code say; what `gz recipe` tells of them."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from conftest import trainer
from ganzoo import recipe
from ganzoo.errors import RecipeError
from ganzoo.recipe import contents
from ganzoo.recipe.index import index
from ganzoo.recipe.node import Node
from ganzoo.registry import plugin
from ganzoo_cli.app import app

SHIPPED = [p for p in plugin.installed() if p.distribution == "ganzoo"]
PATHS = {path.stem: path for p in SHIPPED for path in p.recipes()}


def gz(*words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def regularizers(node: Node) -> dict[str, Node]:
    children = node.children["regularizers"]
    assert isinstance(children, list)
    return {child.cls.name: child for child in children}


def facts(name: str) -> dict[str, object]:
    """The numbers by which tables of papers tell their rows apart."""
    node = recipe.load(name)
    training, found = node.value("training"), regularizers(node)
    statistic = node["discriminator.head.statistic"]
    return {
        "kimg": training.kimg,
        "batch": training.batch,
        "mbstd": statistic.value("group"),
        "fmaps": node["generator"].value("channel_base") / 32768,
        "lr": training.lr,
        "gamma": found["r1"].value("gamma"),
        "ema": training.ema_kimg,
        "rampup": training.ema_rampup,
        "depth": node["generator.mapping"].value("depth"),
    }


# --- StyleGAN2-ADA (the table of its configurations, with one GPU's row of "auto") ------------------------------------

ADA = {  # kimg, batch, group of minibatch_std, fmaps, lr, gamma, ema_kimg, ema_rampup, layers of the mapping network
    "ada-stylegan2-1024": (25000, 32, 4, 1, 0.002, 10, 10, None, 8),
    "ada-paper256": (25000, 64, 8, 0.5, 0.0025, 1, 20, None, 8),
    "ada-paper512": (25000, 64, 8, 1, 0.0025, 0.5, 20, None, 8),
    "ada-paper1024": (25000, 32, 4, 1, 0.002, 2, 10, None, 8),
    "ada-cifar": (100000, 64, 32, 1, 0.0025, 0.01, 500, 0.05, 2),
    "ada-cifar-cond": (100000, 64, 32, 1, 0.0025, 0.01, 500, 0.05, 2),
}


@pytest.mark.parametrize("name", ADA)
def test_configurations_of_ada(name):
    assert tuple(facts(name).values()) == ADA[name]


@pytest.mark.parametrize("size", [64, 128, 256, 512, 1024])
def test_auto_configuration_of_ada(size):
    """Its rule, for one GPU."""
    batch = max(min(min(4096 // size, 32), 64), 1)
    assert facts(f"ada-auto-{size}") == {
        "kimg": 25000,
        "batch": batch,
        "mbstd": min(batch, 4),
        "fmaps": 1 if size >= 512 else 0.5,
        "lr": 0.002 if size >= 1024 else 0.0025,
        "gamma": pytest.approx(0.0002 * size**2 / batch),
        "ema": batch * 10 / 32,
        "rampup": 0.05,
        "depth": 2,
    }


@pytest.mark.parametrize("name", [name for name in PATHS if name.startswith("ada-")])
def test_every_activation_of_ada_is_clamped(name):
    node = recipe.load(name)
    slots = ["generator.synthesis.block.layer", "generator.synthesis.to_rgb"]
    slots += ["discriminator.trunk.down", "discriminator.trunk.from_rgb", "discriminator.head"]
    assert [node[slot].value("clamp") for slot in slots] == [256] * 5
    cifar = "cifar" in name
    assert node["discriminator.trunk.down"].cls.name == ("filtered" if cifar else "residual")
    assert node["generator"].value("mixing") == (0 if cifar else 0.9)
    assert ("path_length" in regularizers(node)) is not cifar


# --- ladders ---------------------------------------------------------------------------------------------------------


def test_the_ladder_of_stylegan():
    """Table 1 of arXiv:1812.04948: each row changes what its name says."""
    rows = [recipe.load(f"stylegan-{row}1024") for row in ("a-", "b-", "c-", "d-", "e-", "")]
    layers = [row["generator.synthesis.block.layer"] for row in rows]
    stems = [row["generator.synthesis.stem"] for row in rows]
    assert [layer.cls.name for layer in layers] == ["conv"] * 2 + ["adain"] * 4
    assert [layer.value("blur") for layer in layers] == [None] + [(1, 2, 1)] * 5
    assert [row["generator.mapping"].cls.name for row in rows] == ["normalize"] * 2 + ["mlp"] * 4
    assert [stem.cls.name for stem in stems] == ["dense"] * 2 + ["adain"] * 4
    assert [stem.value("input") for stem in stems[2:]] == ["dense", "constant", "constant", "constant"]
    assert [row.has("generator.synthesis.block.layer.noise") for row in rows] == [False] * 4 + [True] * 2
    assert [row.has("generator.synthesis.stem.noise") for row in rows] == [False] * 4 + [True] * 2
    assert [row["generator"].value("mixing") for row in rows] == [0] * 5 + [0.9]
    assert [row["loss"].cls.name for row in rows] == ["wasserstein"] + ["logistic"] * 5
    assert {row.value("paper") for row in rows} == {"arXiv:1812.04948"}


def test_the_ladder_of_stylegan2():
    """Table 1 of arXiv:1912.04958."""
    rows = [recipe.load(f"stylegan2-{row}-1024") for row in "abcdef"]
    assert [row["generator.synthesis.block.layer"].cls.name for row in rows] == ["adain"] + ["modconv"] * 5
    assert [row.has("growth") for row in rows] == [True] * 4 + [False] * 2
    assert [row["growth"].value("start") for row in rows[:4]] == [8] * 4
    assert [regularizers(row)["r1"].value("every") for row in rows] == [1, 1, 16, 16, 16, 16]
    assert [regularizers(row)["r1"].value("gamma") for row in rows] == [10, 10, 10, 10, 100, 10]
    assert ["path_length" in regularizers(row) for row in rows] == [False] * 3 + [True] * 3
    assert [row["generator"].value("channel_base") for row in rows] == [16384] * 5 + [32768]
    assert {row.value("paper") for row in rows} == {"arXiv:1912.04958"}


@dataclass
class Row:
    """What a row of ProGAN's table 1 is made of."""

    grows: bool
    batch: int
    g_every: int
    beta2: float
    lr: float
    z_dim: int
    norm: str | None
    drift: float
    equalized: bool
    statistic: str | None


TABLE_1 = {
    "a": Row(False, 64, 5, 0.9, 1e-4, 128, "batch_norm", 0, False, None),
    "b": Row(True, 64, 5, 0.9, 1e-4, 128, "batch_norm", 0, False, None),
    "c": Row(True, 16, 5, 0.9, 1e-4, 128, "batch_norm", 0, False, None),
    "d": Row(True, 16, 1, 0.99, 1e-4, 512, None, 0.001, False, None),
    "e-star": Row(True, 16, 1, 0.99, 1e-4, 512, None, 0.001, False, "minibatch_discrimination"),
    "e": Row(True, 16, 1, 0.99, 1e-4, 512, None, 0.001, False, "minibatch_std"),
    "f": Row(True, 16, 1, 0.99, 1e-3, 512, None, 0.001, True, "minibatch_std"),
    "g": Row(True, 16, 1, 0.99, 1e-3, 512, "pixel_norm", 0.001, True, "minibatch_std"),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_the_ablation_of_progan(name):
    node, row = recipe.load(f"progan-table1-{name}"), TABLE_1[name]
    training, G, D = node.value("training"), "generator.synthesis", "discriminator"
    layers = [node[f"{G}.stem"], node[f"{G}.block.layer"]]
    norms = [layer.children["norm"] for layer in layers]
    first = row.norm == "batch_norm"
    assert node.has("growth") == row.grows
    assert (training.batch, training.g_every, training.betas) == (row.batch, row.g_every, (0, row.beta2))
    assert (training.lr, training.kimg) == (row.lr, 10000)
    assert [norm.cls.name if isinstance(norm, Node) else None for norm in norms] == [row.norm] * 2
    assert [(layer.value("norm_first"), layer.value("slope")) for layer in layers] == [(first, 0 if first else 0.2)] * 2
    assert (node["generator"].value("output"), node["generator"].value("z_dim")) == (
        "tanh" if first else "linear",
        row.z_dim,
    )
    assert [node.has(f"{D}.{slot}.norm") for slot in ("trunk.down", "head")] == [first] * 2
    assert node["loss"].value("drift") == row.drift
    parts = [*layers, *(node[slot] for slot in (f"{G}.to_rgb", f"{D}.trunk.down", f"{D}.trunk.from_rgb", f"{D}.head"))]
    assert [part.value("equalized") for part in parts] == [row.equalized] * 6
    statistic = node[f"{D}.head"].children["statistic"]
    assert (statistic.cls.name if isinstance(statistic, Node) else None) == row.statistic
    if row.statistic == "minibatch_std":
        assert node[f"{D}.head.statistic"].value("group") is None
    if row.grows:
        growth = node["growth"]
        values = [growth.value(key) for key in ("train_kimg", "fade_kimg", "batches", "lrs")]
        assert values == [800, 800, None, None]


@pytest.mark.parametrize(("name", "steps"), [("a", 20), ("c", 5), ("g", 1)])
def test_the_averages_of_the_ablation(name, steps):
    """The paper's average moves by 0.999^20 at a step of G in (a) and (b), by 0.999^5 in (c), by 0.999 from (d) on."""
    training = recipe.load(f"progan-table1-{name}").value("training")
    assert training.ema_beta**training.g_every == pytest.approx(0.999**steps, rel=1e-5)


MIXES = """progan-table1-a progan-table1-e-star progan-cifar-cond progan-lsgan-1024 stylegan-b-1024 stylegan-c-1024
    stylegan2-d-1024 stylegan2-residual-skip-1024 ada-cifar-cond msggan-128"""


@pytest.mark.parametrize("name", MIXES.split())
def test_recipes_of_every_sort_train(name):
    """Shrunk, two iterations while it grows and two when it is grown."""
    sizes = ["generator.w_dim=18"] if name == "progan-cifar-cond" else []
    made = trainer(name, "training.batch_gpu=null", *sizes)
    labels = torch.eye(made.experiment.labels)[:4] if made.experiment.labels else torch.zeros(4, 0)
    real = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    for made.images in (0, 900_000, 10**9, 10**9 + 4):
        made.step(real, labels, labels)
    assert all(value - value == 0 for value in made.report().values())


# --- papers, titles, published figures -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATHS)
def test_titles_are_a_recipes_own(name):
    own = recipe.load_yaml(PATHS[name]).tree
    assert own.get("title")
    assert len(own["title"]) <= 80
    assert "paper" in own or "extends" in own


def test_titles_differ():
    titles = [row["title"] for row in index()["recipes"]]
    assert len(set(titles)) == len(titles)


def test_published_figures_are_of_recipes_and_say_who_measured():
    figures = {name: rows for p in SHIPPED for name, rows in contents.published(p).items()}
    assert figures["stylegan2-f-1024"][0] == {
        "data": "FFHQ 1024x1024",
        "metric": "fid50k",
        "value": 2.84,
        "spread": 0.03,
        "source": "released README",
    }
    assert figures.keys() <= PATHS.keys()
    assert all(rows and all(row["source"] and row["data"] for row in rows) for rows in figures.values())
    listed = {row["name"]: row["published"] for row in index()["recipes"] if row["plugin"] in {p.name for p in SHIPPED}}
    assert {name: rows for name, rows in listed.items() if rows} == figures


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("progan-1025: []", "published.yaml:1: progan-1025: plugin 'mine' has no recipe 'progan-1025'. Did you mean"),
        ("progan-1024: 3", "published.yaml:1: progan-1024: a list of published figures is expected, got 3."),
        ("progan-1024: [{metric: fid}]", "no published figure: data: Field required."),
        ("progan-1024: [{data: x, metric: fid, value: '3', source: y}]", "no published figure: value: Input should be"),
        ("progan-1024: [{data: x, metric: fid, value: 3, source: y, fid: 2}]", "fid: Extra inputs are not permitted."),
    ],
)
def test_wrong_figures_are_refused(text, sentence, tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    shutil.copy(PATHS["progan-1024"], tmp_path / "recipes")
    (tmp_path / "published.yaml").write_text(text)
    monkeypatch.setattr(plugin.Plugin, "folder", property(lambda _: tmp_path))
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        contents.published(plugin.Plugin("mine", "mine", "mine", "1"))


def test_no_figures_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(plugin.Plugin, "folder", property(lambda _: tmp_path))
    assert contents.published(plugin.Plugin("mine", "mine", "mine", "1")) == {}


# --- the commands ----------------------------------------------------------------------------------------------------


def test_list_fits_a_terminal_and_groups():
    lines = gz("recipe", "list").splitlines()
    assert max(map(len, lines)) <= 80
    assert lines.index("stylegan arXiv:1812.04948") < lines.index("stylegan2 arXiv:1912.04958")
    names = [line.split()[0] for line in lines if line]
    sizes = [f"progan-{size}" for size in (32, 64, 128, 256, 512, 1024)]
    assert [name for name in names if name in sizes] == sizes  # small to large
    (row,) = [line.split() for line in lines if line.startswith("stylegan2-f-1024")]
    assert row == ["stylegan2-f-1024", "1024", "30.4M", "29.0M", "FID", "2.84", "FFHQ"]


@pytest.mark.parametrize(
    ("word", "here", "elsewhere"),
    [
        ("stylegan", "stylegan-c-1024", "stylegan2-e-32"),  # a plugin's name is that plugin
        ("ada-", "ada-cifar", "stylegan2-e-32"),
        ("2006.06676", "ada-auto-64", "stylegan2-e-32"),
        ("ABLATION", "progan-table1-a", "progan-32"),
    ],
)
def test_list_takes_a_word(word, here, elsewhere):
    names = [row["name"] for row in json.loads(gz("recipe", "list", word, "--json"))]
    assert here in names
    assert elsewhere not in names
    assert here in gz("recipe", "list", word)


def test_list_says_what_it_did_not_find():
    done = CliRunner().invoke(app, ["recipe", "list", "stylegan9"])
    assert "no architecture has 'stylegan9' in its name, title or paper. Did you mean" in str(done.exception)


def test_show_counts_and_cites():
    shown = gz("recipe", "show", "stylegan2-f-1024")
    assert "generator: composed, 30,370,060 parameters" in shown
    assert "generator.mapping: mlp, arXiv:1812.04948, 2,101,248 parameters" in shown
    assert "2.84 ± 0.03" in shown
    data = json.loads(gz("recipe", "show", "stylegan2-f-1024", "--json"))
    assert data["parameters"]["discriminator"] == 29_012_513
    assert data["published"][0]["value"] == 2.84
    assert data["recipe"] == recipe.load("stylegan2-f-1024").dump()
    assert "published" not in gz("recipe", "show", "stylegan2-tiny")


def test_diff_says_what_differs_and_no_more():
    found = json.loads(gz("recipe", "diff", "stylegan2-e-1024", "stylegan2-f-1024", "--json"))
    assert [(row["where"], row["a"], row["b"]) for row in found[1:]] == [
        ("generator.channel_base", 16384, 32768),
        ("discriminator.channel_base", 16384, 32768),
        ("regularizers.0.gamma", 100, 10),
    ]
    rows = {row["where"]: row for row in json.loads(gz("recipe", "diff", "stylegan2-c-1024", "ada-cifar", "--json"))}
    assert rows["growth"]["b"] is None
    assert rows["growth"]["a"]["use"] == "progressive"
    assert rows["generator.synthesis.use"] == {"where": "generator.synthesis.use", "a": "progressive", "b": "skip"}
    assert "a" not in rows["generator.synthesis.resample_filter"]  # null would be a value
    shown = gz("recipe", "diff", "stylegan2-d-1024", "stylegan2-c-1024")
    assert "path_length(weight=2.0, decay=0.01, shrink=2, every=4)" in shown
    assert gz("recipe", "diff", "progan-tiny", "progan-tiny") == "no difference\n"


def test_a_diff_of_files(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: progan-tiny\nloss: hinge\n")
    shown = gz("recipe", "diff", "progan-tiny", str(file))
    assert re.search(r"loss\.use +wasserstein +hinge", shown)
