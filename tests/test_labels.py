"""Labels from class folders, of several ones and of fractions: what is read, said, trained on and generated with."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from commands import TINY
from commands import gz as gz
from ganzoo.errors import DataError
from ganzoo.model import checkpoint
from ganzoo.training.labels import class_labels, example_vector, labels_at
from ganzoo_data.archive import Zip
from ganzoo_data.folder import Folder
from ganzoo_data.images import ImageSet
from ganzoo_data.shapes import Shapes
from ganzoo_data.tar import Tar
from pictures import encode, fill, pack, tarred

CONDITIONAL = TINY[: TINY.index("discriminator:")] + "discriminator: {channel_max: 8, head: embedding}\n"
CONDITIONAL += "training: {kimg: 0.008, batch: 8, tick_kimg: 0.008}\nmetrics: []\n"
WRITERS: dict[str, tuple[type[ImageSet], Callable[[Path, dict[str, bytes]], Path]]] = {
    "folder": (Folder, fill),
    "zip": (Zip, lambda path, files: pack(path.with_suffix(".zip"), files)),
    "tar": (Tar, lambda path, files: tarred(path.with_suffix(".tar"), files)),
}
PETS = ["dogs/b.png", "cats/a.png", "cats/deep/a.png", "\u00e9lans/a.png"]


def images(names: list[str], size: int = 16) -> dict[str, bytes]:
    noise = np.random.default_rng(len(names))
    return {name: encode(noise.integers(0, 256, (size, size, 3), np.uint8)) for name in names}


def table(labels: dict[str, Any]) -> bytes:
    return json.dumps({"labels": list(labels.items())}).encode()


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("above", ["", "set/", "a/b/"])
def test_folders_are_classes(tmp_path: Path, form: str, above: str) -> None:
    """Numbered in the order of their names, whatever folders hold them all, and images in deeper folders too."""
    cls, write = WRITERS[form]
    path = write(tmp_path / "pets", images([above + name for name in PETS]))
    data = cls((8, 8), 3, 3, path=path, labels="folders")
    classes = [re.sub(f"^{above}", "", name).partition("/")[0] for name in data.names]
    assert data.class_names == ["cats", "dogs", "\u00e9lans"]
    assert [data.class_names[int(data.label(i).argmax())] for i in range(4)] == classes
    assert np.array_equal(sum(data.label(i) for i in range(4)), [2, 1, 1])
    assert data.given_labels() == [data.class_names.index(name) for name in classes]
    assert cls((8, 8), 3, 5, path=path, labels="folders").label(0).shape == (5,)
    plain = cls((8, 8), 3, 0, path=path)
    assert plain.given_labels() is None and plain.class_names == [] and len(plain.class_folders) == 3


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    loose = fill(tmp_path / "loose", images(["cats/a.png", "b.png"]))
    with pytest.raises(
        DataError, match=r"loose holds no folders that could be classes, since b\.png lies in no folder"
    ):
        Folder((8, 8), 3, 2, path=loose, labels="folders")
    alone = fill(tmp_path / "alone", images(["cats/a.png", "cats/b.png"]))
    with pytest.raises(DataError, match="holds no folders"):
        Folder((8, 8), 3, 1, path=alone, labels="folders")
    many = fill(tmp_path / "many", images(["a/a.png", "b/b.png", "c/c.png"]))
    with pytest.raises(DataError, match=r"3 class folders \(a, b, c\), the recipe wants 2 labels: set labels=3"):
        Folder((8, 8), 3, 2, path=many, labels="folders")


def test_a_missing_file_of_labels_is_shown_by_an_example(tmp_path: Path) -> None:
    """The example of the message, written as it says, is read."""
    path = fill(tmp_path / "pets", images(["cats/1.png", "dogs/2.png"]))
    with pytest.raises(DataError, match=r"dataset\.json is not there, the recipe wants 3 labels") as caught:
        Folder((8, 8), 3, 3, path=path)
    assert "make the folders cats, dogs the classes with --labels folders" in str(caught.value)
    example = re.search(r"write it, as (\{.*?\]\]\})", str(caught.value))
    assert example
    (path / "dataset.json").write_text(example[1])
    assert Folder((8, 8), 3, 3, path=path).given_labels() == [0, 2]
    numbered = fill(tmp_path / "packed", images(["00000/1.png", "00001/2.png"]))
    with pytest.raises(DataError) as caught:  # folders that only hold a thousand images each
        Folder((8, 8), 3, 3, path=numbered)
    assert "--labels folders" not in str(caught.value)


# --- vectors ---------------------------------------------------------------------------------------------------------

VECTORS: dict[str, tuple[list[Any], list[list[float]], str]] = {
    "several ones": ([[1, 0, 1], [0, 0, 0], [1, 1, 1]], [[1, 0, 1], [0, 0, 0], [1, 1, 1]], "0 to 3 ones in each"),
    "true and false": ([[True, False], [False, False], [1, 1]], [[1, 0], [0, 0], [1, 1]], "multi-label"),
    "fractions": ([[0.25, -3], [1e-3, 2], [0, 0]], [[0.25, -3], [1e-3, 2], [0, 0]], "2 numbers from -3 to 2"),
    "one-hot": ([[0, 1], [1, 0], [0, 1.0]], [[0, 1], [1, 0], [0, 1]], "one-hot vectors of 2"),
    "mixed": ([1, [0.5, 0.5], 0.0], [[0, 1], [0.5, 0.5], [1, 0]], "mixed: class numbers, vectors of 2"),
}


@pytest.mark.parametrize("case", VECTORS)
def test_vectors(gz: Any, tmp_path: Path, case: str) -> None:
    given, right, words = VECTORS[case]
    names = ["a.png", "b.png", "c.png"]
    path = fill(tmp_path / "set", images(names) | {"dataset.json": table(dict(zip(names, given)))})
    data = Folder((8, 8), 3, len(right[0]), path=path)
    assert np.array_equal(labels_at(data, range(3)), np.array(right, np.float32))
    drawn = {tuple(row.tolist()) for row in class_labels(data, 50, torch.Generator().manual_seed(0))}
    assert drawn == {tuple(np.float32(row).tolist()) for row in right}
    assert words in gz("data", "info", path, "--size", "8x8").out
    one_hot = all(sorted(row) == [0] * (len(row) - 1) + [1] for row in right)
    vector = example_vector(data)
    assert (vector is None) is one_hot and (vector is None or vector in np.float32(right).tolist())


def test_classes_have_no_example_vector() -> None:
    assert example_vector(Shapes((8, 8), 3, 4, count=20)) is None
    assert example_vector(Shapes((8, 8), 3, 0)) is None


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "r.yaml").write_text(CONDITIONAL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_on_folders(gz: Any, here: Path) -> None:
    """In train, info and pack; the packed file has the same labels, and the names of the classes."""
    fill(here / "pets", images(["cats/1.png", "cats/2.png", "dogs/3.png"]))
    run = gz("train", "r.yaml", "--data", "pets", "--labels", "folders", "--watchdog", "off")
    assert run.code == 0, run.err
    assert "folders 0 cats, 1 dogs" in run.err
    assert "--class 0-1 --seeds 0-7 --grid 8x2" in run.err
    header = checkpoint.header(next(here.glob("runs/*/snapshot-*")))
    assert header.recipe["labels"] == 2 and header.recipe["dataset"]["labels"] == "folders"
    assert "label" not in header.data
    assert "2 (classes 0 to 1: 0 cats, 1 dogs)" in gz("data", "info", "pets", "--labels", "folders").out
    hint = gz("data", "info", "pets")
    assert "The folders cats, dogs could be classes: add --labels folders" in hint.err
    packed = gz("data", "pack", "pets", "my pets.zip", "--resolution", "16x16", "--labels", "folders")
    assert packed.code == 0 and "Classes: 0 cats, 1 dogs." in packed.err
    assert Zip((16, 16), 3, 2, path=here / "my pets.zip").given_labels() == [0, 0, 1]
    command = packed.err.splitlines()[-1].partition(" with ")[2]
    assert shlex.split(command) == ["--data", "my pets.zip"]
    for source, words in (("shapes", "'shapes' lies in no folders"), (None, "names no images")):
        refused = gz("train", "r.yaml", *(["--data", source] if source else []), "--labels", "folders", "-n")
        assert refused.code == 2 and words in refused.err
    assert gz("train", "r.yaml", "--data", "pets", "--labels", "two").code == 2


def test_train_and_generate_on_vectors(gz: Any, here: Path) -> None:
    """The next command has a label of the training, and can be run; lengths and numbers are checked."""
    names = [f"{i}.png" for i in range(4)]
    labels = {f"./{name}": [i / 8, -0.5] for i, name in enumerate(names)}
    fill(here / "set", images(names) | {"dataset.json": table(labels)})
    run = gz("train", "r.yaml", "--data", "set", "--labels", "2", "--watchdog", "off")
    assert run.code == 0, run.err
    (line,) = [line for line in run.err.splitlines() if line.startswith("  gz generate ")]
    words = shlex.split(line)[1:]
    assert words[2:4] == ["--label", "0,-0.5"]
    snapshot = words[1]
    done = gz("generate", snapshot, "--label", "0.25,-0.5", "--label=-1,1", "--seeds", "3", "--outdir", "out")
    assert [Path(name).name for name in done.out.split()] == ["seed0003-label0.png", "seed0003-label1.png"], done.err
    model = ganzoo.load(snapshot)
    for number, label in enumerate(([0.25, -0.5], [-1, 1])):
        right = model.pixels(model.images([3], label=label))[0].transpose(1, 2, 0)
        with Image.open(here / "out" / f"seed0003-label{number}.png") as picture:
            assert np.array_equal(np.asarray(picture), right)
            assert json.loads(picture.text["label"]) == label
    refusals = {
        ("--label", "0.2"): "give 2 finite numbers",
        ("--label", "1,x"): "--label 1,x: 'x' is no finite number",
        ("--label", "1,nan"): "is no finite number",
        ("--label", "1,1", "--class", "0"): "give one of them",
        (): "trained on labels that are vectors of 2 numbers: give one, as --label 0,-0.5",
    }
    for flags, sentence in refusals.items():
        refused = gz("generate", snapshot, "--seeds", "0", *flags)
        assert refused.code == 2 and sentence in refused.err, refused.err
    walk = ("walk", snapshot, "--label", "0.25,-0.5", "--frames", "1", "--out")
    mix = ("mix", snapshot, "--label", "0.25,-0.5", "--rows", "3", "--cols", "4", "--outdir", "mixed")
    assert gz(*walk, "w.webp").code == 0 and gz(*mix).code == 0
    with Image.open(here / "mixed" / "3-3.png") as a, Image.open(here / "out" / "seed0003-label0.png") as b:
        assert np.array_equal(np.asarray(a), np.asarray(b))
    assert gz("mix", snapshot, "--label", "1,1,1", "--rows", "3", "--cols", "4").code == 2


def test_a_built_in_dataset_beside_a_folder_of_its_name(gz: Any, here: Path) -> None:
    said = "shapes: this is the built-in dataset; the folder of that name is"
    assert said not in gz("data", "info", "shapes", "--size", "8x8").err
    fill(here / "shapes", images(["a.png"]))
    assert f"{said} ./shapes" in gz("data", "info", "shapes", "--size", "8x8").err
    assert f"--data {said} --data ./shapes" in gz("train", "r.yaml", "--data", "shapes", "--labels", "x").err
    own = gz("data", "info", "./shapes", "--size", "8x8")
    assert said not in own.err and "images        1\n" in own.out
