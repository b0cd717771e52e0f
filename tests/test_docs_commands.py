"""Every command of README and docs runs, page by page and in order, on tiny stand-ins."""

import re
import runpy
import shutil
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from torch.distributed import run as torchrun

import ganzoo
import standins
from ganzoo import recipe
from ganzoo_cli import main
from pages import PAGES, PROGRAMS, ROOT, Block, blocks, commands

IDS = [str(page.relative_to(ROOT)) for page in PAGES]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with all stand-ins: (folder, {word in capitals: path})."""
    folder = standins.fill(tmp_path_factory.mktemp("docs"))
    run = standins.trained(folder)
    (folder / "models").mkdir()
    models = {
        "CKPT": Path(shutil.copy(run / "snapshot-000112.safetensors", folder / "models/mine.safetensors")),
        "LABELLED": standins.labelled(folder / "models"),
        "RUN": run,
    }
    return folder, models


@pytest.fixture
def page_folder(world, tmp_path, monkeypatch):
    """A copy of all stand-ins, as the working directory."""
    folder = tmp_path / "page"
    shutil.copytree(world[0], folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GZ_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def short_functions(monkeypatch):
    """Make `ganzoo.train` and `ganzoo.measure` as short as the commands; plots, half of a short run, are left out."""
    train, measure = ganzoo.train, ganzoo.measure

    def short_train(*args, **kwargs):
        return train(*args, **kwargs | {"kimg": 0.008, "overrides": standins.OVERRIDES})

    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **kwargs: Path(path).touch())
    monkeypatch.setattr(ganzoo, "train", short_train)
    monkeypatch.setattr(ganzoo, "measure", lambda *args, **kwargs: measure(*args, **{"num": 8} | kwargs))


def stamps() -> dict[Path, tuple[int, int]]:
    """{file: (time of the last change in ns, size in bytes)} of the working directory, without runs, which go on."""
    files = [path for path in Path().rglob("*") if path.is_file() and path.parts[0] != "runs"]
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


class Runner:
    """Runs the blocks of one page."""

    def __init__(self, models: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
        self.models, self.capsys, self.names = models, capsys, {}

    def run(self, block: Block) -> None:
        if block.is_python:
            code = re.sub(r'"([A-Z]+)"', lambda match: f'"{self.models.get(match[1], match[1])}"', block.text)
            exec(compile(code, f"line {block.line}", "exec"), self.names)
        for words in commands(block.text) if block.is_shell else ():
            getattr(self, words[0])(words[1:])

    def gz(self, words: list[str]) -> None:
        models = self.models | ({"CKPT": self.models["LABELLED"]} if "--class" in words else {})
        words = standins.shorter([str(models.get(word, word)) for word in words])
        before = stamps()
        code = main(words)
        said, line = self.capsys.readouterr(), f"gz {' '.join(words)}"
        assert code == 0, f"{line}: {said.err}"
        assert "Traceback" not in said.err
        after = stamps()
        assert {file for file, stamp in before.items() if after.get(file) != stamp} == set(), (
            line
        )  # nothing is replaced
        for option, value in pairwise(words):
            assert option not in ("--out", "--outdir") or Path(value).exists(), line

    def torchrun(self, words: list[str]) -> None:
        given = torchrun.parse_args(words)
        assert given.module and given.training_script == "ganzoo_cli"
        self.gz(given.training_script_args)

    def make(self, words: list[str]) -> None:
        (target,) = words
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)

    def pip(self, words: list[str]) -> None:
        extras = {name for word in words for name in re.findall(r"ganzoo\[(\w+)\]", word)}
        assert extras <= PROJECT["optional-dependencies"].keys()
        assert all((ROOT / word).is_file() for word in words if word.endswith(".txt"))

    def python3(self, words: list[str]) -> None:
        assert words[:2] == ["-m", "venv"]

    def python(self, words: list[str]) -> None:
        """Its options are those that its help lists."""
        script, *rest = words
        with pytest.MonkeyPatch.context() as patched, pytest.raises(SystemExit) as left:
            patched.setattr(sys, "argv", [script, "--help"])
            patched.syspath_prepend(str(ROOT / "benchmarks"))
            runpy.run_path(str(ROOT / script), run_name="__main__")
        assert left.value.code == 0
        known = set(re.findall(r"--[\w-]+", self.capsys.readouterr().out))
        assert {word for word in rest if word.startswith("--")} <= known

    def tensorboard(self, words: list[str]) -> None:
        assert words[0] == "--logdir"
        assert list(Path(words[1]).rglob("events.*"))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_runs(page, world, page_folder, short_functions, capsys, monkeypatch):
    text = page.read_text(encoding="utf-8")
    if not re.search(r"00000-mine|\bRUN\b", text):
        shutil.rmtree("runs")  # so that runs are numbered from 0
    for name in re.findall(r"^ {4}gz data pack \S+ (\S+)", text, flags=re.MULTILINE):
        Path(name).unlink(missing_ok=True)  # the page makes it
    monkeypatch.setattr(sys, "argv", ["show.py", "photos"])  # as docs/augmentation.md calls its script
    runner = Runner(world[1], capsys)
    for block in blocks(text):
        if block.language == "yaml" and (name := re.search(r"`([\w-]+\.yaml)`", block.above)):
            Path(name[1]).write_text(block.text)
        if not block.reason:
            runner.run(block)


# --- what the runner relies on ----------------------------------------------------------------------------------------


def test_a_block_is_read_as_a_shell_reads_it():
    (block,) = blocks(
        "text\n\n    N=7  # why\n    for s in 'a b' c; do\n      gz x --seeds $N \"$s\"   # 1\n    done\n"
    )
    assert commands(block.text) == [["gz", "x", "--seeds", "7", "a b"], ["gz", "x", "--seeds", "7", "c"]]
    assert commands("gz a > f.txt\ngz b \\\n  c\n") == [["gz", "a"], ["gz", "b", "c"]]
    marked = list(blocks("text\n<!-- not run: it is large -->\n\n    gz a\n\n```python\nx = 1\n```\n"))
    assert [(b.reason, b.is_shell, b.is_python) for b in marked] == [("it is large", True, False), ("", False, True)]


def test_no_command_is_left_out():
    """Each line that begins with a program is in a block that runs, or that says why it does not."""
    every = [(page.name, block) for page in PAGES for block in blocks(page.read_text(encoding="utf-8"))]
    programs = re.compile(rf"^(?:{'|'.join(PROGRAMS)}) ", flags=re.MULTILINE)
    others = [(name, block.text) for name, block in every if not (block.is_shell or block.is_python)]
    assert [(name, text) for name, text in others if programs.search(text)] == []
    assert sum(len(commands(block.text)) for _, block in every if block.is_shell and not block.reason) > 80
    marked = [(name, block.reason) for name, block in every if block.reason]
    assert len(marked) <= 3 and all(len(reason.split()) > 4 for _, reason in marked)


def test_a_command_that_fails_is_found(world, page_folder, capsys):
    runner = Runner(world[1], capsys)
    for text in (
        "gz data info photo/\n",
        "make nothing\n",
        "pip install 'ganzoo[gpu]'\n",
        "python benchmarks/step.py --x\n",
    ):
        with pytest.raises(AssertionError):
            runner.run(Block(1, "", text, ""))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_recipe_is_valid(page, tmp_path, monkeypatch):
    """YAML blocks; where a key comes twice, each is an example of its own."""
    monkeypatch.chdir(tmp_path)
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language != "yaml":
            continue
        keys = re.findall(r"^(\w+):", block.text, flags=re.MULTILINE)
        examples = [block.text] if len(set(keys)) == len(keys) else block.text.splitlines()
        for text in examples:
            whole = text if {"use", "extends"} & set(keys) else f"extends: stylegan2-tiny\n{text}"
            Path("r.yaml").write_text(whole)
            assert recipe.load("r.yaml").value("training").kimg > 0


TOPOLOGIES = ("orig", "skip", "residual")


@pytest.mark.parametrize("g", TOPOLOGIES)
@pytest.mark.parametrize("d", TOPOLOGIES)
def test_the_settings_of_the_nine_topologies(g, d):
    """The table in docs/results.md makes of emoji-stylegan2 what the recipes at 1024x1024 have by name."""
    table = (ROOT / "docs/results.md").read_text(encoding="utf-8").partition("## StyleGAN2's nine topologies")[2]
    rows = {
        name: cells for name, *cells in re.findall(r"^\| (\w+) \| (.*?) \| (.*?) \|$", table, flags=re.MULTILINE)[:3]
    }
    sets = [s for cell in (rows[g][0], rows[d][1]) for s in re.findall(r"--set ([\w.=]+)", cell)]
    published = "stylegan2-e-1024" if (g, d) == ("skip", "residual") else f"stylegan2-{g}-{d}-1024"
    small, large = recipe.load("emoji-stylegan2", sets), recipe.load(published)
    slots = ("generator.synthesis", "generator.synthesis.block", "discriminator.trunk", "discriminator.trunk.down")
    assert [small[slot].cls.name for slot in slots] == [large[slot].cls.name for slot in slots]
