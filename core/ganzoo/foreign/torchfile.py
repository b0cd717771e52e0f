"""Weight files of other projects: torch's zip and older files, bare pickles, safetensors.

`read` executes nothing in a file and trusts no size that it declares (`ganzoo.foreign.pickles`,
`ganzoo.foreign.rebuild`). Every fault of a file becomes a CheckpointError.
"""

import io
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ganzoo.errors import CheckpointError
from ganzoo.foreign import pickles
from ganzoo.foreign.pickles import Object, Pickled, Reference, quoted, refuse
from ganzoo.foreign.rebuild import ALLOWED, STORAGES, Rebuilder, Stored, stored
from ganzoo.io import budgets
from ganzoo.io.tensors import open_tensors

TORCH_MAGIC, TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read(path: Path, allowed: frozenset[str] = frozenset()) -> Any:
    """Read a file as dictionaries, lists, numbers, text and tensors. Raises CheckpointError.

    Args:
        path: the file
        allowed: further names that a pickle may call; they are returned as inert `ganzoo.foreign.pickles.Object`s
    """
    try:
        return _read(path, allowed)
    except CheckpointError as err:
        raise err.at(f"{path}:") from None
    except OSError as err:
        raise CheckpointError(f"{path} cannot be read: {err.strerror or quoted(err)}.") from None
    except MemoryError:
        raise CheckpointError(f"{path}: it does not fit into memory.") from None
    except Exception as err:  # a hostile file may provoke any exception
        raise CheckpointError(f"{path}: it is cut off or damaged ({type(err).__name__}: {quoted(err)}).") from None


def _read(path: Path, allowed: frozenset[str]) -> Any:
    if not path.is_file():
        refuse("no such file." if not path.exists() else "it is no file.")
    with path.open("rb") as file:
        start = file.read(512)
        if start[:2] == b"PK":
            return _zip(file, path.stat().st_size, allowed)
        if start[:1] == b"\x80":
            file.seek(0)
            return _stream(file, path.stat().st_size, allowed)
    if start[8:9] == b"{":
        return _safetensors(path, int.from_bytes(start[:8], "little"))
    for pattern, sentence in OTHERS:
        if re.match(pattern, start, re.IGNORECASE):
            refuse(sentence)
    return refuse(
        "it is neither a file of torch (.pt, .pth), nor a pickle (.pkl), nor a safetensors file: nothing else can be "
        "imported."
    )


# beginnings of files that are often met under the name of a weights file, and what to do
OTHERS = (
    (rb"\Z", "it is empty: download it again."),
    (
        rb"version https://git-lfs",
        "it is a pointer of Git LFS, which stands for the weights: run 'git lfs pull' in its repository.",
    ),
    (
        rb"(\xef\xbb\xbf)?\s*(<!doctype|<html|<head|<\?xml|<!--|<script)",
        "it is a web page and no weights, as a download that needs a login or a confirmation leaves it: download it in "
        "a browser, or by the address of the file itself.",
    ),
    (rb"(\xef\xbb\xbf)?\s*[{\[]", "it is a text in JSON and no weights: the weights are in another file."),
    (rb"\x1f\x8b", "it is compressed by gzip: unpack it first (gunzip, or tar xzf for a .tar.gz)."),
    (rb"BZh[1-9]", "it is compressed by bzip2: unpack it first (bunzip2)."),
    (rb"\xfd7zXZ\x00", "it is compressed by xz: unpack it first (unxz)."),
    (rb"\x28\xb5\x2f\xfd", "it is compressed by Zstandard: unpack it first (unzstd)."),
    (rb"7z\xbc\xaf\x27\x1c|Rar!", "it is an archive (7z or RAR): unpack it first, and import the file inside."),
    (rb"(?s).{257}ustar", "it is a tar archive: unpack it first (tar xf), and import the file inside."),
    (rb"\x89HDF\r\n", "it is an HDF5 file, of Keras or TensorFlow, and no file of PyTorch: convert it there first."),
    (rb"\x93NUMPY", "it is a NumPy array and no checkpoint of a network."),
    (
        rb"\x08[\x01-\x0c]\x12",
        "it is an ONNX model, which is a program and no checkpoint: import the .pt it came from.",
    ),
)


