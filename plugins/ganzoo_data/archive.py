"""Images in a zip file."""

import lzma
import os
import zlib
from collections import Counter
from collections.abc import Iterable
from threading import Lock
from zipfile import BadZipFile, ZipFile, ZipInfo

from ganzoo.errors import DataError
from ganzoo.io.image_files import HEAD, BadImage, reason
from ganzoo_data.images import MAX_BYTES, ImageSet
from ganzoo_data.labels import FILE
from ganzoo_data.listing import tidy


class Zip(ImageSet, name="zip"):
    """Images in a .zip, sorted by name, with labels from dataset.json as StyleGAN's tools write it."""

    _zip: ZipFile
    _members: dict[str, ZipInfo]

    @classmethod
    def claims(cls, source: str) -> bool:
        """Claim a path that ends in .zip."""
        return source.lower().endswith(".zip")

    def _list(self) -> Iterable[str]:
        if not self.path.is_file():
            problem = "is no file" if self.path.exists() else "does not exist"
            raise DataError(problem, place=str(self.path), cure="give a .zip that holds the images")
        self._lock = Lock()
        self._open()
        return self._members

    def _open(self) -> None:
        self._pid = os.getpid()
        try:
            self._zip = ZipFile(self.path)
        except (BadZipFile, NotImplementedError, ValueError) as err:
            raise DataError(f"{self.path} is no zip file or is damaged ({reason(err)}): pack it again.") from err
        except OSError as err:
            raise DataError(f"{self.path} cannot be read ({err.strerror or reason(err)}): make it readable.") from err
        self._members = {}
        self._replaced = 0  # members that a later one of the same name replaces, as unzip does it
        for info in self._zip.infolist():
            written = _name_in_utf8(info)
            if info.is_dir() or written.endswith("\\"):
                continue
            name = tidy(written)
            if name in self._members and self._members[name].filename != info.filename:
                fault = f"holds {name} twice, as {self._members[name].filename} and {info.filename}"
                raise DataError(fault, place=str(self.path), cure="pack it again")
            self._replaced += name in self._members
            self._members[name] = info

    def _choose(self, files: Iterable[str]) -> list[str]:
        names = super()._choose(files)
        if self._replaced:
            replaced = Counter({"replaced by later ones of the same name": self._replaced})
            self.left_out = Counter(self.left_out) + replaced
        return names

    def _head(self, name: str, count: int = HEAD) -> bytes:
        try:
            with self._lock, self._zip.open(self._members[name]) as member:
                return member.read(count)
        except (RuntimeError, BadZipFile, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError):
            return b""

    def _has(self, name: str) -> bool:
        return name in self._members

    def _read(self, name: str) -> bytes:
        info = self._members[name]
        if info.file_size > MAX_BYTES:  # zipfile never unpacks more than this declared size
            cure = "shorten it" if name == FILE else "scale the image down first"
            raise BadImage(f"unpacks to more than {MAX_BYTES >> 20} MiB: {cure}")
        try:
            with self._lock:  # of the one file handle; decoding, which takes longer, runs outside it
                if self._pid != os.getpid():  # a forked process shares the file position of its parent's handle
                    self._open()
                return self._zip.read(self._members[name])
        except RuntimeError as err:
            raise BadImage(f"cannot be unpacked ({reason(err)}): pack it without a password") from err
        except (BadZipFile, NotImplementedError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as err:
            raise BadImage(f"cannot be unpacked ({reason(err)}): pack the zip again") from err


def _name_in_utf8(info: ZipInfo) -> str:
    """Name of a member; macOS writes UTF-8 without the flag that says so, and zipfile takes that for code page 437."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename
