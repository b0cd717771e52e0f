"""What goes wrong in other people's code is theirs, and said so; their commands are listed and checked like ours."""

import json
from pathlib import Path

import pytest

from commands import TINY
from installing import gz, install

CODE = '''
from ganzoo import hookimpl, interfaces as zoo
from gz_mine.counting import count

class Touchy(zoo.Regularizer, name="touchy"):
    """A penalty whose formula is wrong."""
    on = "d"

    def penalty(self, batch):
        return batch.real[0].flatten(1) @ batch.fake[0].flatten(1)

class Uncounted(Touchy, name="uncounted"):
    """A penalty that calls a function which fails."""

    def penalty(self, batch):
        return count(batch.stage)

@hookimpl
def ganzoo_components():
    return [Touchy, Uncounted]
'''
COUNTING = "def count(stage):\n    raise ValueError('cannot count\\n    these')\n"
POLISH = '''
def polish() -> None:
    """Polish."""
    {}["wax"]

def train() -> None:
    """Train otherwise."""
'''
REPORT = "report it to that plugin (GZ_TRACEBACK=1 shows where)."


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A place where a plugin and two packages of commands are installed beside ganzoo."""
    place = tmp_path_factory.mktemp("installed")
    files = {"gz_mine/__init__.py": CODE, "gz_mine/counting.py": COUNTING}
    install(place, "gz-mine", files, {"ganzoo": {"mine": "gz_mine"}})
    commands = {"polish": "gz_polish:polish", "train": "gz_polish:train"}
    install(place, "gz-polish", {"gz_polish.py": POLISH}, {"ganzoo.commands": commands})
    install(place, "gz-lost", {}, {"ganzoo.commands": {"lost": "gz_lost.nowhere:lost"}})
    (place / "r.yaml").write_text(TINY)
    return place


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("touchy", "plugin 'mine' (gz-mine 0.1) failed in regularizer 'touchy': RuntimeError: mat1 and mat2 shapes"),
        ("uncounted", "plugin 'mine' (gz-mine 0.1) failed in gz_mine.counting: ValueError: cannot count these: report"),
    ],
)
def test_a_failing_component_names_its_plugin(folder, name, words):
    done = gz(folder, "train", "r.yaml", "--set", f"regularizers=[{name}]", "--metrics", "none", "--device", "cpu")
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 3
    assert error.startswith(f"error: {words}")
    assert error.endswith(REPORT)
    assert "Traceback" not in done.stderr


def test_a_failing_command_names_its_package(folder):
    done = gz(folder, "polish")
    sentence = f"plugin 'gz_polish' (gz-polish 0.1) failed in gz_polish: KeyError: 'wax': {REPORT}"
    assert (done.returncode, done.stderr) == (3, f"error: {sentence}\n")


def test_plugins_are_listed_with_their_commands(folder):
    rows = {row["name"]: row for row in json.loads(gz(folder, "plugins", "list", "--json").stdout)}
    assert {name: row["commands"] for name, row in rows.items() if row["commands"]} == {
        "data": "data",
        "import": "import",
        "projection": "project",
        "style_transfer": "stylize",
        "editing": "edit, mix, walk",
        "export": "export",
        "gz_polish": "polish",
        "gz_lost": "lost",
    }
    assert (rows["mine"]["components"], rows["gz_polish"]["components"]) == (2, 0)
    assert (rows["gz_polish"]["distribution"], rows["gz_polish"]["version"]) == ("gz-polish", "0.1")


def test_doctor_tries_commands_and_sees_clashes(folder):
    done = gz(folder, "plugins", "doctor")
    states = {line.split(" (")[0].split(None, 1)[1]: line.split()[0] for line in done.stdout.splitlines()}
    assert done.returncode == 3
    assert {name for name, state in states.items() if state != "OK"} == {"gz lost"}
    assert {"gz polish", "gz train", "mine", "stylegan2"} <= states.keys()
    assert "the command 'lost' of gz-lost 0.1 (gz_lost.nowhere:lost) is broken: ModuleNotFoundError" in done.stderr
    clash = "the command 'train' of gz-polish 0.1 (gz_polish:train) is left out: ganzoo has a command of that name."
    assert clash in done.stderr
    assert "error: 2 of" in done.stderr
    assert "command lost, command train (gz-polish)" in done.stderr


def test_the_first_command_of_a_name_is_kept(folder):
    assert "Train a GAN" in gz(folder, "train", "--help").stdout
