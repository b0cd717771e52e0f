"""README and docs name what exists: modules, files, links, commands and their options."""

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from typer.main import get_command

from ganzoo.registry.plugin import COMMANDS, GROUP, installed
from ganzoo_cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [str(p.relative_to(ROOT)) for p in PAGES]
NAME = re.compile(r"(?<![\w/.-])ganzoo(?:_\w+)?(?:\.[A-Za-z_]\w*)+")
GROUPS = {GROUP, COMMANDS}  # names of entry points, which are no modules
FILE = re.compile(r"(?<![\w/.~$-])(?:benchmarks|tests|docs|core|plugins|cli)/[\w/.-]+\.\w+")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def resolve(name: str) -> Any:
    """What a dotted name means: a module, or an attribute of one. Raises ImportError, AttributeError."""
    parts = name.split(".")
    value, rest = import_module(parts[0]), parts[1:]
    while rest:
        try:
            value = getattr(value, rest[0])
        except AttributeError:
            value = import_module(".".join(parts[: len(parts) - len(rest) + 1]))
        rest = rest[1:]
    return value


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_dotted_name_exists(page):
    plugins = {p.module for p in installed()}
    for name in sorted(set(NAME.findall(text_of(page))) - GROUPS):
        package = name.partition(".")[0]
        if package in plugins or package in ("ganzoo", "ganzoo_cli"):  # else an example's own package
            resolve(name)


def test_names_that_do_not_exist_are_found():
    assert NAME.findall("see `ganzoo.recipe.load`, ganzoo_data.folder; not /x/ganzoo.y") == [
        "ganzoo.recipe.load",
        "ganzoo_data.folder",
    ]
    assert resolve("ganzoo.gan.trainer.Trainer.step").__name__ == "step"
    for name in ("ganzoo.trainer", "ganzoo.gan.trainer.Coach", "ganzoo_data.nowhere"):
        with pytest.raises((ImportError, AttributeError)):
            resolve(name)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_file_and_link_exists(page):
    text = text_of(page)
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    missing = [target for target in targets if not (page.parent / target).exists()]
    missing += [name for name in FILE.findall(text) if not (ROOT / name).exists()]
    assert missing == []


def section(heading: str) -> str:
    """A section of docs/architecture.md."""
    return text_of(ROOT / "docs/architecture.md").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_layout_is_that_of_core():
    """Each folder with all of its modules, and no other."""
    rows = re.findall(r"^      (\w+)/ +(.+)$", section("Layout").partition("    plugins/")[0], flags=re.MULTILINE)
    listed = {folder: sorted(re.findall(r"\w+", names)) for folder, names in rows}
    folders = [p for p in sorted((ROOT / "core/ganzoo").iterdir()) if (p / "__init__.py").is_file()]
    assert listed == {p.name: sorted(f.stem for f in p.glob("*.py") if f.stem != "__init__") for p in folders}


def test_the_picture_shows_the_layers_in_order():
    drawn = [name for row in re.findall(r"│  ([\w ]+?)  +", section("Layers")) for name in row.split()]
    contract = text_of(ROOT / "pyproject.toml").partition("layers = [")[2].partition("]")[0]
    layers = re.findall(r"ganzoo\.(\w+)", contract)
    assert [name for name in drawn if name in layers] == layers


def command_lines(text: str) -> Iterator[str]:
    """Lines of code that call `gz`, without comments; `\\` joins lines."""
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    blocks = [body for _, body in fence.findall(text)]
    indented = "\n".join(re.findall(r"^ {4,}(.*)$", fence.sub("", text), flags=re.MULTILINE))
    for line in "\n".join([*blocks, indented]).replace("\\\n", " ").splitlines():
        if match := re.match(r"(?:\$ )?(?:torchrun .* -m ganzoo_cli|gz) (.*)", line.strip()):
            yield re.sub(r"\s#.*|\s(?:->|>|\|).*|\s{3,}[a-z].*|;.*", "", match[1]).strip()


def option_names(line: str) -> tuple[str, set[str], set[str]]:
    """(command, options it has, options a line gives it). Raises LookupError for a command that does not exist."""
    command: Any = get_command(app)
    words, path = shlex.split(line), "gz"
    while words and hasattr(command, "get_command") and not words[0].startswith("-"):
        context = click.Context(command, info_name=path)
        inner = command.get_command(context, words[0])
        if inner is None and path == "gz metrics":
            inner = command.get_command(context, "one")  # `gz metrics NAME`
        if inner is None:
            raise LookupError(f"{path} has no command '{words[0]}'")
        command, path, words = getattr(inner, "real", inner), f"{path} {words[0]}", words[1:]
    known = {name for p in command.params for name in [*p.opts, *p.secondary_opts]} | {"--help", "-h"}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return path, known, given


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_and_option_exists(page):
    for line in command_lines(text_of(page)):
        path, known, given = option_names(line)
        assert given <= known, f"{path}: {given - known} in {line!r}"


def test_wrong_commands_are_found():
    with pytest.raises(LookupError, match="has no command 'trian'"):
        option_names("trian stylegan2-tiny")
    _, known, given = option_names("generate CKPT --seeds 0-7 --sedes 8")
    assert given - known == {"--sedes"}
    assert list(command_lines("text\n\n    gz train x --data y/    # gz nothing\n")) == ["train x --data y/"]
    assert sum(1 for page in PAGES for _ in command_lines(text_of(page))) > 60
