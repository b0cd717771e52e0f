"""What users type: odd keys, published names, other programs' options, files that exist, swapped components."""

import re

import pytest
import torch

from ganzoo import recipe as recipes
from ganzoo.errors import UsageError
from ganzoo.recipe.node import component_from
from ganzoo.recipe.source import parse_key
from ganzoo.registry.lookup import registry
from ganzoo_cli import synonyms

pytest_plugins = ["commands"]


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("regularizers[0].gamma", ("regularizers", 0, "gamma")),
        ("regularizers.0.gamma", ("regularizers", "0", "gamma")),
        ("a[1][2].b", ("a", 1, 2, "b")),
        ("growth.batches.64", ("growth", "batches", "64")),
    ],
)
def test_keys_with_an_index(key, path):
    assert parse_key(key, "--set") == path


def test_an_index_in_brackets_sets_the_same_value():
    tree = recipes.load("stylegan2-tiny", ["regularizers[0].gamma=5", "regularizers[1].every=3"]).dump()
    assert tree == recipes.load("stylegan2-tiny", ["regularizers.0.gamma=5", "regularizers.1.every=3"]).dump()
    assert (tree["regularizers"][0]["gamma"], tree["regularizers"][1]["every"]) == (5, 3)


ODD_KEYS = ["a b", ".", "..", "training..lr", 'training."lr"', ".training.lr", "training.lr.", "[0]", "training. lr"]
ODD_KEYS += ["regularizers[-1].gamma", "regularizers[].gamma", "regularizers[0]gamma", "regularizers[0", "a,b"]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_answered_with_the_way_to_write_them(fails, key):
    words = [f"--set {key}=1:", "path.to.option=value", "regularizers.0.gamma=10"]
    fails(2, words, "recipe", "validate", "stylegan2-tiny", "--set", f"{key}=1")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("training.betas[0]=0.5", ["training.betas is no list that the recipe writes out"]),
        ("regularizers[9].gamma=1", ["has 2 entries, 0 to 1"]),
        (f"regularizers.{'9' * 5000}.gamma=1", ["has 2 entries, 0 to 1"]),
        ("title.x.y=1", ["title", "valid string"]),
        ("generator={[a, b]: 1}", ["a key is a list"]),
        ("title=[a", ["expected"]),
    ],
)
def test_keys_of_places_that_are_not_there(fails, item, words):
    fails(2, [f"--set {item[:40]}", *words], "recipe", "validate", "stylegan2-tiny", "--set", item)


def test_odd_keys_in_a_recipe_are_named(fails, recipe):
    path = recipe("extends: stylegan2-tiny\ntraining: {'a b': 1}\n", whole=True)
    fails(2, [f"{path}:2", "training has no option 'a b'"], "recipe", "validate", path)


YAML_FAULTS = {
    "list as key": ("? [a, b]\n: 1\n", ["r.yaml:2", "a key is a list", "one name before the colon"]),
    "mapping as key": ("generator: {? {a: 1} : 2}\n", ["r.yaml:2", "generator", "a key is a mapping"]),
    "nested merges": (
        "".join(f"a{i}: &a{i} {{<<: *a{i - 1}, x{i}: 1}}\n" if i else "a0: &a0 {x: 1}\n" for i in range(9)),
        ["r.yaml:4", "'<<' merges a mapping that has a '<<' of its own", "extends"],
    ),
    "a merge of itself": ("<<: &r {title: x, <<: *r}\n", ["r.yaml", "cannot be resolved", "write the values out"]),
}


@pytest.mark.parametrize("case", YAML_FAULTS)
def test_yaml_that_is_no_recipe(fails, recipe, case):
    text, words = YAML_FAULTS[case]
    fails(2, words, "recipe", "validate", recipe(f"extends: stylegan2-tiny\n{text}", whole=True))


