"""Sizes of files and functions, docstrings, and that everything registered is described. Imports: test_borders.py."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ganzoo import recipe
from ganzoo.interfaces import Layer, Norm
from ganzoo.model.restore import build_experiment
from ganzoo.recipe import contents
from ganzoo.recipe.index import index_path
from ganzoo.registry import plugin as plugins
from ganzoo.registry.component import described, options, summary
from ganzoo.registry.lookup import registry
from ganzoo.testing.conformance import conformance, faults_of
from ganzoo.types import Maps, Size, Style

ROOT = Path(__file__).parents[1]
SOURCES = sorted(f for part in ("core", "plugins", "cli") for f in (ROOT / part).rglob("*.py"))
FILE, FUNCTION = 350, 60  # lines
CORE_LINES = 16_800
SHIPPED = [p for p in plugins.installed() if p.distribution == "ganzoo"]
OUTSIDE = [p for p in SHIPPED if not p.module.startswith("ganzoo.")]  # core registers its own components alike
RECIPES = [path for p in SHIPPED for path in p.recipes()]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


TESTS = sorted((ROOT / "tests").glob("*.py"))
OURS = {"ganzoo", "ganzoo_cli", *(p.module for p in SHIPPED)}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Public classes and functions, and those of public classes; what is inside a function is its own business."""
    for item in body:
        if isinstance(item, Definition) and not item.name.startswith("_"):
            overload = any(isinstance(d, ast.Name) and d.id == "overload" for d in item.decorator_list)
            if not overload:
                yield prefix + item.name, item
            if isinstance(item, ast.ClassDef):
                yield from public(item.body, f"{prefix}{item.name}.")


def test_there_is_something_to_look_at():
    assert len(SOURCES) > 40
    assert len(SHIPPED) >= 6
    assert len(RECIPES) >= 20


def test_no_file_is_long():
    lengths = {relative(f): len(f.read_text(encoding="utf-8").splitlines()) for f in SOURCES}
    assert {f: n for f, n in lengths.items() if n > FILE} == {}


def test_no_test_file_is_long():
    lengths = {relative(f): len(f.read_text(encoding="utf-8").splitlines()) for f in TESTS}
    assert {f: n for f, n in lengths.items() if n > FILE} == {}


def private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def private_names(item: ast.AST) -> Iterator[str]:
    """Private names that a statement or an expression of a test imports, looks up, or replaces by name."""
    if isinstance(item, ast.ImportFrom) and (item.module or "").partition(".")[0] in OURS:
        yield from (f"{item.module}.{alias.name}" for alias in item.names if private(f"{item.module}.{alias.name}"))
    if isinstance(item, ast.Import):
        yield from (a.name for a in item.names if a.name.partition(".")[0] in OURS and private(a.name))
    if isinstance(item, ast.Attribute) and private(item.attr) and ast.unparse(item.value) not in ("self", "cls"):
        yield ast.unparse(item)
    called = item.func if isinstance(item, ast.Call) else None
    if (getattr(called, "attr", None) or getattr(called, "id", "")) in ("setattr", "getattr", "delattr", "hasattr"):
        names = [a.value for a in item.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        yield from (name for name in names if private(name))


def test_no_test_names_what_is_private():
    """What a test holds is what the product promises; what is private may change without one."""
    found = [
        f"{relative(f)}:{item.lineno}: {n}" for f in TESTS for item in ast.walk(tree(f)) for n in private_names(item)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "from ganzoo.run import _x",
        "from ganzoo._run import x",
        "import ganzoo._run",
        "made._x = 1",
        "monkeypatch.setattr(made, '_x', 1)",
        "monkeypatch.setattr('ganzoo.runs.run._x', 1)",
        "getattr(made, '_x')",
    ],
)
def test_what_is_private_is_seen(text):
    assert [name for item in ast.walk(ast.parse(text)) for name in private_names(item)]


