"""Pickles written by hand, opcode by opcode, and how a file is refused."""

import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganzoo.errors import CheckpointError
from ganzoo.foreign import torchfile
from reference import GOLDEN

PERSISTENT = frozenset({"torch_utils.persistence _reconstruct_persistent_obj"})
GENUINE = [*sorted(GOLDEN.glob("12_*.pkl")), *sorted(GOLDEN.glob("04_*.pt"))]


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    """No attack of this file leaves its mark."""
    yield
    left = [*Path("/tmp").glob("gold_canary_*"), *Path("/tmp").glob("gold_module_src_*")]
    assert left == []


def text(word: str) -> bytes:
    raw = word.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(n: int) -> bytes:
    return b"\x8a" + bytes([(n.bit_length() + 8) // 8]) + n.to_bytes((n.bit_length() + 8) // 8, "little", signed=True)


def name(full: str) -> bytes:
    module, _, qualname = full.partition(" ")
    return b"c" + module.encode() + b"\n" + qualname.encode() + b"\n"


def group(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def call(full: str, *args: bytes) -> bytes:
    return name(full) + group(*args) + b"R"


def pickle(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def storage(kind: str = "torch FloatStorage", key: bytes = text("0"), numel: bytes = number(4)) -> bytes:
    return group(text("storage"), name(kind), key, text("cpu"), numel) + b"Q"


def tensor(size: list[int], stride: list[int], offset: int = 0, data: bytes | None = None) -> bytes:
    sizes, strides = group(*map(number, size)), group(*map(number, stride))
    ordered = call("collections OrderedDict")
    return call("torch._utils _rebuild_tensor_v2", data or storage(), number(offset), sizes, strides, b"\x89", ordered)


def archive(data: bytes, entries: dict[str, bytes] | None = None, how: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as file:
        file.writestr("a/data.pkl", data)
        for key, value in ({"a/data/0": bytes(16)} if entries is None else entries).items():
            file.writestr(key, value)
    return out.getvalue()


def stream(value: bytes, keys: bytes, tail: bytes, system: bytes | None = None) -> bytes:
    about = pickle(b"}", text("little_endian"), b"\x88s") if system is None else system
    magic, protocol = pickle(number(torchfile.TORCH_MAGIC)), pickle(number(torchfile.TORCH_PROTOCOL))
    return magic + protocol + about + pickle(value) + pickle(keys) + tail


FOUR = struct.pack("<q4f", 4, 1, 2, 3, 4)
KEYS = b"]" + text("0") + b"a"
FILE = stream(storage(), KEYS, FOUR)
BYTES = b"B" + struct.pack("<I", len(FILE)) + FILE
NESTED = call("torch.storage _load_from_bytes", BYTES)
LAUGHS = (
    b"]" + text("ha") + b"a" + b"".join(b"\x94(" + b"h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"l" for i in range(60))
)


def numpy_array(dtype: str, shape: list[int], data: bytes) -> bytes:
    kind = call("numpy dtype", text(dtype), b"\x89", b"\x88")
    state = group(number(1), group(*map(number, shape)), kind, b"\x89", b"B" + struct.pack("<I", len(data)) + data)
    made = call("numpy.core.multiarray _reconstruct", name("numpy ndarray"), group(number(0)), text("b"))
    return made + state + b"b"


def refused(path: Path, allowed: frozenset[str] = frozenset()) -> str:
    """The one sentence that a file is refused with."""
    with pytest.raises(CheckpointError) as caught:
        torchfile.read(path, allowed)
    sentence = str(caught.value)
    assert sentence.startswith(str(path)) and len(sentence.splitlines()) == 1 and sentence.endswith("."), sentence
    assert len(sentence) < len(str(path)) + 400
    return sentence
