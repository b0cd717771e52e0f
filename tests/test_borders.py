"""Which file may import which: no circles, imports that only go down, plugins that know core alone."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import grimp
import pytest

from ganzoo.registry import plugin as plugins

ROOT = Path(__file__).parents[1]
SHIPPED = [p for p in plugins.installed() if p.distribution == "ganzoo"]
COMMANDS = [c for c in plugins.commands() if c.distribution == "ganzoo"]
CORE, CLI, HOST = "ganzoo", "ganzoo_cli", "ganzoo_cli.host"
# The packages outside core and command line, from the entry points: of components, of commands, or of both.
MODULES_NAMED = {p.module for p in SHIPPED} | {c.target.partition(":")[0] for c in COMMANDS}
FAMILIES = sorted({module.partition(".")[0] for module in MODULES_NAMED} - {CORE, CLI})
FOLDERS = {CORE: ROOT / "core/ganzoo", CLI: ROOT / "cli/ganzoo_cli"} | {f: ROOT / "plugins" / f for f in FAMILIES}
MODULES = 12  # of one folder of core, `__init__` aside
# Packages that most commands never need; resource is in Python, but not on every system.
LAZY = {"av", "matplotlib", "onnxruntime", "onnxscript", "psutil", "tensorboard", "torch"}
LAZY |= {"fcntl", "msvcrt", "resource"}  # modules of some systems only
Graph = dict[str, set[str]]


def module_of(path: Path, package: str) -> str:
    parts = path.relative_to(FOLDERS[package].parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path, package): path for package, at in FOLDERS.items() for path in sorted(at.rglob("*.py"))}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in FILES.items()}


def imported(item: ast.AST) -> Iterator[str]:
    """Dotted names that an import statement names: `from a import b` is a.b where that is a module, else a."""
    if isinstance(item, ast.Import):
        yield from (alias.name for alias in item.names)
    if isinstance(item, ast.ImportFrom):
        assert item.level == 0, "imports are absolute"
        for alias in item.names:
            yield name if (name := f"{item.module}.{alias.name}") in FILES else item.module or ""


def within(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def file_graph() -> Graph:
    """{module: modules it imports}, of all of ours, imports inside functions and under TYPE_CHECKING included."""
    return {
        module: {name for item in ast.walk(tree) for name in imported(item) if name in FILES} - {module}
        for module, tree in TREES.items()
    }


def circles(graph: Graph) -> list[list[str]]:
    """Strongly connected components of more than one node: those that reach each other. For small graphs."""
    reach: Graph = {}
    for start in graph:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            following = graph.get(ahead.pop(), set()) - seen
            seen |= following
            ahead += following
        reach[start] = seen
    found = {tuple(sorted(b for b in reach[a] if a in reach.get(b, set()))) for a in graph if a in reach[a]}
    return sorted(list(each) for each in found)


def siblings(folder: str, graph: Graph) -> Graph:
    """The graph of a folder's own entries: its files, and each folder in it taken as one."""

    def entry(module: str) -> str:
        return ".".join(module.split(".")[: folder.count(".") + 2])

    inside = {module for module in graph if module.startswith(f"{folder}.")}
    entries: Graph = {entry(module): set() for module in inside}
    for module in inside:
        entries[entry(module)] |= {entry(name) for name in graph[module] & inside} - {entry(module)}
    return entries


PACKAGES = sorted(module for module, path in FILES.items() if path.name == "__init__.py")


def test_circles_are_found():
    """The search itself, on graphs whose circles are known."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"e"}, "e": {"c"}}) == [["a", "b"], ["c", "d", "e"]]
    graph: Graph = {"p.x.one": {"p.y.two"}, "p.y.two": set(), "p.y.three": {"p.x.four"}, "p.x.four": set()}
    assert circles(graph) == []
    assert circles(siblings("p", graph)) == [["p.x", "p.y"]]


def test_no_circle_of_files():
    assert len(FILES) > 150
    assert circles(file_graph()) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle_of_folders(package):
    """A folder's files and folders, each folder taken as one, have an order."""
    assert circles(siblings(package, file_graph())) == []


