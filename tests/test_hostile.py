"""Hostile foreign files: each gives a one-sentence error, and nothing that it names is executed.

`golden/12_malicious` holds eight recorded attacks; each would leave a file `/tmp/gold_canary_AN` behind. The others are
made here, opcode by opcode.
"""

import argparse
import ast
import pickle as writer
import struct
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganzoo.foreign import pickles, rebuild, torchfile
from ganzoo.foreign.pickles import Object
from ganzoo_cli import main
from ganzoo_import import convert
from pickles import (
    BYTES,
    FOUR,
    KEYS,
    LAUGHS,
    NESTED,
    PERSISTENT,
    archive,
    call,
    group,
    name,
    number,
    numpy_array,
    pickle,
    refused,
    storage,
    stream,
    tensor,
    text,
)
from pickles import _nothing_ran as _nothing_ran
from reference import GOLDEN

ATTACKS = sorted((GOLDEN / "12_malicious").glob("*.p*"))


# --- writing pickles by hand -----------------------------------------------------------------------------------------


def test_what_is_written_by_hand_is_read(tmp_path):
    """The handwritten parts below are valid, so that each file of the corpus fails by its one change."""
    good: dict[str, tuple[bytes, Any]] = {
        "zip": (archive(pickle(tensor([2, 2], [2, 1]))), torch.zeros(2, 2)),
        "stream": (stream(tensor([2], [1], 1), KEYS, FOUR), torch.tensor([2.0, 3.0])),
        "nested": (pickle(tensor([2, 2], [1, 2], data=NESTED)), torch.tensor([[1.0, 3.0], [2.0, 4.0]])),
        "array": (pickle(numpy_array("<f4", [2], FOUR[8:16])), torch.tensor([1.0, 2.0])),
        "words": (pickle(b"}", text("a"), b"K\x01s"), {"a": 1}),
    }
    for key, (data, expected) in good.items():
        (tmp_path / key).write_bytes(data)
        value = torchfile.read(tmp_path / key)
        assert torch.equal(value, expected) if isinstance(expected, Tensor) else value == expected, key


