"""Plugins of other people, installed as they install them: one works, one clashes, one is broken, one is too new."""

import json
import sys
from pathlib import Path

import pytest

from elsewhere import STRANGERS, gz, run
from elsewhere import there as there

BROKEN = "plugin 'broken' (gz-broken 0.1.2) is broken: RuntimeError: needs libfoo 2"
NEWER = "plugin 'newer' (gz-newer 7.0) asks for ganzoo's plugin API 3, this ganzoo has API 2: upgrade ganzoo."

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def snapshot(there, tmp_path_factory) -> Path:
    """A checkpoint of the stranger's own recipe, trained with all of them installed."""
    folder = tmp_path_factory.mktemp("trained")
    done = gz(there, "train", "fancy-tiny", "--outdir", folder, "--device", "cpu", cwd=folder)
    (found,) = Path(done.stdout.strip()).glob("snapshot-*.safetensors")
    return found


def test_four_packages_of_two_files_each():
    larger = ["gz-dcgan", "gz-palette", "gz-tally"]  # tests/test_strangers_whole.py
    small = [f for f in STRANGERS if f.name not in larger]
    assert [f.name for f in small] == ["gz-broken", "gz-clash", "gz-fancy", "gz-newer"]
    for folder in small:
        files = [f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts and f.suffix != ".yaml"]
        assert sorted(f.name for f in files) == ["__init__.py", "pyproject.toml"]


def test_components_are_listed(there, tmp_path):
    rows = json.loads(gz(there, "components", "list", "--json", cwd=tmp_path).stdout)
    found = {(row["kind"], row["name"]) for row in rows if row["plugin"] == "fancy"}
    assert found == {("norm", "rms_gate"), ("layer", "gated"), ("loss", "squared_hinge"), ("regularizer", "ema_logit")}
    assert {row["plugin"] for row in rows if row["name"] == "pixel_norm"} == {"progan", "clash"}
    assert len({row["plugin"] for row in rows}) > 6  # the zoo's own are there as well
    recipes = json.loads(gz(there, "recipe", "list", "--json", cwd=tmp_path).stdout)
    (own,) = (row for row in recipes if row["name"] == "fancy-tiny")
    assert (own["plugin"], own["title"]) == ("fancy", "A stranger's layer between the zoo's parts")


def test_conformance_is_one_line(there, tmp_path):
    done = run(there, "-c", "from ganzoo.testing import conformance; conformance('fancy')", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_doctor_says_what_does_not_work(there, tmp_path):
    done = gz(there, "plugins", "doctor", cwd=tmp_path, code=3)
    assert BROKEN in done.stderr
    assert NEWER in done.stderr
    assert "'pixel_norm' stays with 'progan'; write 'clash:pixel_norm' for the other." in done.stderr
    states = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines()}
    assert {name for name, state in states.items() if state != "OK"} == {"broken", "newer"}


def test_a_strangers_recipe_trains_and_loads(there, snapshot, tmp_path):
    gz(there, "generate", snapshot, "--seeds", "0-1", "--outdir", tmp_path, cwd=tmp_path)
    assert len([*tmp_path.glob("*.png")]) == 2
    code = f"""
import torch
from ganzoo.model import checkpoint
head, tensors = checkpoint.read(__import__('pathlib').Path({str(snapshot)!r}))
assert head.versions['fancy'] == 'gz-fancy 0.3.1', head.versions
assert head.recipe['loss'] == {{'use': 'fancy:squared_hinge'}}, head.recipe['loss']
gates = [t for name, t in tensors.items() if name.startswith('G.') and name.endswith('norm.gate')]
assert len(gates) == 5 and all(t.abs().max() > 0 for t in gates)  # all five layers have learned
"""
    done = run(there, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_strangers_state_resumes(there, snapshot, tmp_path):
    state = next(snapshot.parent.glob("state-*.safetensors"))
    longer = ("train", "fancy-tiny", "--kimg", "0.024", "--device", "cpu")
    gz(there, *longer, "--resume", state, cwd=tmp_path)
    whole = Path(gz(there, *longer, "--outdir", tmp_path, cwd=tmp_path).stdout.strip())
    code = f"""
import torch
from pathlib import Path
from ganzoo.model import checkpoint
a, b = (checkpoint.read(sorted(Path(f).glob('state-*'))[-1]) for f in ({str(whole)!r}, {str(snapshot.parent)!r}))
assert a[0].images == b[0].images == 24
assert a[1].keys() == b[1].keys() and all(torch.equal(a[1][k], b[1][k]) for k in a[1])
assert any('regularizers' in k and 'anchors' in k and v.abs().max() > 0 for k, v in a[1].items())
"""
    done = run(there, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_without_the_plugin_its_checkpoint_names_it(snapshot, tmp_path):
    done = gz(sys.executable, "generate", snapshot, "--outdir", tmp_path, cwd=tmp_path, code=3)
    assert f"{snapshot} needs the plugin 'fancy' (gz-fancy 0.3.1), which is not installed" in done.stderr
    assert "the file says it is in the package 'gz-fancy'" in done.stderr


def test_a_qualified_name_means_the_clashing_one_for_good(there, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "extends: fancy-tiny\ngenerator: {synthesis: {block: {layer: {norm: 'clash:pixel_norm'}}}}\n"
    )
    done = gz(there, "train", "mine.yaml", "--outdir", tmp_path, "--device", "cpu", cwd=tmp_path)
    (found,) = Path(done.stdout.strip()).glob("snapshot-*.safetensors")
    code = f"""
import ganzoo
G = ganzoo.load({str(found)!r}, 'cpu').G
norms = [m for m in G.modules() if type(m).__name__ == 'PixelNorm']
assert len(norms) == 5 and {{type(m).__module__ for m in norms}} == {{'gz_clash'}}, norms
"""
    done = run(there, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_bare_name_stays_with_the_first_and_the_rest_of_the_clashing_plugin_works(there, tmp_path):
    code = """
from ganzoo.recipe import load
def norm(name):
    return load('fancy-tiny', [f'generator.synthesis.block.layer.norm={name}'])['generator.synthesis.block.layer.norm']
assert norm('pixel_norm').cls.__module__ == 'ganzoo_progan.generator'
assert norm('progan:pixel_norm').cls is norm('pixel_norm').cls
assert norm('progan:pixel_norm').dump() == {'use': 'pixel_norm'}
assert norm('clash:pixel_norm').dump() == {'use': 'clash:pixel_norm'}
assert norm('halved').cls.__module__ == norm('clash:halved').cls.__module__ == 'gz_clash'
"""
    done = run(there, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("broken:something", BROKEN),
        ("newer:something", NEWER),
        ("nobody:something", "'nobody:something' needs the plugin 'nobody', which is not installed."),
    ],
)
def test_asking_for_what_a_plugin_cannot_give_is_exit_code_3(there, tmp_path, wanted, sentence):
    done = gz(there, "recipe", "validate", "fancy-tiny", "--set", f"loss={wanted}", cwd=tmp_path, code=3)
    assert sentence in done.stderr
    assert f"--set loss={wanted}: loss: " in done.stderr  # where the recipe asks for it


def test_a_name_that_a_working_plugin_lacks_is_the_recipes_fault(there, tmp_path):
    done = gz(there, "recipe", "validate", "fancy-tiny", "--set", "loss=fancy:hinge", cwd=tmp_path, code=2)
    assert "no loss named 'fancy:hinge'" in done.stderr