def _safetensors(path: Path, header: int) -> dict[str, Tensor]:
    if header > budgets.SAFETENSORS_HEADER_BYTES:
        refuse(f"its safetensors header is larger than {budgets.SAFETENSORS_HEADER_BYTES >> 20} MiB, the limit.")
    try:
        with open_tensors(path) as file:
            if "ganzoo" in (file.metadata() or {}):
                refuse("it is a snapshot of ganzoo already: use it as it is.")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, ValueError) as err:
        return refuse(f"it is no whole safetensors file ({quoted(err)}).")


# --- storages --------------------------------------------------------------------------------------------------------


class _Storages:
    """Data of storages by key; each key has one type and one size."""

    def __init__(self) -> None:
        self.loaded: dict[str, tuple[Stored, Tensor]] = {}

    def __call__(self, storage: Stored) -> Tensor:
        """Return the values of a storage. Raises CheckpointError if they do not fit its description."""
        key = storage.key
        if key not in self.loaded:
            data = self.data(storage)
            if len(data) != storage.numel * storage.dtype.itemsize:
                refuse(f"it is damaged: storage {quoted(key)} has {len(data):,} bytes, not those of its tensors.")
            self.loaded[key] = storage, _values(data, storage.dtype)
        described, values = self.loaded[key]
        if described != storage:
            refuse(f"it is damaged: its tensors disagree about storage {quoted(key)}.")
        return values

    def data(self, storage: Stored) -> bytes:
        """Read the bytes of a storage."""
        raise NotImplementedError


def _values(data: bytes, dtype: torch.dtype) -> Tensor:
    if not data:
        return torch.empty(0, dtype=dtype)
    if dtype == torch.bool:  # a bool is 0 or 1, a byte need not be
        return torch.frombuffer(bytearray(data), dtype=torch.uint8) != 0
    return torch.frombuffer(bytearray(data), dtype=dtype)


def _no_nesting(data: bytes) -> Tensor:
    return refuse("it holds a file inside a file inside a file, which torch does not write.")


# --- torch's zip, since 1.6 ------------------------------------------------------------------------------------------


class _ZipStorages(_Storages):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__()
        self.archive, self.root, self.names = archive, root, set(archive.namelist())

    def data(self, storage: Stored) -> bytes:
        name = f"{self.root}data/{storage.key}"
        if name not in self.names:
            refuse(f"it is damaged: it lacks the storage {quoted(storage.key)}.")
        return self.archive.read(name)


def _zip(file: IO[bytes], size: int, allowed: frozenset[str]) -> Any:
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            if any(PurePosixPath(name).name == "constants.pkl" for name in archive.namelist()):
                refuse(
                    "it is a TorchScript archive (torch.jit.save), which is a program and no weights: import the .pt "
                    "or .pth that it was made from."
                )
            root = _root(archive, size)
            order = f"{root}byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                refuse("it was written on a big-endian machine: save it again on a usual one.")
            pickled = pickles.load(io.BytesIO(archive.read(f"{root}data.pkl")), ALLOWED | allowed)
            return Rebuilder(_ZipStorages(archive, root), _storage_file, allowed)(pickled.value)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as err:
        return refuse(f"it is no whole file of torch ({quoted(err)}).")


def _root(archive: zipfile.ZipFile, size: int) -> str:
    """The folder inside torch's zip, which is never compressed. Refuses an archive that torch does not write."""
    entries = archive.infolist()
    if len(entries) > budgets.TORCH_ENTRIES or sum(e.file_size for e in entries) > size:
        refuse("it declares more contents than its size can hold: a zip bomb, or damaged.")
    for e in entries:
        if e.compress_type != zipfile.ZIP_STORED or e.file_size != e.compress_size or e.flag_bits & 1:
            refuse(f"it holds the compressed or encrypted entry {quoted(e.filename)}, which torch does not write.")
        if ".." in PurePosixPath(e.filename).parts or e.filename.startswith("/") or "\\" in e.filename:
            refuse(f"it holds the entry {quoted(e.filename)}, whose path leads out of it.")
    names = [e.filename for e in entries]
    pickled = [e for e in entries if PurePosixPath(e.filename).name == "data.pkl" and e.filename.count("/") <= 1]
    if len(set(names)) != len(names) or len(pickled) != 1 or not pickled[0].file_size:
        refuse("it is a zip, but none that torch has written.")
    if pickled[0].file_size > budgets.TORCH_PICKLE_BYTES:
        refuse(f"its pickle is larger than {budgets.TORCH_PICKLE_BYTES >> 20} MiB, the limit.")
    return pickled[0].filename.removesuffix("data.pkl")