def test_one_level_of_merges_still_works(recipe):
    path = recipe("extends: stylegan2-tiny\nimage: &i {size: 16}\nlabels: 0\n", whole=True)
    assert recipes.load(path).dump()["image"]["size"] == 16
    text = "extends: stylegan2-tiny\ngenerator: &g {z_dim: 8, w_dim: 8}\n"
    path = recipe(f"{text}discriminator: {{channel_max: 8}}\nimage: {{<<: &s {{size: 16}}, channels: 1}}\n", whole=True)
    assert recipes.load(path).dump()["image"] == {"size": 16, "channels": 1, "base": None}


# --- published names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fid50k_full", {"use": "fid", "num": 50_000, "num_real": None}),
        ("fid50k", {"use": "fid", "num": 50_000, "num_real": 50_000}),
        ("is50k", {"use": "is", "num": 50_000}),
        ("swd", {"use": "swd"}),
    ],
)
def test_published_names_of_metrics_in_a_recipe(recipe, name, options):
    """The numbers of images are those of NVIDIA's metric_main.py."""
    by_flag = recipes.load("stylegan2-tiny", [f"metrics=[{name}]"]).dump()["metrics"]
    path = recipe(f"extends: stylegan2-tiny\nmetrics: [{name}]\n", whole=True)
    assert recipes.load(path).dump()["metrics"] == by_flag
    assert {key: by_flag[0][key] for key in options} == options


def test_options_beside_a_published_name_win():
    (metric,) = recipes.load("stylegan2-tiny", ["metrics=[{use: fid50k_full, num: 100}]"]).dump()["metrics"]
    assert (metric["use"], metric["num"], metric["num_real"]) == ("fid", 100, None)
    assert recipes.load({"extends": "stylegan2-tiny", "metrics": [metric]}).dump()["metrics"] == [metric]


def test_a_published_name_that_is_misspelt(fails):
    fails(2, ["'fid50k_full'?", "fid50k,"], "recipe", "validate", "stylegan2-tiny", "--set", "metrics=[fid50k_ful]")


# --- options of other programs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(synonyms.TRAIN))
def test_each_line_of_the_table_can_be_typed(name):
    """Every `--set` of an answer changes a recipe that extends a shipped one, and each other flag exists."""
    cure = synonyms.cure("gz train", f"--{name}", "0.5", ["train", "stylegan2-tiny"])
    before: list[str] = []
    for item in re.findall(r"--set (\S+?)[;,]?(?= |$)", cure):
        key, value = item.split("=", 1)
        values = [value, "2", "64", "null", "bgc"] if value in ("0.5", "N", "LR") else [value]
        started = ["augment.p=0.3"] if key == "augment.target" else []
        taken = [f"{key}={each}" for each in values if _accepted([*before, *started, f"{key}={each}"])]
        assert taken, item
        before = [*before, *started, taken[0]] if key.startswith("augment") else before
    for flag in re.findall(r"(?<!gz )(--[a-z-]+)", cure):
        assert flag in HELP or not cure.startswith(f"write {flag}"), flag


def _accepted(overrides):
    try:
        return bool(recipes.load("stylegan2-tiny", overrides))
    except UsageError as err:
        return "labels" in str(err)  # which need a head too


HELP = "--outdir --set --kimg --batch --batch-gpu --snap --metrics --seed --resume --init-from --mirror --no-mirror "
HELP += "--precision --workers --desc --gpus --data --log"


def test_gamma_is_that_of_the_recipes_own_r1(fails, recipe):
    fails(2, ["--gamma", "--set regularizers.0.gamma=6.5"], "train", "stylegan2-tiny", "--gamma=6.5")
    path = recipe("extends: stylegan2-tiny\nregularizers: [path_length, r1]\n", whole=True)
    fails(2, ["--set regularizers.1.gamma=6.5"], "train", "--data", "shapes", path, "--gamma", "6.5")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--mirror=1"], ["write --mirror."]),
        (["--mirror=0"], ["write --no-mirror."]),
        (["--cbase=16384"], ["generator.channel_base=16384", "discriminator.channel_base=16384"]),
        (["--fp32", "--data", "shapes"], ["write --precision fp32."]),
        (["--batch_size", "8"], ["write --batch 8."]),
        (["--nobench=1"], ["leave it out."]),
        (["--resume=ffhq256"], ["--init-from"]),
        (["--resume", "https://example.org/net.pkl"], ["--init-from", "gz import"]),
        (["--resume", "net.pkl"], ["gz import net.pkl", "--init-from"]),
    ],
)
def test_options_of_other_programs(fails, args, words):
    fails(2, words, "train", "stylegan2-tiny", *args)


