"""A zip of images."""

import lzma
import os
import zlib
from collections.abc import Iterable
from threading import Lock
from zipfile import BadZipFile, ZipFile, ZipInfo

from ganzoo.errors import DataError
from ganzoo_data.decode import BadImage, reason
from ganzoo_data.images import MAX_BYTES, ImageSet


class Zip(ImageSet, name="zip"):
    """Images in a .zip, in the order of their names; labels come from dataset.json, as StyleGAN's tools write it."""

    _zip: ZipFile
    _members: dict[str, ZipInfo]

    @classmethod
    def claims(cls, source: str) -> bool:
        """A path that ends in .zip."""
        return source.lower().endswith(".zip")

    def _list(self) -> Iterable[str]:
        cure = "give a .zip that holds the images"
        if not self.path.is_file():
            problem = "is no file" if self.path.exists() else "does not exist"
            raise DataError(f"{self.path} {problem}: {cure}.")
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
        self._members = {info.filename: info for info in self._zip.infolist() if not info.is_dir()}

    def _has(self, name: str) -> bool:
        return name in self._members

    def _read(self, name: str) -> bytes:
        info = self._members[name]
        if info.file_size > MAX_BYTES:  # zipfile unpacks no more than this claim
            raise BadImage(f"unpacks to more than {MAX_BYTES >> 20} MiB: scale the image down first")
        try:
            with self._lock:  # one handle; decoding, which takes longer, runs outside the lock
                if self._pid != os.getpid():  # a forked process shares the file position of its parent's handle
                    self._open()
                return self._zip.read(self._members[name])
        except RuntimeError as err:
            raise BadImage(f"cannot be unpacked ({reason(err)}): pack it without a password") from err
        except (BadZipFile, NotImplementedError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as err:
            raise BadImage(f"cannot be unpacked ({reason(err)}): pack the zip again") from err
