"""Images in a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from ganzoo.errors import DataError
from ganzoo.io.files import expand_user
from ganzoo.io.image_files import HEAD, BadImage, form_of, refusal, suffix_of
from ganzoo_data.archive import Zip
from ganzoo_data.images import MAX_BYTES, ImageSet
from ganzoo_data.listing import is_image, visible
from ganzoo_data.tar import Tar


class Folder(ImageSet, name="folder"):
    """Images in a folder and its subfolders, sorted by name, with labels from the folder's dataset.json.

    The path may also be that of a single image.
    """

    @classmethod
    def claims(cls, source: str) -> bool:
        """Claim an existing folder of images, and any other path that no archive claims."""
        is_path = any(sign in source for sign in {"/", os.sep}) or source.startswith((".", "~"))
        is_folder = source != "" and expand_user(source).is_dir()
        return (is_folder or (is_path and not Zip.claims(source))) and not Tar.claims(source)

    @property
    def root(self) -> Path:
        """The folder; for a single image, its parent folder."""
        return self.path.parent if self.path.is_file() else self.path

    def _list(self) -> Iterator[str]:
        if self.path.is_file() and self._is_single_image():
            yield self.path.name
            return
        if not self.path.is_dir():
            problem = "holds no images, as it is a file of another kind" if self.path.exists() else "does not exist"
            raise DataError(problem, place=str(self.path), cure="give an image, or the folder that holds the images")
        yield from self._walk(self.path, frozenset())

    def _is_single_image(self) -> bool:
        """Whether the path is that of an image. Raises DataError for one of a format that cannot be read."""
        name = self.path.name
        form = form_of(self._head(name), suffix_of(name))
        if form and not is_image(name) and (bad := refusal(form)):
            raise DataError(bad.fault, place=str(self.path), cure=bad.cure)
        return form != "" or is_image(name)

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
        return (self.root / name).exists()

    def _head(self, name: str) -> bytes:
        path = self.root / name
        try:
            if not path.is_file():  # reading a pipe would block
                return b""
            with path.open("rb") as file:
                return file.read(HEAD)
        except OSError:
            return b""

    def _read(self, name: str) -> bytes:
        path = self.root / name
        if path.is_dir():
            raise BadImage("is a folder, not an image: rename it or move it away")
        if path.exists() and not path.is_file():  # reading a pipe would block
            raise BadImage("is no regular file: move it away")
        try:
            if path.stat().st_size > MAX_BYTES:
                raise BadImage(f"is larger than {MAX_BYTES >> 20} MiB: scale the image down first")
            return path.read_bytes()
        except OSError as err:
            raise BadImage(f"cannot be read ({err.strerror}): make it readable or move it away") from err