# --- a bare pickle; torch's file before 1.6, which is five pickles and data ------------------------------------------


class _StreamStorages(_Storages):
    """Storages after the pickles: for each key its number of values, then the values."""

    def __init__(self, stream: IO[bytes], size: int, keys: Any, references: list[Reference]) -> None:
        super().__init__()
        storages = {storage.key: storage for storage in map(stored, references)}
        if not isinstance(keys, list) or any(not isinstance(key, str) or key not in storages for key in keys):
            refuse("it is damaged: its list of storages names what no tensor uses.")
        self.parts: dict[str, bytes] = {}
        for key in keys:
            (numel,) = struct.unpack("<q", stream.read(8))
            length = numel * storages[key].dtype.itemsize
            if not 0 <= length <= size - stream.tell() or key in self.parts:
                refuse(f"it is cut off or damaged: storage {quoted(key)} does not end inside it.")
            if numel != storages[key].numel:
                refuse(f"it is damaged: storage {quoted(key)} has {numel:,} values, not those of its tensors.")
            self.parts[key] = stream.read(length)

    def data(self, storage: Stored) -> bytes:
        if storage.key not in self.parts:
            refuse(f"it is damaged: it lacks the storage {quoted(storage.key)}.")
        return self.parts[storage.key]


class _Nested:
    """Files of single storages inside a pickle, each read once."""

    def __init__(self) -> None:
        self.read: dict[int, tuple[bytes, Tensor]] = {}  # by the identity of the bytes, which are kept alive

    def __call__(self, data: bytes) -> Tensor:
        if id(data) not in self.read:
            self.read[id(data)] = data, _storage_file(data)
        return self.read[id(data)][1]


def _storage_file(data: bytes) -> Tensor:
    """Read a file that holds a single storage. Refuses any other content."""
    try:
        storage = _stream(io.BytesIO(data), len(data), frozenset(), frozenset(STORAGES))
    except CheckpointError as err:
        raise err.at("in the file of a storage inside it:") from None
    return storage if isinstance(storage, Tensor) else refuse("it holds as a storage what is none.")


def _stream(stream: IO[bytes], size: int, allowed: frozenset[str], names: frozenset[str] | None = None) -> Any:
    """Read a bare pickle or torch's older file. With `names`, it must be torch's and may contain only these."""
    first = pickles.load(stream, ALLOWED | allowed if names is None else names)
    if first.value != TORCH_MAGIC:
        if names is not None or first.references:
            refuse("it is no file of torch.")
        return _complete(stream, size, Rebuilder(_none, _Nested(), allowed), first)
    protocol, system, content, keys = (
        pickles.load(stream, ALLOWED | allowed if names is None else names) for _ in range(4)
    )
    writer = Rebuilder(_none, _no_nesting, frozenset())(system.value)
    if protocol.value != TORCH_PROTOCOL or not isinstance(writer, dict):
        refuse("it is a file of torch of an unknown version.")
    if writer.get("little_endian") is not True:
        refuse("it was written on a big-endian machine: save it again on a usual one.")
    storages = _StreamStorages(stream, size, keys.value, content.references)
    nested = _no_nesting if names is not None else _Nested()
    return _complete(stream, size, Rebuilder(storages, nested, allowed), content)


def _complete(stream: IO[bytes], size: int, make: Rebuilder, pickled: Pickled) -> Any:
    """Rebuild a graph. Refuses bytes after its end."""
    if stream.tell() != size:
        refuse(f"it is damaged: {size - stream.tell():,} bytes follow its end.")
    return make(pickled.value)


def _none(storage: Stored) -> Tensor:
    return refuse("it refers to data beside its pickle, and there is none.")


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) of all tensors in a result of `read`; a name is the path of keys, joined by dots."""
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Tensor):
        yield name, value
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    elif isinstance(value, Object):
        parts = enumerate([value.args, value.state, value.pairs, value.added])
    for key, part in parts:
        yield from tensors(part, f"{name}.{key}" if name else str(key))


__all__ = ["Object", "read", "tensors"]
