"""Images in tar shards, as WebDataset packs them: key.png, with key.cls or key.json for labels."""

import json
import math
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import IO, Any, NamedTuple
from weakref import finalize

from ganzoo.errors import DataError
from ganzoo.interfaces import Finding
from ganzoo.io.files import expand_user
from ganzoo.io.image_files import HEAD, BadImage, reason
from ganzoo_data.checks import Progress, in_threads
from ganzoo_data.images import MAX_BYTES, ImageSet
from ganzoo_data.labels import FILE, LabelError, Table
from ganzoo_data.listing import is_image, key, samples, stem, tidy, visible

SUFFIX = ".tar"
COMPRESSED = (".tgz", ".tbz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
MAGIC = {b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d", b"\xfd7zXZ": "xz -d", b"\x28\xb5\x2f\xfd": "zstd -d"}
LABELS = (".cls", ".json")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MAX_SHARDS = 100_000  # shards that a pattern may name
OPEN = 128  # file handles kept open
BLOCK = 512  # bytes of a block of tar
HEADER_BYTES = 16 << 20  # bytes of a pax header or of a long name
PADDING = 64 << 20  # bytes of zeros after the closing block, of which writers add some 10 kB
BINARY = getattr(os, "O_BINARY", 0)  # Windows would read text


class Member(NamedTuple):
    """Position of a file: shard, first byte, and size in bytes; -1 for a member that is not stored plainly."""

    shard: int
    offset: int
    size: int


class Tar(ImageSet, name="tar"):
    """Images in uncompressed .tar shards, as WebDataset packs them, sorted by name.

    The path is a .tar, a folder of them, or a pattern such as shards/train-{000..009}.tar. Labels come from
    dataset.json, else from members beside an image: key.cls with a class number, or key.json with a class number, a
    vector, or an object that has one of them as "label". A sample is one image: of several with one key, in one
    shard, key.jpg is taken, else key.jpeg, key.png, key.webp, or the first by name, and further ones, as key.seg.png,
    are left out. Where none has the bare key, as a.1.png and a.2.png, each is an image of its own.

    Shards are indexed once and then read by random access instead of as a stream. So the order of training is a
    function of seed and position alone, independent of the division into shards, and resuming is exact.
    """

    @classmethod
    def claims(cls, source: str) -> bool:
        """Claim a path that ends in .tar, also compressed, or a folder of .tar files without images.

        A compressed tar is claimed for the sake of its error, which says to unpack it.
        """
        if source.lower().endswith((SUFFIX, *COMPRESSED)):
            return True
        try:
            names = [e.name for e in os.scandir(expand_user(source)) if visible(e.name)] if source else []
        except OSError:
            return False
        return any(is_shard(name) for name in names) and not any(is_image(name) for name in names)

    def _list(self) -> Iterable[str]:
        self.shards = find(self.path)
        self._handles = Handles(self.shards)
        self._members: dict[str, Member] = {}
        self._comment = ""  # comment of the first shard's pax header
        for members in in_threads(self._index, range(len(self.shards))):
            for name, member in members.items():
                first = self._members.setdefault(name, member)
                if first is not member and matters(name):
                    a, b = self.shards[first.shard], self.shards[member.shard]
                    raise DataError(f"{a} and {b.name} both hold {name}: give every image a key of its own.")
        return self._members

    def _is_known(self, name: str) -> bool:
        return name == FILE or name.lower().endswith(LABELS)

    def _choose(self, files: Iterable[str]) -> list[str]:
        """Take one image of each sample. Raises DataError for a key whose images lie in several shards."""
        names = super()._choose(files)
        further: list[str] = []
        kind = ""
        self._split: list[tuple[str, int]] = []  # keys of samples without a bare name, with their numbers of images
        for sample in samples(names):
            if sample.taken is None:
                self._split.append((key(sample.others[0]), len(sample.others)))
                continue
            if len({self._members[name].shard for name in (sample.taken, *sample.others)}) > 1:
                fault = f"holds two images of the key {key(sample.taken)}, {sample.taken} and {sample.others[0]}"
                raise DataError(fault, place=str(self.path), cure="keep one of them")
            further += sample.others
            kind = kind or f"further images of a sample, as {sample.others[0]} beside {sample.taken}"
        if further:
            self.left_out = Counter(self.left_out) + Counter({kind: len(further)})
        dropped = set(further)
        return [name for name in names if name not in dropped]

    def _head(self, name: str, count: int = HEAD) -> bytes:
        shard, offset, size = self._members[name]
        try:
            return self._handles.read(shard, offset, min(size, count)) if size > 0 else b""
        except OSError:
            return b""

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
        """The tar, or the folder of the shards."""
        return self.path if self.shards == [self.path] else self.shards[0].parent

    @property
    def title(self) -> str:
        """Stem of the path, without the range of a pattern."""
        whole = self.path.resolve()
        return RANGE.sub("", whole.stem).strip("-_. ") or whole.parent.name

    def check(self, progress: Progress | None = None) -> list[Finding]:
        """Check the images; a shard without images is odd, and so is a sample of several images, said once."""
        used = {self._members[name].shard for name in self.names}
        empty = [p.name for i, p in enumerate(self.shards) if i not in used]
        odd = [Finding(name, "holds no images", fatal=False) for name in empty]
        if self._split:
            (first, count), more = self._split[0], len(self._split) - 1
            others = f", as have {more:,} other keys" if more else ""
            odd.append(Finding(first, f"has {count} images{others}, each of which is one of its own", fatal=False))
        return super().check(progress) + odd

    # --- labels ------------------------------------------------------------------------------------------------------

    def _table(self) -> tuple[Table | None, str]:
        """Read dataset.json if it exists, else the label members beside the images."""
        if self._has(FILE):
            return super()._table()
        bases = ((name, base) for name in self.names for base in dict.fromkeys((stem(name), key(name))))
        members = [(name, base + end) for name, base in bases for end in LABELS if self._has(base + end)]
        labels = in_threads(lambda i: self._label(members[i][1]), range(len(members)))
        table: Table = {}
        for (name, _), label in zip(members, labels):
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
            place, fault = f"{self.root}/{self._shown(name)}", f"is no label ({reason(err)})"
            raise LabelError(fault, place=place, cures=["write a class number"]) from None
        return label.get("label") if isinstance(label, Mapping) else label


# --- shards ----------------------------------------------------------------------------------------------------------


def is_shard(name: str) -> bool:
    """Whether a name has the suffix of a tar, compressed or not."""
    return name.lower().endswith((SUFFIX, *COMPRESSED))


def expand(pattern: str) -> Iterator[str]:
    """Expand 'train-{000..002}.tar' to train-000.tar, train-001.tar, train-002.tar; several ranges may occur."""
    match = RANGE.search(pattern)
    if not match:
        yield pattern
        return
    first, last = match.groups()
    for number in range(int(first), int(last) + 1):
        for rest in expand(pattern[match.end() :]):
            yield f"{pattern[: match.start()]}{number:0{len(first)}}{rest}"


def find(path: Path) -> list[Path]:
    """Shards that a path names, in their order. Raises DataError if one is missing."""
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
        total = math.prod(max(0, int(b) - int(a) + 1) for a, b in RANGE.findall(str(path)))
        if not 0 < total <= MAX_SHARDS:
            raise DataError(f"{path} names {total:,} shards: write the first and the last number, as {{000..009}}.")
        shards = [Path(name) for name in expand(str(path))]
    missing = [p for p in shards if not p.is_file()]
    if missing:
        problem = "is no file" if missing[0].exists() else "does not exist"
        others = f", nor do {len(missing) - 1} others of {len(shards)}" if len(missing) > 1 else ""
        raise DataError(f"{problem}{others}", place=str(missing[0]), cure="give a .tar that holds the images")
    return shards


# --- members ---------------------------------------------------------------------------------------------------------


def matters(name: str) -> bool:
    """Whether a member is an image, may be one without a suffix, or may be a label."""
    return visible(name) and (is_image(name) or name.lower().endswith(LABELS) or stem(name) == name)


def index(path: Path, shard: int) -> tuple[dict[str, Member], str]:
    """Index a tar without unpacking it: ({name: position}, comment of the pax header). Raises DataError, OSError.

    tarfile treats a missing end and a damaged header as the end, so the end is checked separately.
    """
    with path.open("rb") as file:
        start = file.read(6)
        cure = next((cure for magic, cure in MAGIC.items() if start.startswith(magic)), None)
        if cure:
            raise DataError(f"{path} is compressed, so it cannot be read at random: unpack it first, with {cure}.")
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            with tarfile.open(fileobj=_Headers(file), mode="r:") as tar:  # type: ignore[call-overload]
                members = _members(tar, path, shard, size)
                end, comment = tar.offset, tar.pax_headers.get("comment", "")
        except (tarfile.TarError, EOFError, ValueError, MemoryError, OverflowError, RecursionError) as err:
            raise DataError(f"{path} is no tar file or is damaged ({reason(err)}): pack it again.") from err
        _refuse_bad_end(file, end, path)
    return members, comment


def _members(tar: tarfile.TarFile, path: Path, shard: int, size: int) -> dict[str, Member]:
    members: dict[str, Member] = {}
    while (info := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all, a kilobyte each
        if info.isdir() or info.name.endswith("\\"):
            continue
        if info.size < 0 or info.offset_data + info.size > size:
            raise DataError(f"{path} is cut off or damaged at {info.name}: copy or pack it again.")
        name = tidy(info.name)
        if name in members and matters(name):
            raise DataError(f"{path} holds {name} twice: pack it again.")
        plain = info.isreg() and not info.issparse()
        members[name] = Member(shard, info.offset_data, info.size if plain else -1)
    return members


def _refuse_bad_end(file: IO[bytes], end: int, path: Path) -> None:
    """Raise DataError unless a tar has a closing block of zeros at `end`, and only zeros after it."""
    file.seek(end)
    block = file.read(BLOCK)
    if len(block) < BLOCK:
        raise DataError(f"{path} is cut off, since its closing blocks are missing: copy or pack it again.")
    if block.strip(b"\0"):
        raise DataError(f"{path} is damaged at byte {end:,}: copy or pack it again.")
    zeros = bytes(1 << 20)
    for _ in range(PADDING >> 20):
        rest = file.read(len(zeros))
        if rest != zeros[: len(rest)]:
            raise DataError(f"{path} goes on after its end, as tars do that were joined: give them one by one.")
        if len(rest) < len(zeros):
            return
    raise DataError(f"{path} has more than {PADDING >> 20} MiB of zeros after its end: copy or pack it again.")


class _Headers:
    """A tar for tarfile, which reads the headers alone, and a long name or a pax header as large as it claims to be."""

    def __init__(self, file: IO[bytes]) -> None:
        self.tell, self.seek, self._read = file.tell, file.seek, file.read

    def read(self, size: int) -> bytes:
        """Read so many bytes. Raises ValueError for more than HEADER_BYTES."""
        if size > HEADER_BYTES:
            raise ValueError(f"a header of more than {HEADER_BYTES >> 20} MiB")
        return self._read(size)


class Handles:
    """Random access to many files, from any thread and after a fork; the files used last stay open."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._open: dict[int, int] = {}  # handle by index of the file, the one used last at the end
        self._lock = Lock()
        finalize(self, _close, self._open)

    def read(self, index: int, offset: int, size: int) -> bytes:
        """Read bytes [offset, offset + size) of a file, fewer if it ends before. Raises OSError."""
        with self._lock:
            handle = self._open.pop(index, None)
            handle = os.open(self.paths[index], os.O_RDONLY | BINARY) if handle is None else handle
            self._open[index] = handle
            if len(self._open) > OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            if not hasattr(os, "pread"):  # as on Windows: the file's one position stays under the lock
                os.lseek(handle, offset, os.SEEK_SET)
                return os.read(handle, size)
            duplicate = os.dup(handle)  # another thread may close the handle meanwhile
        try:
            return os.pread(duplicate, size, offset)
        finally:
            os.close(duplicate)


def _close(handles: dict[int, int]) -> None:
    for handle in handles.values():
        os.close(handle)
