"""A folder of images."""

import os
from collections.abc import Iterator
from pathlib import Path

from ganzoo.errors import DataError
from ganzoo_data.archive import Zip
from ganzoo_data.decode import BadImage
from ganzoo_data.images import MAX_BYTES, ImageSet, is_image, visible
from ganzoo_data.tar import Tar


class Folder(ImageSet, name="folder"):
    """Images in a folder and in its sub-folders, in the order of their names; labels come from its dataset.json."""

    @classmethod
    def claims(cls, source: str) -> bool:
        """An existing folder of images, or whatever looks like a path and is of no archive."""
        looks = any(sign in source for sign in {"/", os.sep}) or source.startswith((".", "~"))
        is_folder = source != "" and Path(source).expanduser().is_dir()
        return (is_folder or (looks and not Zip.claims(source))) and not Tar.claims(source)

    def _list(self) -> Iterator[str]:
        if not self.path.is_dir():
            problem = "is a file, not a folder" if self.path.exists() else "does not exist"
            raise DataError(f"{self.path} {problem}: give the folder that holds the images.")
        yield from self._walk(self.path, frozenset())

    def _walk(self, folder: Path, above: frozenset[Path]) -> Iterator[str]:
        real = folder.resolve()
        if real in above:  # a link to a folder that contains it
            return
        try:
            entries = sorted(folder.iterdir())
        except OSError as err:
            raise DataError(f"{folder} cannot be listed ({err.strerror}): make it readable or move it away.") from err
        for entry in entries:
            name = entry.relative_to(self.path).as_posix()
            if entry.is_dir() and visible(name) and not is_image(name):
                yield from self._walk(entry, above | {real})
            else:
                yield name

    def _has(self, name: str) -> bool:
        return (self.path / name).exists()

    def _read(self, name: str) -> bytes:
        path = self.path / name
        if path.is_dir():
            raise BadImage("is a folder, not an image: rename it or move it away")
        if path.exists() and not path.is_file():  # a pipe would block for ever
            raise BadImage("is no regular file: move it away")
        try:
            if path.stat().st_size > MAX_BYTES:
                raise BadImage(f"is larger than {MAX_BYTES >> 20} MiB: scale the image down first")
            return path.read_bytes()
        except OSError as err:
            raise BadImage(f"cannot be read ({err.strerror}): make it readable or move it away") from err