def test_no_folder_of_core_is_crowded():
    counts = {p: sum(m.rpartition(".")[0] == p and m not in PACKAGES for m in FILES) for p in PACKAGES}
    assert {p: n for p, n in counts.items() if within(p, [CORE]) and n > MODULES} == {}


def command_module(module: str) -> bool:
    """Whether a module belongs to the command line, or is a plugin's own command."""
    parts = module.split(".")
    return parts[0] == CLI or (parts[0] in FAMILIES and parts[1:2] in (["command"], ["commands"]))


def hooks(tree: ast.Module) -> Iterator[ast.AST]:
    """The functions of a plugin's entry module that pluggy calls."""
    for item in tree.body:
        if isinstance(item, ast.FunctionDef) and any("hookimpl" in ast.unparse(d) for d in item.decorator_list):
            yield item


def late_imports(module: str) -> Iterator[tuple[int, str]]:
    """(line, name) of imports inside functions; those of plugin hooks left out."""
    tree = TREES[module]
    excused = {item for hook in hooks(tree) for item in ast.walk(hook)}
    functions = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {item for function in functions for item in ast.walk(function)} - excused
    for item in inside:
        yield from ((item.lineno, name) for name in imported(item))  # type: ignore[attr-defined]


def test_nothing_of_ours_is_imported_inside_functions():
    """Such an import would hide a circle. Hooks and commands may: `gz --help` and an entry module need no torch."""
    found = [
        f"{FILES[module].relative_to(ROOT)}:{line}: {name}"
        for module in FILES
        if module != CORE and not command_module(module)
        for line, name in late_imports(module)
        if within(name, FOLDERS)
    ]
    assert found == []


def test_only_heavy_packages_are_imported_inside_functions():
    found = [
        f"{FILES[module].relative_to(ROOT)}:{line}: {name}"
        for module in FILES
        for line, name in late_imports(module)
        if not within(name, FOLDERS) and not command_module(module) and name.partition(".")[0] not in LAZY
    ]
    assert found == []


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports as grimp, the engine of import-linter, reads them."""
    return grimp.build_graph(*FOLDERS, cache_dir=None)


def test_both_readers_of_imports_agree(graph):
    """The circles above are of the same imports that import-linter sees."""
    assert graph.modules == set(FILES)
    for module, names in file_graph().items():
        assert graph.find_modules_directly_imported_by(module) == names, module


def test_every_plugin_has_an_entry_point():
    assert sorted(p.name for p in (ROOT / "plugins").iterdir() if (p / "__init__.py").is_file()) == FAMILIES


def test_layers_of_core_are_kept():
    """The `layers` contract of pyproject.toml."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout)


def test_every_folder_of_core_has_a_layer():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.findall(r"ganzoo\.\w+", text.partition("[tool.importlinter]")[2])
    entries = {m for m in FILES if m.count(".") == 1 and m.startswith(f"{CORE}.")} - {"ganzoo.__main__"}
    assert sorted(layers) == sorted(entries)


def test_no_module_of_core_imports_the_package_itself():
    """`ganzoo` shows what is below it, so nothing below may need it."""
    assert [m for m, names in file_graph().items() if CORE in names and within(m, [CORE])] == []


def test_core_imports_neither_plugins_nor_commands(graph):
    known = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules if within(m, [CORE])}
    assert {m: names for m, names in known.items() if any(within(n, [CLI, *FAMILIES]) for n in names)} == {}


def test_the_command_line_imports_no_plugin(graph):
    known = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules if within(m, [CLI])}
    assert {m: names for m, names in known.items() if any(within(n, FAMILIES) for n in names)} == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plugin_imports_core_alone(family, graph):
    """Never another plugin; and of the command line the host, in command modules only."""
    for module in (m for m in graph.modules if within(m, [family])):
        names = {n for n in graph.find_modules_directly_imported_by(module) if not within(n, [CORE, family])}
        assert {n for n in names if not (command_module(module) and within(n, [HOST]))} == set(), module


@pytest.mark.parametrize("family", FAMILIES)
def test_only_commands_import_commands(family, graph):
    """What a plugin computes does not depend on how it is called."""
    for module in (m for m in graph.modules if within(m, [family]) and not command_module(m)):
        assert [n for n in graph.find_modules_directly_imported_by(module) if command_module(n)] == [], module
