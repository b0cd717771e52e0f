"""Files of weights that others publish: found where a user put them, checked by their hash, fitted into a network."""

import re
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ganzoo.errors import CheckpointError
from ganzoo.foreign.torchfile import read
from ganzoo.io.files import atomic_write, cache_dir, expand_user
from ganzoo.io.hashes import file_hash
from ganzoo.types import Progress

FOLDER = "weights"  # in the cache directory
SHA256_DIGITS = 64
Net = TypeVar("Net", bound=nn.Module)


class MissingWeights(CheckpointError):
    """A published file of weights that is not there; the sentence speaks of a component's option.

    A command that sets options by flags builds a cure of its own from the fields.

    Args:
        fault: what is missing
        cure: what to do about it
        component: name of the component that needs the file
        option: the option of that component that may name it
        how: how a user gets it
    """

    def __init__(
        self,
        fault: str = "",
        *,
        cure: str = "",
        component: str = "",
        option: str = "",
        how: str = "",
    ) -> None:
        super().__init__(fault, cure=cure)
        self.component, self.option, self.how = component, option, how


@dataclass(frozen=True)
class Published:
    """A file of weights that others publish, and what needs it, which `dataclasses.replace` sets in a shared one.

    Args:
        file: its published name, under which it is searched for in the cache directory
        own: name of a safetensors copy of it, searched for first
        sha256: the beginning of its hash, as far as it is known for certain; "" where it is not
        how: how a user gets it, with `{path}` where it should lie
        url: where `gz metrics fetch` gets it; "" where only `how` helps
        size: bytes of the published file; 0 where it is not known
        licence: terms under which it is published; "" where they are not known
        noun: kind of what needs it, for error messages: "extractor", "transfer"
        name: name of what needs it
        option: the option of what needs it that may name the file
    """

    file: str
    own: str
    sha256: str
    how: str
    url: str = ""
    size: int = 0
    licence: str = ""
    noun: str = "network"
    name: str = "VGG"
    option: str = "weights"

    def describe(self) -> str:
        """One line: name, size, sha256 as far as it is known, licence and address of the published file."""
        return ", ".join(fact for fact in (self._facts(), self.url) if fact)

    def _facts(self) -> str:
        size = f"{self.size / 1e6:,.0f} MB" if self.size >= 10**6 else f"{self.size:,} bytes" if self.size else ""
        known = "sha256" if len(self.sha256) == SHA256_DIGITS else "sha256 that begins with"
        facts = [size, f"{known} {self.sha256}" if self.sha256 else "", self.licence]
        return f"{self.file}: {', '.join(fact for fact in facts if fact)}"

    def instructions(self, path: Path) -> str:
        """How a user gets the file to a path, with size, sha256 and licence where they are known."""
        how = self.how.format(path=path)
        return f"{self._facts()}. {how}" if self.size else how

    def fetch(self, offline: bool, progress: Progress) -> Path:
        """Download the file into the cache directory, unless a right one is there. Returns where it is.

        Raises CheckpointError that says what to put where: offline, without an address, and whatever goes wrong.
        """
        path = cache_dir() / FOLDER / self.file
        if path.is_file() and file_hash(path).startswith(self.sha256):
            return path
        how = self.instructions(path)
        if offline or not self.url:
            raise CheckpointError(f"{path} is not there, and nothing was fetched. {how}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                _download(self.url, temporary, progress)
                if not (digest := file_hash(temporary)).startswith(self.sha256):
                    raise CheckpointError(
                        f"what {self.url} gave has the sha256 {digest[:16]}, not {self.sha256}. {how}"
                    )
        except (OSError, HTTPException) as err:
            raise CheckpointError(f"{self.url} could not be fetched to {path} ({err}). {how}") from None
        return path

    def locate(self, given: Path | None) -> Path:
        """The given file, or the one in the cache directory. Raises CheckpointError where there is none."""
        folder = cache_dir() / FOLDER
        places = [expand_user(given)] if given else [folder / self.own, folder / self.file]
        for path in places:
            if path.is_file():
                return path
        missing = f"there is no file {places[0]}" if given else f"{self.file} is not in {folder}"
        how = self.instructions(folder / self.file).rstrip(".")
        raise MissingWeights(
            f"the {self.noun} '{self.name}' needs weights that ganzoo does not contain, and {missing}.",
            cure=f"put it there, or name another place with the {self.noun}'s option '{self.option}'. {how}",
            component=self.name,
            option=self.option,
            how=how,
        )

    def load(self, given: Path | None, sha256: str = "") -> tuple[dict[str, Tensor], Path]:
        """Its tensors by name, and where they were.

        Args:
            given: the file, where it is not in the cache directory
            sha256: what its hash must begin with; "" for the published one, where the file has its published name

        Raises:
            CheckpointError: it is missing, not the published file, damaged, or of another kind
        """
        path = self.locate(given)
        expected = sha256 or (self.sha256 if path.name == self.file else "")
        if expected and not (digest := file_hash(path)).startswith(expected.lower()):
            alike = next((i for i, (a, b) in enumerate(zip(digest, expected.lower())) if a != b), 0)
            shown = max(8, alike + 1)
            raise CheckpointError(
                f"{path} is not the file that was expected: its sha256 begins with {digest[:shown]}, "
                f"not with {expected[:shown]}. Fetch it anew. {self.instructions(path)}"
            )
        contents = read(path)
        if not isinstance(contents, dict) or not all(isinstance(t, Tensor) for t in contents.values()):
            raise CheckpointError(f"{path} holds no state dict, a dictionary of names and tensors: {self.how_short()}")
        return {str(name): tensor for name, tensor in contents.items()}, path

    def how_short(self) -> str:
        """Which file it should be."""
        return f"'{self.name}' takes {self.file} or a safetensors copy of it."


def _download(url: str, path: Path, progress: Progress) -> None:
    """The bytes of an address into a file. Raises OSError."""
    with urllib.request.urlopen(url, timeout=30) as answer, path.open("wb") as file:
        total, done = int(answer.headers.get("Content-Length") or 0), 0
        while block := answer.read(1 << 20):
            file.write(block)
            done += len(block)
            progress("bytes", done, max(total, done))
        if total and done < total:
            raise OSError(f"it ended after {done:,} of {total:,} bytes")


def fit(make: Callable[[], Net], tensors: Mapping[str, Tensor], path: Path, published: Published) -> Net:
    """Build a network and give it a file's tensors, as float32, for good: no gradients to them, evaluation mode.

    Args:
        make: builds the network; its own initial values are never computed
        tensors: by the network's own names
        path: where they come from, for the sentences
        published: which file it should be

    Raises:
        CheckpointError: names are missing or left over, or shapes or values are wrong; it names some of them
    """
    with torch.device("meta"):
        net = make()
    wanted = net.state_dict()
    faults = [f"lacks {n}" for n in wanted.keys() - tensors.keys()]
    faults += [f"has an unknown {n}" for n in tensors.keys() - wanted.keys()]
    both = sorted(wanted.keys() & tensors.keys())
    faults += [
        f"has {n} of shape {list(tensors[n].shape)} instead of {list(wanted[n].shape)}"
        for n in both
        if tensors[n].shape != wanted[n].shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(f"{path}: it {', '.join(sorted(faults)[:3])}{more}. {published.how_short()}")
    values = {n: tensors[n].detach().float().contiguous() for n in both}
    strange = [n for n, t in values.items() if not t.isfinite().all()]
    if strange:
        raise CheckpointError(f"{path}: {strange[0]} holds values that are not finite. {published.how_short()}")
    net.load_state_dict(values, assign=True)
    return net.eval().requires_grad_(False)


def in_order(net: nn.Module, tensors: Mapping[str, Tensor], path: Path, published: Published) -> dict[str, Tensor]:
    """Name the tensors of a file that numbers its convolutions, "2.weight" or "features.2.weight", as a network does.

    The n-th convolution of the file is the network's n-th; those that the network does not have are left out.
    Raises CheckpointError where the file has fewer, or names of another kind.
    """
    wanted = list(net.state_dict())
    if set(wanted) <= tensors.keys():  # a copy under our own names
        return {name: tensors[name] for name in wanted}
    numbered: dict[tuple[int, str], Tensor] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(?:\w+\.)*(\d+)\.(weight|bias)", name)
        if not match:
            raise CheckpointError(f"{path}: '{name}' is no numbered convolution. {published.how_short()}")
        numbered[int(match[1]), match[2]] = tensor
    places = sorted({place for place, _ in numbered})
    if 2 * len(places) < len(wanted):
        raise CheckpointError(
            f"{path} has {len(places)} convolutions, not {len(wanted) // 2} or more. {published.how_short()}"
        )
    renamed = {}
    for i, name in enumerate(wanted):
        key = (places[i // 2], name.rpartition(".")[2])
        if key not in numbered:
            raise CheckpointError(f"{path} lacks the {key[1]} of its convolution {key[0]}. {published.how_short()}")
        renamed[name] = numbered[key]
    return renamed
