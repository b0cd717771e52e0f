"""Packages of other people that do all that ganzoo's own do.

One brings a kind of component with its own check, a recipe and a command; one a whole generator and discriminator; one
a command alone.
"""

import json
import re
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from elsewhere import gz, run
from elsewhere import there as there

pytestmark = pytest.mark.slow


# --- a kind of a stranger's own --------------------------------------------------------------------------------------


def test_a_strangers_kind_is_listed_and_its_slots_are_described(there, tmp_path):
    rows = json.loads(gz(there, "components", "list", "palette", "--json", cwd=tmp_path).stdout)
    assert [(row["name"], row["plugin"]) for row in rows] == [("poster", "palette"), ("ramp", "palette")]
    shown = gz(there, "components", "show", "recolour", cwd=tmp_path).stdout
    assert re.search(r"palette +palette +poster +the colours", shown)
    schema = json.loads(gz(there, "recipe", "schema", cwd=tmp_path).stdout)
    validator = jsonschema.Draft202012Validator(schema)
    for palette, good in (
        ("ramp", True),
        ({"dark": -0.5}, True),
        ({"use": "ramp", "dark": -2}, False),
        ("none", False),
    ):
        augment = {"use": "recolour", "palette": palette}
        assert validator.is_valid({"extends": "stylegan2-tiny", "augment": augment}) == good, palette


