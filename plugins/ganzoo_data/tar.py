"""Tar shards of images, as WebDataset packs them: members key.png, with key.cls or key.json for labels."""

import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import IO, Any, NamedTuple
from weakref import finalize

from ganzoo.errors import DataError
from ganzoo.interfaces import Finding
from ganzoo_data.decode import BadImage, reason
from ganzoo_data.images import MAX_BYTES, ImageSet, Progress, in_threads, is_image, visible
from ganzoo_data.labels import FILE, Table

SUFFIX = ".tar"
COMPRESSED = (".tgz", ".tbz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
MAGIC = {b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d", b"\xfd7zXZ": "xz -d", b"\x28\xb5\x2f\xfd": "zstd -d"}
LABELS = (".cls", ".json")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MAX_SHARDS = 100_000  # that a pattern may name
OPEN = 128  # shards whose handles are kept
BLOCK = 512


class Member(NamedTuple):
    """Where a file lies: in which shard, from which byte on. Of -1 bytes is what tar stores in another way."""

    shard: int
    offset: int
    size: int


class Tar(ImageSet, name="tar"):
    """Images in uncompressed .tar shards, as WebDataset packs them, in the order of their names.

    The path is a .tar, a folder of them, or a pattern as shards/train-{000..009}.tar. Labels come from dataset.json,
    else from members beside an image: key.cls with a class number, or key.json with a class number, a vector, or an
    object that has one of them as "label".

    Shards are indexed once and then read at random, in place of as a stream: so the order of training is a function of
    seed and position alone, does not depend on how images are cut into shards, and resuming is exact, as for a folder.
    """

    @classmethod
    def claims(cls, source: str) -> bool:
        """A path that ends in .tar (or in a compressed one's suffix, to say that it must be unpacked), or a folder
        that holds .tar files and no images beside them.
        """
        if source.lower().endswith((SUFFIX, *COMPRESSED)):
            return True
        try:
            names = [e.name for e in os.scandir(Path(source).expanduser()) if visible(e.name)] if source else []
        except OSError:
            return False
        return any(is_shard(name) for name in names) and not any(is_image(name) for name in names)

    def _list(self) -> Iterable[str]:
        self.shards = find(self.path)
        self._handles = Handles(self.shards)
        self._members: dict[str, Member] = {}
        self._comment = ""  # of the first shard
        for members in in_threads(self._index, range(len(self.shards))):
            for name, member in members.items():
                first = self._members.setdefault(name, member)
                if first is not member and matters(name):
                    a, b = self.shards[first.shard], self.shards[member.shard]
                    raise DataError(f"{a} and {b.name} both hold {name}: give every image a key of its own.")
        refuse_ambiguous(filter(is_image, self._members), self.path)
        return self._members

    def _index(self, shard: int) -> dict[str, Member]:
        path = self.shards[shard]
        try:
            members, comment = index(path, shard)
            self._comment = self._comment if shard else comment
            return members
        except OSError as err:
            raise DataError(f"{path} cannot be read ({err.strerror or reason(err)}): make it readable.") from err

    def _about(self) -> bytes | str:
        return self._comment

    def _has(self, name: str) -> bool:
        return name in self._members

    def _read(self, name: str) -> bytes:
        shard, offset, size = self._members[name]
        if size < 0:
            raise BadImage(
                "is a link or no plain file in the tar: pack what it points to, with tar -h --hard-dereference"
            )
        if size > MAX_BYTES:
            raise BadImage(f"is larger than {MAX_BYTES >> 20} MiB: scale the image down first")
        try:
            data = self._handles.read(shard, offset, size)
        except OSError as err:
            raise BadImage(f"cannot be read ({err.strerror or reason(err)}): make the tar readable") from err
        if len(data) < size:
            raise BadImage("cannot be read, since the tar has become shorter: copy it again")
        return data

    # --- names in sentences ------------------------------------------------------------------------------------------

    def _shown(self, name: str) -> str:
        return name if self.shards == [self.path] else f"{self.shards[self._members[name].shard].name}/{name}"

    @property
    def root(self) -> Path:
        """The only tar, or the folder of the shards."""
        return self.path if self.shards == [self.path] else self.shards[0].parent

    @property
    def title(self) -> str:
        """Stem of the path, without what a pattern counts."""
        whole = self.path.resolve()
        return RANGE.sub("", whole.stem).strip("-_. ") or whole.parent.name

    def check(self, progress: Progress | None = None) -> list[Finding]:
        """As of any images; and a shard without one is odd."""
        used = {self._members[name].shard for name in self.names}
        empty = [p.name for i, p in enumerate(self.shards) if i not in used]
        return super().check(progress) + [Finding(name, "holds no images", fatal=False) for name in empty]

    # --- labels ------------------------------------------------------------------------------------------------------

    def _table(self) -> tuple[Table | None, str]:
        """dataset.json where there is one; else what stands beside the images."""
        if self._has(FILE):
            return super()._table()
        beside = [(n, b) for n in self.names for b in (stem(n) + end for end in LABELS) if self._has(b)]
        found = in_threads(lambda i: self._label(beside[i][1]), range(len(beside)))
        table: Table = {}
        for (name, _), label in zip(beside, found):
            table.setdefault(name, label)  # key.cls comes before key.json
        return table or None, f"{self.path} (key.cls, key.json or {FILE})"

    def _label(self, name: str) -> Any:
        try:
            data = self._read(name)
        except BadImage as err:
            raise self._bad(name, err) from err
        try:
            label = json.loads(data)
        except (ValueError, RecursionError) as err:
            raise DataError(
                f"{self.root}/{self._shown(name)} is no label ({reason(err)}): write a class number, or set labels=0."
            ) from None
        return label.get("label") if isinstance(label, Mapping) else label


# --- which files -----------------------------------------------------------------------------------------------------


def is_shard(name: str) -> bool:
    """Whether a file's name is that of a tar, compressed or not."""
    return name.lower().endswith((SUFFIX, *COMPRESSED))


def expand(pattern: str) -> Iterator[str]:
    """'train-{000..002}.tar' -> train-000.tar, train-001.tar, train-002.tar; also with several ranges."""
    match = RANGE.search(pattern)
    if not match:
        yield pattern
        return
    first, last = match.groups()
    for number in range(int(first), int(last) + 1):
        for rest in expand(pattern[match.end() :]):
            yield f"{pattern[: match.start()]}{number:0{len(first)}}{rest}"


def find(path: Path) -> list[Path]:
    """The shards that a path means, in their order. Raises DataError where there is one too few."""
    if path.is_dir():
        try:
            shards = sorted(p for p in path.iterdir() if is_shard(p.name) and visible(p.name))
        except OSError as err:
            raise DataError(f"{path} cannot be listed ({err.strerror}): make it readable or move it away.") from err
        if not shards:
            raise DataError(f"{path} holds no .tar: give a folder of shards, a .tar, or a pattern with {{000..009}}.")
    elif path.exists() or not RANGE.search(str(path)):
        shards = [path]
    else:
        counts = [max(0, int(b) - int(a) + 1) for a, b in RANGE.findall(str(path))]
        total = 1
        for count in counts:
            total *= count
        if not 0 < total <= MAX_SHARDS:
            raise DataError(f"{path} names {total:,} shards: write the first and the last number, as {{000..009}}.")
        shards = [Path(name) for name in expand(str(path))]
    missing = [p for p in shards if not p.is_file()]
    if missing:
        problem = "is no file" if missing[0].exists() else "does not exist"
        others = f", nor do {len(missing) - 1} others of {len(shards)}" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]} {problem}{others}: give a .tar that holds the images.")
    return shards