def test_the_name_of_a_family_suggests_its_recipes(fails):
    sentence = fails(2, ["gz recipe list stylegan2"], "train", "stylegan2", "-n")
    suggested = re.findall(r"[\w-]+-[\w-]+", sentence.partition("Did you mean")[2].partition("?")[0])
    assert len(suggested) > 3
    assert all(name.startswith("stylegan2-") for name in suggested)
    for name in suggested:
        recipes.read(name)


# --- swapped components -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["{use: progressive}", "progressive", "{use: progressive, to_rgb: conv}"])
def test_a_swapped_topology_keeps_what_its_slots_hold(recipe, given):
    before = recipes.load("stylegan2-tiny").dump()["generator"]["synthesis"]
    by_flag = recipes.load("stylegan2-tiny", [f"generator.synthesis={given}"]).dump()["generator"]["synthesis"]
    path = recipe(f"extends: stylegan2-tiny\ngenerator: {{synthesis: {given}}}\n", whole=True)
    assert recipes.load(path).dump()["generator"]["synthesis"] == by_flag
    assert by_flag["use"] == "progressive"
    assert (by_flag["stem"], by_flag["block"]) == (before["stem"], before["block"])
    assert by_flag["to_rgb"] == before["to_rgb"] or "conv" in given


def test_refusals_name_the_users_line(fails, recipe):
    path = recipe("extends: stylegan2-tiny\ntitle: x\ngenerator: {synthesis: pyramid}\n", whole=True)
    fails(2, [f"{path}:3", "generator.synthesis", "choose two that agree"], "recipe", "validate", path)
    item = "generator.synthesis.use=pyramid"
    fails(2, [f"--set {item}:", "choose two that agree"], "recipe", "validate", "stylegan2-tiny", "--set", item)


CAUTIONS = {
    "ada": (["loss=wasserstein", "augment=ada"], ["'ada'", "'wasserstein'"]),
    "batch norm": (
        ["loss=wasserstein", "regularizers=[wgan_gp]", "discriminator.head.norm=batch_norm"],
        ["'batch_norm' in D", "'wgan_gp'"],
    ),
    "r1 twice": (["regularizers=[r1, r1]"], ["'r1' is listed twice"]),
    "ada, relativistic": (["loss=relativistic_average", "augment=ada"], ["'ada'", "'relativistic_average'"]),
    "none": (["loss=hinge", "augment=ada", "regularizers=[r1]"], []),
}


@pytest.mark.parametrize("case", CAUTIONS)
def test_mixes_that_are_seldom_meant_get_a_word(gz, case):
    items, words = CAUTIONS[case]
    result = gz("recipe", "validate", "stylegan2-tiny", *(part for item in items for part in ("--set", item)))
    warnings = [line for line in result.err.splitlines() if line.startswith("warning: --set ")]
    assert result.code == 0
    assert len(warnings) == bool(words)
    assert all(word in warnings[0] for word in words)


def test_losses_without_a_sign_are_those_that_a_constant_does_not_change():
    """ADA's words (`Loss.signed`) agree with the losses' values."""
    real, fake = torch.randn(2, 64, 1, dtype=torch.float64)
    known = registry()
    for name in known.names("loss"):
        without_drift = {"drift": 0.0} if name == "wasserstein" else {}  # a small term of its own, not the loss
        loss = component_from("loss", {"use": name, **without_drift}, known).bind()()
        unchanged = torch.allclose(loss.d(real + 3, fake + 3).mean(), loss.d(real, fake).mean())
        assert unchanged is (not known.get("loss", name).signed), name