def test_a_strangers_slot_is_filled_by_a_recipe(there, tmp_path):
    done = gz(there, "train", "palette-tiny", "--outdir", tmp_path, "--device", "cpu", cwd=tmp_path)
    (state,) = Path(done.stdout.strip()).glob("state-*.safetensors")
    code = f"""
import torch
from pathlib import Path
from ganzoo.model import checkpoint
head, tensors = checkpoint.read(Path({str(state)!r}))
assert head.versions['palette'] == 'gz-palette 0.2.0', head.versions
palette = head.recipe['augment']['palette']
assert palette == {{'use': 'palette:ramp', 'dark': -0.5, 'light': 1.0}}, palette
assert torch.equal(tensors['augment.palette.steps'], torch.linspace(-0.5, 1, 5))
"""
    done = run(there, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    wrong = gz(
        there, "recipe", "validate", "palette-tiny", "--set", "augment.palette.dark=3", cwd=tmp_path, code=2
    ).stderr
    assert "augment.palette.dark: input should be less than or equal to 1, got 3" in wrong


def test_a_strangers_kind_brings_its_own_check(there, tmp_path):
    code = """
from pathlib import Path
import torch
from ganzoo.registry import registry
from ganzoo.testing import conformance
from ganzoo.testing.conformance import faults_of
from gz_palette.palettes import Ramp

conformance('palette')

class Loud(Ramp, name='loud'):
    \"\"\"Too bright.\"\"\"

    def forward(self, channels):
        return 2 * super().forward(channels) + torch.rand(())

found = {fault.partition(' (size')[0] for fault in faults_of(Loud, registry(), Path('.'))}
assert found == {'gives colours outside of [-1, 1]', 'gives other colours every time'}, found
"""
    done = run(there, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


# --- commands --------------------------------------------------------------------------------------------------------


def test_a_strangers_commands_stand_beside_the_others(there, tmp_path):
    shown = gz(there, "--help", cwd=tmp_path).stdout
    assert re.search(r"swatch +Command of gz-palette 0\.2\.0\.", shown)
    assert re.search(r"tally +Command of gz-tally 0\.1\.", shown)
    assert gz(there, "swatch", "ramp", "--colours", 2, cwd=tmp_path).stdout == "-1.00 -1.00 -1.00\n+1.00 +1.00 +1.00\n"
    assert "no palette named 'rump'. Did you mean 'ramp'?" in gz(there, "swatch", "rump", cwd=tmp_path, code=2).stderr


def test_help_imports_no_stranger(there, tmp_path):
    code = """
import sys
from ganzoo_cli import main
main(['--help'])
assert not {'torch', 'gz_palette', 'gz_dcgan', 'gz_tally', 'gz_broken'} & set(sys.modules)
"""
    done = run(there, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_package_may_bring_a_command_alone(there, tmp_path):
    code = """
from ganzoo.registry import registry
from ganzoo.testing import Nonconforming, conformance
assert 'tally' not in registry().versions
conformance('gz_tally')
try:
    conformance('gz_nothing')
except Nonconforming as err:
    assert "no installed plugin 'gz_nothing' registers a component or a command" in str(err)
else:
    raise AssertionError
"""
    done = run(there, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


# --- a whole GAN -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", params=[0, 4], ids=["unconditional", "classes"])
def whole(request, there, tmp_path_factory) -> tuple[Path, int, list[str]]:
    """A snapshot of a generator and a discriminator that define `forward` alone; classes; settings."""
    folder, labels = tmp_path_factory.mktemp("whole"), request.param
    settings = ["--set", f"labels={labels}", "--device", "cpu"]
    done = gz(there, "train", "dcgan-tiny", *settings, "--outdir", folder, cwd=folder)
    (found,) = Path(done.stdout.strip()).glob("snapshot-*.safetensors")
    return found, labels, settings


def test_a_whole_gan_conforms(there, tmp_path):
    done = run(there, "-c", "from ganzoo.testing import conformance; conformance('dcgan')", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_whole_gan_resumes_exactly(there, whole, tmp_path):
    snapshot, _, settings = whole
    longer = ("train", "dcgan-tiny", "--kimg", "0.024", *settings)
    folder = tmp_path / "copy"
    shutil.copytree(snapshot.parent, folder)
    gz(there, *longer, "--resume", next(folder.glob("state-*.safetensors")), cwd=tmp_path)
    once = Path(gz(there, *longer, "--outdir", tmp_path / "once", cwd=tmp_path).stdout.strip())
    (a, b) = (load_file(sorted(f.glob("state-*"))[-1]) for f in (folder, once))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any("parametrizations" in name and name.endswith("_u") for name in a)  # spectral norm's vectors


def test_a_whole_gan_is_drawn_from_and_truncation_says_that_it_does_nothing(there, whole, tmp_path):
    snapshot, labels, _ = whole
    drawing = ("generate", snapshot, "--seeds", "0-2", *(("--class", 1) if labels else ()))
    gz(there, *drawing, "--outdir", tmp_path / "a", cwd=tmp_path)
    done = gz(there, *drawing, "--trunc", 0.5, "--outdir", tmp_path / "b", cwd=tmp_path)
    assert "--trunc 0.5: " in done.stderr
    assert "makes images from latents, without style codes: it has no effect." in done.stderr
    pictures = [[np.asarray(Image.open(f)) for f in sorted((tmp_path / x).glob("*.png"))] for x in "ab"]
    assert len(pictures[0]) == 3
    assert np.array_equal(*pictures)
    assert not np.array_equal(pictures[0][0], pictures[0][1])


def test_a_whole_gan_is_measured_walked_and_exported(there, whole, tmp_path):
    snapshot, labels, _ = whole
    small = ("--set", "extractor=conv-random", "--num", 8)
    swd = json.loads(gz(there, "metrics", "swd", snapshot, "--num", 16, "--json", cwd=tmp_path).stdout)
    ppl = json.loads(gz(there, "metrics", "ppl", snapshot, *small, "--json", cwd=tmp_path).stdout)
    assert all(0 < value < float("inf") for record in (swd, ppl) for value in record["results"].values())
    of_class = ("--class", 1) if labels else ()
    gz(there, "walk", snapshot, "--seeds", "0-1", "--frames", 2, "--out", "walk.webp", *of_class, cwd=tmp_path)
    assert Image.open(tmp_path / "walk.webp").n_frames == 4
    gz(there, "export", snapshot, "--format", "state-dict", "--out", "g.safetensors", cwd=tmp_path)
    weights = load_file(tmp_path / "g.safetensors")
    kept = {name.removeprefix("G_ema."): t for name, t in load_file(snapshot).items() if name.startswith("G_ema.")}
    assert weights.keys() == kept.keys()
    assert all(torch.equal(weights[name], kept[name]) for name in kept)
    assert int(gz(there, "tally", snapshot, cwd=tmp_path).stdout) == sum(
        t.numel() for t in load_file(snapshot).values()
    )


def test_a_whole_gan_cannot_grow(there, tmp_path):
    grown = ("recipe", "validate", "dcgan-tiny", "--set", "growth=progressive")
    said = gz(there, *grown, cwd=tmp_path, code=2).stderr
    assert "growth: growth is set, but 'dcgan' cannot grow: set growth: null." in said