def things() -> dict[str, Any]:
    """Values of every kind that genuine files hold."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    return {
        "view": base[:, 1:, ::2],
        "transposed": base.permute(2, 0, 1),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "types": [torch.ones(3).to(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.bool)],
        "integers": [
            torch.tensor([-1, 100]).to(dtype) for dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
        ],
        "scalar": torch.tensor(3.5),
        "nothing": torch.empty(0, 4),
        "array": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "number": np.float64(2.5),
        "args": argparse.Namespace(lr=0.1, betas=(0.0, 0.99), name="x", path=Path("a/b"), none=None),
        "ordered": OrderedDict([("a", 1), ("b", [True, -(1 << 40), 1e300])]),
        "many": defaultdict(list, {"k": [1]}),
        "sets": [{1, 2}, frozenset("ab"), b"bytes", torch.Size([1, 2]), torch.device("cpu"), torch.float32],
    }


def same(value: Any, expected: Any) -> bool:
    """Whether a value that was read equals the one that was written."""
    if isinstance(expected, np.ndarray | Tensor):
        return isinstance(value, Tensor) and torch.equal(value, torch.as_tensor(expected).detach())
    if isinstance(expected, argparse.Namespace):
        return same(value, vars(expected))
    if isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[k], v) for k, v in expected.items())
    if isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(map(same, value, expected))
    return value == (str(expected) if isinstance(expected, Path | torch.device | torch.dtype) else expected)


@pytest.mark.parametrize("form", ["zip", "stream", 2, 3, 4, 5])
def test_what_others_write_is_read(form, tmp_path):
    given, path = things(), tmp_path / "genuine.pt"
    if isinstance(form, int):
        path.write_bytes(writer.dumps(given, protocol=form))
    else:
        torch.save(given, path, _use_new_zipfile_serialization=form == "zip")
    assert same(torchfile.read(path), given)


CORPUS: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\x80",
    "text": b"hello, world, this is no pickle",
    "only a zip's start": b"PK\x03\x04",
    "empty zip": b"PK\x05\x06" + bytes(18),
    "safetensors with a huge header": struct.pack("<Q", 1 << 60) + b"{",
    "safetensors cut off": struct.pack("<Q", 100) + b'{"a":',
    # names
    "system": pickle(call("os system", text("touch /tmp/gold_canary_X"))),
    "getattr": pickle(call("builtins getattr", text("a"), text("b"))),
    "dotted": pickle(call("collections OrderedDict.fromkeys", b"]")),
    "module prefix": pickle(call("torch._utils _rebuild_tensor_v2_evil")),
    "space in a module": pickle(name("torch._utils  _rebuild_tensor_v2")),
    "empty name": pickle(b"c\n\n"),
    "name by numbers": pickle(b"K\x01K\x02\x93"),
    "name of a name": pickle(name("collections OrderedDict"), text("x"), b"\x93"),
    "inst": pickle(b"(ios\nsystem\n"),
    "obj": pickle(b"(", name("os system"), text("x"), b"o"),
    "obj of nothing": pickle(b"(o"),
    "extension 1": pickle(b"\x82\x01"),
    "extension 4": pickle(b"\x84\x01\x00\x00\x00"),
    "tensorflow": pickle(call("dnnlib.tflib.network Network")),
    "library": pickle(call("dnnlib.util get_obj_by_name", text("os.system"))),
    "not passed on": pickle(call("torch_utils.persistence _reconstruct_persistent_obj", b"}")),
    # calls
    "call of text": pickle(text("os.system"), b")R"),
    "call of a tensor's result": pickle(call("torch Size", b")"), b")R"),
    "arguments that are a list": pickle(name("collections OrderedDict"), b"]R"),
    "keywords": pickle(name("collections OrderedDict"), b")}", text("a"), b"K\x01s\x92"),
    "storage as a function": pickle(call("torch FloatStorage", number(10))),
    "bare name": pickle(b"]", name("collections OrderedDict"), b"a"),
    "state of a list": pickle(b"]}b"),
    "two states": pickle(call("argparse Namespace"), b"}b}b"),
    "a namespace's state is no dictionary": pickle(call("argparse Namespace"), text("x"), b"b"),
    "ordered dict of arguments": pickle(call("collections OrderedDict", b"]")),
    # machine
    "no stop": b"\x80\x04]",
    "stack underflow": pickle(b"0"),
    "mark as a value": pickle(b"("),
    "no mark": pickle(b"t"),
    "memo of a mark": pickle(b"(q\x00"),
    "unknown memo": pickle(b"j\xff\xff\xff\xff"),
    "unknown opcode": pickle(b"\xff"),
    "buffer": pickle(b"\x97"),
    "persistent id as text": pickle(b"Pstorage\n"),
    "odd items": pickle(b"}(", text("a"), b"u"),
    "items into a list": pickle(b"](", text("a"), text("b"), b"u"),
    "append to text": pickle(text("a"), text("b"), b"a"),
    "huge text": b"\x80\x04X\xff\xff\xff\xff" + b"a" * 50,
    "huge bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc",
    "huge number": pickle(b"\x8b\x00\x00\x10\x00", bytes([1]) * (1 << 20)),
    "long digits": pickle(b"L" + b"9" * 100_000 + b"L\n"),
    "bad utf-8": pickle(b"X\x02\x00\x00\x00\xff\xff"),
    "more after the end": pickle(b"N") + b"os",
    # containers
    "deep lists": pickle(b"]" * 100_000, b"a" * 99_999),
    "deep tuples": pickle(b")" + b"\x85" * 100_000),
    "deep tuple as a key": pickle(b"})", b"\x85" * 100_000, b"K\x01s"),
    "list in itself": pickle(b"]\x94h\x00a"),
    "dictionary in itself": pickle(b"}\x94", text("a"), b"h\x00s"),
    "a billion laughs": pickle(LAUGHS),
    "list as a key": pickle(b"}]K\x01s"),
    "key twice": pickle(b"}(", text("a"), b"K\x01", text("a"), b"K\x02u"),
    "set of lists": pickle(b"\x8f(]\x90"),
    "set of a number": pickle(call("builtins set", b"K\x01")),
    "bytes in another encoding": pickle(call("_codecs encode", text("a"), text("rot13"))),
    # tensors
    "beyond its storage": archive(pickle(tensor([5], [1]))),
    "offset beyond its storage": archive(pickle(tensor([2], [1], 3))),
    "stride beyond its storage": archive(pickle(tensor([2, 2], [3, 1]))),
    "negative offset": archive(pickle(tensor([2], [1], -1))),
    "negative size": archive(pickle(tensor([-2], [1]))),
    "negative stride": archive(pickle(tensor([2], [-1], 1))),
    "stride of zero": archive(pickle(tensor([1 << 40], [0]))),
    "overlap": archive(pickle(tensor([3, 3], [1, 1], 0, storage(numel=number(4))))),
    "size without stride": archive(pickle(tensor([2, 2], [1]))),
    "forty axes": archive(pickle(tensor([1] * 40, [1] * 40))),
    "size that is text": archive(pickle(call("torch Size", group(text("a"))))),
    "tensor in text": pickle(tensor([1], [1], data=text("0"))),
    "tensor in a tensor": archive(pickle(tensor([1], [1], data=tensor([2, 2], [2, 1])))),
    "parameter of text": pickle(call("torch._utils _rebuild_parameter", text("a"), b"\x89", b"}")),
    # storages
    "storage missing": archive(pickle(tensor([2], [1], data=storage(key=text("7"))))),
    "storage too small": archive(pickle(tensor([2], [1], data=storage(numel=number(5))))),
    "storage of another type": archive(pickle(group(storage(), storage("torch DoubleStorage", numel=number(2))))),
    "quantized": archive(pickle(storage("torch QInt8Storage"))),
    "untyped": archive(pickle(storage("torch UntypedStorage"))),
    "key with a path": archive(pickle(storage(key=text("../data.pkl")))),
    "key that is a number": archive(pickle(storage(key=number(0)))),
    "persistent id that is text": archive(pickle(text("0"), b"Q")),
    "persistent id with a list": archive(pickle(b"]Q")),
    "huge storage": archive(pickle(storage(numel=number(1 << 62)))),
    "storage beside a bare pickle": pickle(storage()),
    "view of a storage": archive(
        pickle(group(text("storage"), name("torch FloatStorage"), *[text("0")] * 2, number(4), b"K\x01") + b"Q")
    ),
    # torch's old file
    "old file, no storages": stream(storage(), b"]", b""),
    "old file, cut off": stream(storage(), KEYS, FOUR[:-1]),
    "old file, more after the end": stream(storage(), KEYS, FOUR + b"x"),
    "old file, negative size": stream(storage(), KEYS, struct.pack("<q", -4)),
    "old file, huge size": stream(storage(), KEYS, struct.pack("<q", 1 << 61)),
    "old file, unknown key": stream(storage(), b"]" + text("1") + b"a", FOUR),
    "old file, key twice": stream(storage(), KEYS + text("0") + b"a", FOUR * 2),
    "old file, big-endian": stream(storage(), KEYS, FOUR, pickle(b"}", text("little_endian"), b"\x89s")),
    "old file, attack in its facts": stream(storage(), KEYS, FOUR, pickle(call("os system", text("x")))),
    "old file, attack in its keys": stream(storage(), call("os system", text("x")), FOUR),
    "old file, another version": pickle(number(torchfile.TORCH_MAGIC)) + pickle(b"K\x01") + pickle(b"}") * 3,
    "old file inside an old file": pickle(call("torch.storage _load_from_bytes", b"C\x02\x80\x04")),
    "no file as a storage": pickle(call("torch.storage _load_from_bytes", b"C\x03\x80\x04.")),
    "a pickle as a storage": pickle(call("torch.storage _load_from_bytes", b"C\x04" + pickle(b"N"))),
    "a storage that is text": pickle(call("torch.storage _load_from_bytes", text("x"))),
    # zips
    "zip bomb": archive(pickle(b"N"), {"a/data/0": bytes(1 << 24)}, zipfile.ZIP_DEFLATED),
    "compressed": archive(pickle(b"N"), None, zipfile.ZIP_DEFLATED),
    "no data.pkl": archive(pickle(b"N")).replace(b"data.pkl", b"data.pkk"),
    "two data.pkl": archive(pickle(b"N"), {"b/data.pkl": pickle(b"N")}),
    "path out of the zip": archive(pickle(b"N"), {"../evil": b"x"}),
    "absolute path": archive(pickle(b"N"), {"/etc/evil": b"x"}),
    "program": archive(pickle(b"N"), {"a/constants.pkl": pickle(b")"), "a/code/x.py": b"import os"}),
    "big-endian": archive(pickle(b"N"), {"a/byteorder": b"big"}),
    "an .npz": archive(b"\x93NUMPY", {}).replace(b"data.pkl", b"data.npy"),
    # numpy
    "objects": pickle(numpy_array("O8", [1], bytes(8))),
    "structure": pickle(numpy_array("V8", [1], bytes(8))),
    "array too small": pickle(numpy_array("<f4", [1 << 40], bytes(8))),
    "array of negative shape": pickle(numpy_array("<f4", [-1], bytes(8))),
    "array without contents": pickle(
        call("numpy.core.multiarray _reconstruct", name("numpy ndarray"), group(number(0)), text("b"))
    ),
    "two numbers as one": pickle(
        call("numpy.core.multiarray scalar", call("numpy dtype", text("<f4"), b"\x89", b"\x88"), b"C\x08" + bytes(8))
    ),
}


@pytest.mark.parametrize("name", CORPUS)
def test_made_attacks_are_refused(name, tmp_path):
    path = tmp_path / "hostile.pt"
    path.write_bytes(CORPUS[name])
    refused(path)


@pytest.mark.parametrize("path", ATTACKS, ids=lambda p: p.stem)
def test_recorded_attacks_are_refused(path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(ATTACKS) == 8
    if path.name.startswith("03"):  # only names the persistence class, and is inert here; no network is in it
        assert isinstance(torchfile.read(path, PERSISTENT)["G_ema"], Object)
    else:
        assert any(word in refused(path, PERSISTENT) for word in ("names 'posix system'", "names '"))
    assert main(["import", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) == 1, err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file(tmp_path):
    refused(tmp_path)
    refused(tmp_path / "missing.pt")


def test_a_word_of_the_file_cannot_steer_the_terminal(tmp_path, capsys):
    (tmp_path / "x.pkl").write_bytes(pickle(b"\x8c\x04os\x1b]", b"\x8c\x06\x07system"[:2] + b"\x07system", b"\x93"))
    assert main(["import", str(tmp_path / "x.pkl")]) == 1
    assert all(c.isprintable() or c == "\n" for c in capsys.readouterr().err)


# --- the reader itself -----------------------------------------------------------------------------------------------


def test_the_reader_imports_nothing_that_runs_pickles():
    for file in (pickles.__file__, rebuild.__file__, torchfile.__file__, convert.__file__):
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
        names = {n for item in ast.walk(tree) if isinstance(item, ast.Import) for n in (a.name for a in item.names)}
        names |= {item.module or "" for item in ast.walk(tree) if isinstance(item, ast.ImportFrom)}
        assert not names & {"pickle", "_pickle", "importlib", "dill", "joblib", "torch.serialization"}, file
        called = {
            item.func.attr
            for item in ast.walk(tree)
            if isinstance(item, ast.Call) and isinstance(item.func, ast.Attribute)
        }
        plain_calls = {
            item.func.id for item in ast.walk(tree) if isinstance(item, ast.Call) and isinstance(item.func, ast.Name)
        }
        assert not plain_calls & {"eval", "exec", "__import__", "getattr", "compile"}, file
        assert file != "foreign.py" or "extract" not in called


def test_a_file_of_many_views_costs_no_more_than_itself(tmp_path):
    """100,000 tensors on one storage, and 10,000 copies of one nested file."""
    views = b"(" + tensor([4], [1]) + b"".join(tensor([4], [1]) for _ in range(2000)) + b"l"
    (tmp_path / "views.pt").write_bytes(archive(pickle(views)))
    views = torchfile.read(tmp_path / "views.pt")
    assert len({t.untyped_storage().data_ptr() for t in views}) == 1
    again = (
        b"(" + BYTES + b"\x940" + b"".join(call("torch.storage _load_from_bytes", b"h\x00") for _ in range(1000)) + b"l"
    )
    (tmp_path / "again.pkl").write_bytes(pickle(again))
    assert len({t.untyped_storage().data_ptr() for t in torchfile.read(tmp_path / "again.pkl")}) == 1