# --- what is in them -------------------------------------------------------------------------------------------------


def stem(name: str) -> str:
    """A name without its last suffix."""
    return name[: -len(PurePosixPath(name).suffix)] if PurePosixPath(name).suffix else name


def matters(name: str) -> bool:
    """Whether a member is an image or may be a label."""
    return visible(name) and (is_image(name) or name.lower().endswith(LABELS))


def refuse_ambiguous(names: Iterable[str], path: Path) -> None:
    """Raise DataError where a key has an image, as 1.jpg, and further ones, as 1.png or 1.mask.png.

    A key is a name up to its first dot (WebDataset's rule). Names of which none is the bare key, as a.1.png and
    a.2.png, are images of their own.
    """
    keys: dict[str, list[str]] = {}
    for name in names:
        folder, slash, file = name.rpartition("/")
        keys.setdefault(folder + slash + file.partition(".")[0], []).append(name)
    for key, images in keys.items():
        if len(images) > 1 and any(stem(name) == key for name in images):
            first, second = sorted(images, key=lambda name: (stem(name) != key, name))[:2]
            raise DataError(f"{path} holds two images of the key {key}, {first} and {second}: keep one of them.")


def index(path: Path, shard: int) -> tuple[dict[str, Member], str]:
    """Where each file of a tar lies, and the tar's comment. Nothing is unpacked. Raises DataError, OSError.

    tarfile takes an end that is missing, and a damaged header, for the end: so that is looked at here.
    """
    with path.open("rb") as file:
        start = file.read(6)
        cure = next((cure for magic, cure in MAGIC.items() if start.startswith(magic)), None)
        if cure:
            raise DataError(f"{path} is compressed, so it cannot be read at random: unpack it first, with {cure}.")
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                members = _members(tar, path, shard, size)
                end, comment = tar.offset, tar.pax_headers.get("comment", "")
        except (tarfile.TarError, EOFError, ValueError, MemoryError, OverflowError, RecursionError) as err:
            raise DataError(f"{path} is no tar file or is damaged ({reason(err)}): pack it again.") from err
        _refuse_bad_end(file, end, path)
    return members, comment


def _members(tar: tarfile.TarFile, path: Path, shard: int, size: int) -> dict[str, Member]:
    found: dict[str, Member] = {}
    while (info := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # tarfile would keep them all, a kilobyte each
        if info.isdir():
            continue
        if info.size < 0 or info.offset_data + info.size > size:
            raise DataError(f"{path} is cut off or damaged at {info.name}: copy or pack it again.")
        name = PurePosixPath(info.name).as_posix().lstrip("/")
        if name in found and matters(name):
            raise DataError(f"{path} holds {name} twice: pack it again.")
        plain = info.isreg() and not info.issparse()
        found[name] = Member(shard, info.offset_data, info.size if plain else -1)
    return found


def _refuse_bad_end(file: IO[bytes], end: int, path: Path) -> None:
    """Raise DataError where a tar has no closing block of zeros at `end`, or something follows it."""
    file.seek(end)
    block = file.read(BLOCK)
    if len(block) < BLOCK:
        raise DataError(f"{path} is cut off, since its closing blocks are missing: copy or pack it again.")
    if block.strip(b"\0"):
        raise DataError(f"{path} is damaged at byte {end:,}: copy or pack it again.")
    while rest := file.read(1 << 20):
        if rest.strip(b"\0"):
            raise DataError(f"{path} goes on after its end, as tars do that were joined: give them one by one.")


class Handles:
    """Reads of any part of many files, from any thread and after a fork; the files used last stay open."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._open: dict[int, int] = {}  # the one used last comes last
        self._lock = Lock()
        finalize(self, _close, self._open)

    def read(self, which: int, offset: int, size: int) -> bytes:
        """Bytes [offset, offset + size) of a file, fewer where it ends before. Raises OSError."""
        with self._lock:
            kept = self._open.pop(which, None)
            handle = os.open(self.paths[which], os.O_RDONLY) if kept is None else kept
            self._open[which] = handle
            if len(self._open) > OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            mine = os.dup(handle)  # another thread may close the other meanwhile
        try:
            return os.pread(mine, size, offset)
        finally:
            os.close(mine)


def _close(handles: dict[int, int]) -> None:
    for handle in handles.values():
        os.close(handle)
