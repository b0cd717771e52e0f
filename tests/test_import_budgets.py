"""What a file of another project may cost: bounded time and memory, and one sentence that names the limit.

Also files that are no weights, and say so.
"""

import gzip
import io
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from ganzoo.errors import CheckpointError
from ganzoo.foreign import torchfile
from ganzoo.io import budgets
from ganzoo_cli import main

PRIME = (1 << 61) - 1  # Python's hash of an integer is the remainder by it

# has torch ready, and reads each file of its input in a child of its own; prints the growth of the child's peak memory
# in MiB, seconds, and the message
PROBE = """
import os, resource, sys, time
from pathlib import Path
import torch
from ganzoo.errors import CheckpointError
from ganzoo.foreign import torchfile
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
for line in sys.stdin:
    if os.fork():
        os.wait()
        continue
    before, start = peak(), time.process_time()
    try:
        torchfile.read(Path(line.rstrip("\\n")))
        message = "read"
    except CheckpointError as err:
        message = str(err)
    print(peak() - before, time.process_time() - start, message.replace("\\n", " "), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module", autouse=True)
def probe() -> Iterator[None]:
    """The process that forks one for each file: torch is imported once."""
    yield
    if _probe.cache_info().currsize:
        _probe().kill()
        _probe().communicate()
        _probe.cache_clear()


@cache
def _probe() -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", PROBE], stdin=pipe, stdout=pipe, text=True)


def cost(path: Path) -> tuple[int, float, str]:
    """(MiB, seconds of the processor, message) of reading a file in another process."""
    pytest.importorskip("resource")
    process = _probe()
    assert process.stdin and process.stdout
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    memory, seconds, message = process.stdout.readline().split(" ", 2)
    return int(memory), float(seconds), message.strip()


def colliding(count: int) -> bytes:
    return pickle.dumps({k * PRIME: 0 for k in range(count)}, protocol=2)


def colliding_set(count: int) -> bytes:
    return pickle.dumps({k * PRIME for k in range(count)}, protocol=4)


def colliding_memo(count: int) -> bytes:
    return b"\x80\x02" + b"".join(b"Np%d\n0" % (k * PRIME) for k in range(count)) + b"N."


PICKLES = {
    "keys": (colliding(20_000), "integer key"),
    "keys-in-a-set": (colliding_set(20_000), "integer key"),
    "memo": (colliding_memo(20_000), "keeps a value"),
    "tuples": (pickle.dumps({(k, 0): 0 for k in range(20_000)}), f"{budgets.ODD_KEYS:,}"),
    "fractions": (pickle.dumps({k + 0.5: 0 for k in range(20_000)}), f"{budgets.ODD_KEYS:,}"),
    "dictionaries": (b"\x80\x02](" + b"}" * 3_900_000 + b"e.", f"{budgets.PICKLE_OBJECTS:,}"),
    "lists": (b"\x80\x02](" + b"]" * 3_900_000 + b"e.", f"{budgets.PICKLE_OBJECTS:,}"),
    "sets": (b"\x80\x04](" + b"\x8f" * 3_900_000 + b"e.", f"{budgets.PICKLE_OBJECTS:,}"),
    "numbers": (b"\x80\x02](" + b"K\x00" * 3_900_000 + b"e.", f"{budgets.PICKLE_STEPS:,}"),
    "marks": (b"\x80\x02" + b"(" * 3_900_000 + b".", f"{budgets.PICKLE_STEPS:,}"),
    "tuples-of-tuples": (b"\x80\x02)" + b"\x85" * 400_000 + b".", f"{budgets.PICKLE_DEPTH}"),
    "line": (b"\x80\x02V" + b"a" * 4_000_000 + b"\n.", f"{budgets.PICKLE_LINE_BYTES:,}"),
    "large-integer": (b"\x80\x02\x8b" + (1_000_000).to_bytes(4, "little") + b"\x7f" * 1_000_000 + b".", "128"),
    "claimed-bytes": (b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"abc.", "MiB"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_cost_more_than_they_should(name: str, tmp_path: Path) -> None:
    """Each is refused below 1 GB and 2 s, by a sentence that names the limit."""
    content, limit = PICKLES[name]
    file = tmp_path / "x.pkl"
    file.write_bytes(content)
    memory, seconds, message = cost(file)
    assert message.startswith(f"{file}: ") and limit in message and len(message.splitlines()) == 1, message
    assert memory < 300 and seconds < 2.0


@pytest.mark.parametrize("start", [b"\x80\x04}.", b"\x80\x02V", b"\x80\x04\x8e" + (3 << 30).to_bytes(8, "little")])
def test_a_sparse_file_is_not_read_whole(start: bytes, tmp_path: Path) -> None:
    file = tmp_path / "sparse.pkl"
    with file.open("wb") as opened:
        opened.write(start)
        opened.truncate(3 << 30)
    memory, seconds, message = cost(file)
    file.unlink()
    assert message.startswith(f"{file}: ") and len(message.splitlines()) == 1, message
    assert memory < 300 and seconds < 2.0


def test_cost_grows_with_size_and_not_faster(tmp_path: Path) -> None:
    """Ordinary dictionaries of many keys are read, in a time that is no square of their number."""
    times = []
    for count in (10_000, 40_000):
        file = tmp_path / f"{count}.pkl"
        file.write_bytes(pickle.dumps({k: k for k in range(count)}))
        start = time.process_time()
        assert torchfile.read(file) == {k: k for k in range(count)}
        times.append(time.process_time() - start)
    assert times[1] < 12 * times[0] + 0.1


def test_keys_of_ordinary_files_are_read(tmp_path: Path) -> None:
    value = {"a": 1, 2: (3,), (1, "b"): 4, 0.5: 5, None: 6, b"c": 7, -(1 << 40): 8, "s": {1, 2}}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value))
    assert torchfile.read(tmp_path / "x.pkl") == value


def test_files_of_torch_as_before_its_zips(tmp_path: Path) -> None:
    """They are read from the file as it goes; a false number of values is noticed before any is read."""
    tensors = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.float16)}
    file = tmp_path / "old.pt"
    torch.save(tensors, file, _use_new_zipfile_serialization=False)
    again = torchfile.read(file)
    assert again.keys() == tensors.keys() and all(torch.equal(again[k], t) for k, t in tensors.items())
    raw = file.read_bytes()
    for damaged, words in ((raw + b"\0", "1 bytes follow its end"), (raw[:-1], "cut off")):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=words):
            torchfile.read(file)


def test_a_header_of_safetensors_is_bounded(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"{i:020}": entry for i in range(300_000)}).encode()
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    memory, seconds, message = cost(file)
    assert f"{budgets.SAFETENSORS_HEADER_BYTES >> 20} MiB" in message and memory < 300 and seconds < 2.0


# --- files that are no weights ---------------------------------------------------------------------------------------


def script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123456\n"
STRANGE = {
    "script.pt": (script, "TorchScript"),
    "page.pt": (lambda: b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>", "web page"),
    "page2.pkl": (lambda: b"\xef\xbb\xbf\n  <html lang=en>", "web page"),
    "error.pth": (lambda: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web page"),
    "answer.pt": (lambda: b'{"message": "Not Found"}', "JSON"),
    "pointer.pt": (lambda: POINTER, "git lfs pull"),
    "packed.pt": (lambda: gzip.compress(b"\x80\x02}."), "gunzip"),
    "model.tar": (lambda: b"x" * 257 + b"ustar\0" + b"0" * 400, "tar archive"),
    "empty.pt": (lambda: b"", "empty"),
    "model.h5": (lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "HDF5"),
    "array.pt": (lambda: b"\x93NUMPY\x01\0" + b"\0" * 100, "NumPy"),
    "other.pt": (lambda: b"what is this", "neither a file of torch"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_files_that_are_no_weights(name: str, tmp_path: Path, capsys: Any) -> None:
    """One sentence says what the file is."""
    content, words = STRANGE[name]
    file = tmp_path / name
    file.write_bytes(content())
    assert main(["import", str(file), "--out", str(tmp_path / "ours.safetensors")]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {file}: ") and words in err and len(err.splitlines()) == 1, err
    assert [path.name for path in tmp_path.iterdir()] == [name]
