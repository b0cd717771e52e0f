"""The source distribution holds what belongs to it and no more, and the wheel built from it is whole."""

import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from ganzoo.registry import plugin
from pages import ROOT

PACKAGES = sorted(folder for part in ("core", "plugins", "cli") for folder in (ROOT / part).glob("ganzoo*"))
BESIDE_CODE = {"LICENSE", "PKG-INFO", "README.md", ".gitignore", "constraints.txt", "pyproject.toml", "registry.yaml"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the source distribution, and a wheel from its files: (size in bytes, {sdist's files}, {wheel's files})."""
    folder = tmp_path_factory.mktemp("dist")
    source = Path(next(SdistBuilder(str(ROOT)).build(directory=str(folder))))
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (inside,) = (path for path in folder.iterdir() if path.is_dir())
    wheel = next(WheelBuilder(str(inside)).build(directory=str(folder), versions=["standard"]))
    files = {str(path.relative_to(inside)) for path in inside.rglob("*") if path.is_file()}
    return source.stat().st_size, files, set(zipfile.ZipFile(wheel).namelist())


def test_a_source_distribution_holds_what_belongs_to_it(built):
    size, files, _ = built
    assert {name for name in files if "/" not in name} == BESIDE_CODE
    assert {name.partition("/")[0] for name in files if "/" in name} == {"core", "plugins", "cli", "docs"}
    assert {Path(name).suffix for name in files if name.startswith("docs/")} == {".md"}
    assert not [name for name in files if "__pycache__" in name]
    assert size < 2_000_000


def test_a_wheel_holds_every_module_and_recipe(built):
    _, _, files = built
    modules = {str(path.relative_to(p.parent)) for p in PACKAGES for path in p.rglob("*.py")}
    recipes = {path.name for p in plugin.installed() if p.distribution == plugin.SHIPPED for path in p.recipes()}
    assert len(recipes) > 70
    assert modules <= files
    assert {Path(name).name for name in files if "/recipes/" in name} == recipes
    assert {"ganzoo/registry.yaml", *(f"{p.name}/py.typed" for p in PACKAGES)} <= files
    assert "ganzoo_projection/job/report.html.jinja" in files