def test_no_function_is_long():
    functions = [
        (f, item)
        for f in SOURCES
        for item in ast.walk(tree(f))
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {f"{relative(f)}:{item.name}": (item.end_lineno or 0) - item.lineno + 1 for f, item in functions}
    assert {name: n for name, n in lengths.items() if n > FUNCTION} == {}


def test_what_is_public_has_a_docstring():
    bare = [relative(f) for f in SOURCES if not ast.get_docstring(tree(f))]
    bare += [
        f"{relative(f)}:{name}" for f in SOURCES for name, item in public(tree(f).body) if not ast.get_docstring(item)
    ]
    assert bare == []


# Openings of a sentence without a subject or a verb, and what was meant to be written later.
OPENINGS = re.compile(r"(What|Of|One of them)\b")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    for item in ast.walk(tree(path)):
        if isinstance(item, ast.Module | Definition) and (text := ast.get_docstring(item)):
            yield getattr(item, "lineno", 1), text


def test_docstrings_stand_by_themselves():
    """A docstring is a sentence or a noun phrase that needs no other text to be understood."""
    found = [
        f"{relative(f)}:{line}: {text.splitlines()[0]}"
        for f in SOURCES
        for line, text in docstrings(f)
        if OPENINGS.match(text) or UNFINISHED.search(text)
    ]
    assert found == []


@pytest.mark.parametrize("package", sorted(f.parent for f in SOURCES if f.name == "__init__.py"), ids=relative)
def test_every_package_of_core_and_cli_says_where_to_begin(package):
    """What lives there, what it may import, and which file to read first, which exists."""
    text = ast.get_docstring(tree(package / "__init__.py")) or ""
    if package.is_relative_to(ROOT / "plugins") or package.name in ("ganzoo", "ganzoo_cli"):
        return
    assert re.search(r"\b[Ii]mports?\b", text), text
    (first,) = re.findall(r"Read `(\w+)`[^.]* first", text)
    assert (package / f"{first}.py").is_file()
    assert len(text.splitlines()) <= 12


def lines(part: str) -> int:
    return sum(len(f.read_text(encoding="utf-8").splitlines()) for f in SOURCES if f.is_relative_to(ROOT / part))


def test_core_stays_small():
    """Core is what two families need; what one needs stands in its plugin."""
    assert lines("core") <= CORE_LINES


def test_one_file_names_the_cache_directory():
    """Nothing else looks it up: neither the variables nor the library that say where it is."""
    known = {"GZ_CACHE", "XDG_CACHE_HOME", ".cache", "platformdirs"}
    found = {
        relative(f)
        for f in SOURCES
        for item in ast.walk(tree(f))
        if (isinstance(item, ast.Constant) and item.value in known)
        or (isinstance(item, ast.ImportFrom) and item.module in known)
        or (isinstance(item, ast.Import) and known & {alias.name for alias in item.names})
    }
    assert found == {"core/ganzoo/io/files.py"}


def test_no_asserts_on_what_users_give():
    """An assert is for what cannot be; where one carries a message, somebody was meant to read it."""
    spoken = [
        f"{relative(f)}:{item.lineno}"
        for f in SOURCES
        for item in ast.walk(tree(f))
        if isinstance(item, ast.Assert) and item.msg is not None
    ]
    assert spoken == []


@pytest.mark.parametrize(
    "module",
    ["ganzoo", "ganzoo_cli", "ganzoo_cli.app", "ganzoo.registry", "ganzoo.recipe", *(p.module for p in SHIPPED)],
)
def test_importing_needs_no_torch(module):
    code = f"import sys, {module}; print({{'torch', 'numpy', 'matplotlib', 'PIL'}} & set(sys.modules) or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "light", done.stderr


def test_core_names_no_plugin():
    """Neither a plugin nor its module occurs as a string in the core: what it knows, it learns from entry points."""
    names = {p.name for p in OUTSIDE} | {p.module for p in OUTSIDE}
    common = {"data", "metrics"}  # also words of every recipe
    found = [
        f"{relative(f)}:{item.lineno}: {item.value!r}"
        for f in SOURCES
        if f.is_relative_to(ROOT / "core")
        for item in ast.walk(tree(f))
        if isinstance(item, ast.Constant) and item.value in names - common
    ]
    assert found == []


def test_registry_yaml_is_up_to_date():
    assert index_path() == ROOT / "registry.yaml"
    assert index_path().read_text(encoding="utf-8") == contents.text(), "run `make registry`"


def test_nothing_is_wrong_with_any_shipped_plugin():
    names = {p.name for p in SHIPPED}
    assert names <= set(registry().versions)
    assert [str(e) for name, e in registry().problems.items() if name.partition(" (")[0] in names] == []


@pytest.mark.parametrize("path", RECIPES, ids=[p.stem for p in RECIPES])
def test_shipped_recipes_build(path):
    node = recipe.load(path)
    assert node.value("title")
    with torch.device("meta"):
        networks = build_experiment(node).networks()
    assert networks.keys() == ({"G", "D"} if node.cls.name == "gan" else {"decoder"})
    assert all(sum(p.numel() for p in net.parameters()) > 0 for net in networks.values())
    again = recipe.parse(recipe.Source(node.dump()), registry())  # the filled recipe means the same
    assert again.dump() == node.dump()


def test_architectures_have_names_of_their_own():
    names = [p.stem for p in RECIPES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [p.name for p in SHIPPED])
def test_every_plugin_conforms(name):
    conformance(name)


def test_conformance_says_what_is_wrong(tmp_path):
    class Mute(Layer, name="mute"):
        def __init__(
            self, in_channels: int, out_channels: int, w_dim: int, size: Size, up: bool, /, *, slope: float = 0.2
        ) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(in_channels, out_channels, 3)
            self.spare = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x: Maps, w: Style) -> Maps:
            return self.conv(x)

    class Untyped(Norm, name="untyped"):
        def __init__(self, channels: int, /, *, eps=1e-8) -> None:
            super().__init__()

    said = "\n".join(faults_of(Mute, registry(), tmp_path))
    for fault in (
        "has no docstring",
        "does not say what 'styled' is",
        "option 'slope' is not described",
        "gives (4, 8, 2, 2), not (4, 8, 8, 8) (size 8x8)",
        "no finite gradient reaches spare",
    ):
        assert fault in said
    assert "option 'eps' has no type" in list(faults_of(Untyped, registry(), tmp_path))


def test_every_option_is_described():
    missing = [
        f"{registry().owner(cls)}: {cls.kind} '{cls.name}': {name}"
        for cls in registry()
        for name in options(cls).model_fields
        if name not in described(cls)
    ]
    assert missing == []


def test_no_option_is_described_that_does_not_exist():
    extra = [
        f"{registry().owner(cls)}: {cls.kind} '{cls.name}': {name}"
        for cls in registry()
        for name in described(cls)
        if name not in options(cls).model_fields
    ]
    assert extra == []


def test_every_component_has_a_sentence():
    assert [cls for cls in registry() if not summary(cls).endswith((".", ")"))] == []
