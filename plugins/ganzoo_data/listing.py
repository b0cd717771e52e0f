"""Names in a folder or an archive: which are images, by suffix or by their first bytes, and what the others are."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from ganzoo.io import budgets
from ganzoo.io.image_files import form_of, has_image_suffix, label, refusal, suffix_of
from ganzoo_data.decode import NPY_SUFFIX

UNTIDY = re.compile(r"\\|^/|/$|//|(^|/)\.\.?(/|$)")  # signs of a name that `tidy` changes
HIDDEN = re.compile(r"(^|[/\\])(\.|__MACOSX)")  # signs of a name that may be hidden
PREFERRED = (".jpg", ".jpeg", ".png", ".webp")  # of a sample's images with one name, the first of these is taken


class Listing(NamedTuple):
    """Names of images, sorted, and the number of files that are left out, by what they are."""

    names: list[str]
    left_out: Mapping[str, int]


def tidy(name: str) -> str:
    """Name of an archive's member with slashes, without './' and a leading slash; "" for the archive's own folder.

    'a/../b' is 'b', and so is '../b', as unzip has it.
    """
    if not UNTIDY.search(name):  # as nearly all are, of which there may be a million
        return name
    parts: list[str] = []
    for part in name.replace("\\", "/").split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def canonical(name: str) -> str:
    """Name as it is compared and sorted: tidy, and with composed accents (NFC), as no two systems write them alike."""
    clean = tidy(name)
    return clean if clean.isascii() else unicodedata.normalize("NFC", clean)


def visible(name: str) -> bool:
    """Whether a relative path is neither hidden nor one that macOS adds to a zip."""
    return not HIDDEN.search(name) or not any(
        part.startswith(".") or part == "__MACOSX" for part in tidy(name).split("/")
    )


def is_image(name: str) -> bool:
    """Whether a name has the suffix of a supported format."""
    return name.lower().endswith(NPY_SUFFIX) or has_image_suffix(name)


def choose(files: Iterable[str], ignored: Callable[[str], bool], heads: Callable[[list[str]], list[bytes]]) -> Listing:
    """Tell the images among all files.

    A file whose suffix is that of no image is one all the same if it begins as one. Of each such suffix the first
    `budgets.SNIFFED_FILES` files are tried, and the rest only if one of them is an image.

    Args:
        files: relative paths
        ignored: whether a file is known to be no image, as one of labels
        heads: reads the first bytes of files
    """
    names: list[str] = []
    others: dict[str, list[str]] = {}
    left_out: Counter[str] = Counter()
    of_images: dict[str, bool] = {}  # by suffix, so that each is looked up once
    for name in files:
        suffix = suffix_of(name)
        if suffix not in of_images:
            of_images[suffix] = is_image(name)
        if not visible(name):
            if _is_hidden_image(name):
                left_out["hidden, with a name that begins with a dot"] += 1
        elif of_images[suffix]:
            names.append(name)
        elif not ignored(name):
            others.setdefault(suffix_of(tidy(name)), []).append(name)
    for suffix, group in others.items():
        first = group if not suffix else group[: budgets.SNIFFED_FILES]
        forms = [form_of(head, suffix) for head in heads(first)]
        if any(refusal(form) is None for form in forms):
            forms += [form_of(head, suffix) for head in heads(group[len(first) :])]
        forms += [Counter(forms).most_common(1)[0][0]] * (len(group) - len(forms))
        for name, form in zip(group, forms):
            if refusal(form) is None:
                names.append(name)
            else:
                left_out[f"{_in_words(suffix)} ({label(form) or 'no image'})"] += 1
    return Listing(sorted(names, key=lambda name: (canonical(name), name)), left_out)


def _is_hidden_image(name: str) -> bool:
    """Whether an image is left out for its own name only, and is none of the files that macOS adds."""
    path = PurePosixPath(tidy(name))
    return visible(str(path.parent / "x")) and not path.name.startswith("._") and is_image(path.name)


def _in_words(suffix: str) -> str:
    return suffix if re.fullmatch(r"\.\w{1,12}", suffix) else "of another suffix" if suffix else "without a suffix"


# --- samples ---------------------------------------------------------------------------------------------------------


def stem(name: str) -> str:
    """Remove the last suffix of a name."""
    return name[: -len(PurePosixPath(name).suffix)] if PurePosixPath(name).suffix else name


def key(name: str) -> str:
    """Key of the sample that a member belongs to: its path up to the first dot of the file's name (WebDataset)."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


class Sample(NamedTuple):
    """Several images of one key: the one that is taken, None where each is an image of its own, and the others."""

    taken: str | None
    others: list[str]


def samples(names: Sequence[str]) -> list[Sample]:
    """Group the images that share a key, where there are several.

    The image of a sample is key.jpg, key.jpeg, key.png or key.webp, the first that is there, or else the first by name
    that has the bare key; further ones, as key.seg.png, are left out. Where no name is the bare key, as in a.1.png and
    a.2.png, each is an image of its own.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    found = []
    for images in groups.values():
        if len(images) > 1:
            bare = [name for name in images if stem(name) == key(name)]
            taken = min(bare, key=_preference, default=None)
            found.append(Sample(taken, [name for name in images if name != taken]))
    return found


def _preference(name: str) -> tuple[int, str]:
    suffix = suffix_of(name)
    last = len(PREFERRED) + (suffix == NPY_SUFFIX)
    return (PREFERRED.index(suffix) if suffix in PREFERRED else last), name
