"""Snapshots and states: safetensors files that hold all they need, and execute nothing.

A snapshot holds the weights of G, D and G_ema and, as metadata, the filled recipe. A state holds all that training
continues from. Both are written to a temporary file, synced, and renamed, so a crash at any moment leaves the
previous file whole.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, empty, nn

from ganzoo.errors import CheckpointError
from ganzoo.io.budgets import SAFETENSORS_HEADER_BYTES
from ganzoo.io.files import atomic_write
from ganzoo.io.hashes import digest
from ganzoo.io.tensors import HeaderTooLong, dtype_of, open_tensors

FORMAT = 1  # version of the metadata
NAME_ONE = "name a snapshot-*.safetensors of a run"
Tensors = dict[str, Tensor]
T = TypeVar("T")


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Header:
    """Metadata of a checkpoint file.

    Args:
        kind: weights for sampling, or all that training continues from
        recipe: with every option filled in
        images: real images shown
        iteration: iterations done
        data: title, number and fingerprint of the training images
        versions: "distribution version" of ganzoo and of every plugin that the recipe uses, by plugin
        digest: sha256 over the tensors, hexadecimal
        format: version of this metadata
    """

    kind: Literal["snapshot", "state"]
    recipe: dict[str, Any]
    images: Annotated[int, Ge(0)]
    iteration: Annotated[int, Ge(0)] = 0
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    format: int = FORMAT

    @property
    def kimg(self) -> float:
        """Thousands of real images shown."""
        return self.images / 1000


def write(path: Path, tensors: Tensors, header: Header) -> None:
    """Write a file atomically, with the digest of its tensors. Raises CheckpointError where that cannot be."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text = json.dumps(asdict(header) | {"digest": digest(tensors)})
    try:
        with atomic_write(path, synced=True) as temporary:
            save_file(tensors, temporary, metadata={"ganzoo": text})
    except (OSError, SafetensorError) as err:
        raise CheckpointError(
            f"{path} cannot be written ({_reason(err)}): free space or choose another place; earlier files are whole."
        ) from None


def _reason(err: OSError | SafetensorError) -> str:
    """The reason of an error, without the name of the temporary file."""
    text = (err.strerror if isinstance(err, OSError) else None) or " ".join(str(err).split())
    return re.split(r" at path|: \"|\(os error", text)[0].rstrip(" .:")


def header(path: Path) -> Header:
    """Read a file's metadata. Raises CheckpointError for anything that is no whole safetensors file of ganzoo."""
    return _open(path, lambda file: None)[0]


def read(path: Path) -> tuple[Header, Tensors]:
    """Read metadata and tensors, on the CPU, and compare the tensors with the digest they were written with.

    The digest takes about as long as reading the file does. Raises CheckpointError where it differs, and as `header`
    does.
    """
    metadata, tensors = _open(path, lambda file: {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    if digest(tensors) != metadata.digest:
        raise CheckpointError(
            "is damaged, as its tensors do not give the digest it was written with",
            place=str(path),
            cure=f"copy it again, or {NAME_ONE}",
        )
    return metadata, tensors


def outline(path: Path) -> tuple[Header, Tensors]:
    """Read metadata and the tensors' shapes and dtypes, as tensors on the meta device. Raises as `header` does."""

    def describe(file: Any) -> Tensors:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
        return {
            name: empty(each.get_shape(), dtype=dtype_of(each.get_dtype()), device="meta")
            for name, each in slices.items()
        }

    return _open(path, describe)


def _open(path: Path, extract: Callable[[Any], T]) -> tuple[Header, T]:
    """Open a file, and return its metadata and what `extract` takes from it."""
    if path.is_dir():
        snapshots = sorted(path.glob("snapshot-*.safetensors"))
        cure = f"name a snapshot in it, as {snapshots[-1]}" if snapshots else f"{NAME_ONE}; it holds none"
        raise CheckpointError(f"{path} is a folder: {cure}.")
    if not path.is_file():
        raise CheckpointError(f"no checkpoint file {path}: {NAME_ONE}.")
    try:
        with open_tensors(path) as file:
            metadata = file.metadata() or {}
            content = extract(file)
    except HeaderTooLong as err:
        raise CheckpointError(f"is no checkpoint ({err})", place=str(path), cure=NAME_ONE) from None
    except (SafetensorError, OSError, ValueError) as err:
        guess, cure = _guess(path)
        reason = " ".join(str(err).split())[:120].rstrip(".")
        raise CheckpointError(f"{path} is no whole safetensors file{guess} ({reason}): {cure}.") from None
    if "ganzoo" not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file, but not one of ganzoo, as it holds no recipe: {NAME_ONE}."
        )
    return _header(metadata["ganzoo"], path), content


def _header(text: str, path: Path) -> Header:
    try:
        fields = json.loads(text)
        version = fields["format"]
        if isinstance(version, int) and version > FORMAT:
            raise CheckpointError(
                f"{path} was written by a newer ganzoo (format {version}, this one reads {FORMAT}): upgrade ganzoo."
            )
        return Header(**fields)
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        name, fault = ".".join(map(str, first["loc"])), first["msg"]
        raise CheckpointError(f"{path}: its metadata is damaged ({name}: {fault[:1].lower()}{fault[1:]}).") from None
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise CheckpointError(f"{path}: its metadata is damaged ({type(err).__name__}: {err}).") from None


def _guess(path: Path) -> tuple[str, str]:
    """Guess what a file is instead; returns ': it ...' or '', and what to do about it."""
    with path.open("rb") as file:
        start, size = file.read(9), path.stat().st_size
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or start[:2] == b"PK":
        return (
            ": it looks like a pickle or a torch .pt file",
            "'gz import' makes checkpoints of known ones, and runs none",
        )
    if len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= SAFETENSORS_HEADER_BYTES:
        return f": it is cut off or damaged at {size:,} bytes", "copy it again, or name another snapshot"
    return "", NAME_ONE


def prefixed(prefix: str, net: nn.Module) -> Tensors:
    """Return a module's parameters and buffers by name, under a prefix."""
    return {f"{prefix}.{name}": t for name, t in net.state_dict().items()}


def load_weights(net: nn.Module, tensors: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    """Copy tensors under a prefix into a module, in place. Raises as `matching_tensors` does.

    Args:
        net: the module
        tensors: of the whole file
        prefix: of the module's own
        path: of the file, for messages
    """
    net.load_state_dict(matching_tensors(net, tensors, prefix, path))


def matching_tensors(net: nn.Module, tensors: Mapping[str, Tensor], prefix: str, path: Path) -> Tensors:
    """Return the tensors under a prefix, by the names that a module, which may be on the meta device, has for them.

    The tensors may be on the meta device too. Raises CheckpointError that names what is missing, left over, misshapen
    or of another dtype.
    """
    wanted = net.state_dict()
    given = {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
    faults = [f"lacks {prefix}.{name}" for name in wanted.keys() - given.keys()]
    faults += [f"has an unknown {prefix}.{name}" for name in given.keys() - wanted.keys()]
    faults += [
        f"has {prefix}.{name} of shape {list(given[name].shape)} instead of {list(t.shape)}"
        for name, t in wanted.items()
        if name in given and given[name].shape != t.shape
    ]
    faults += [
        f"has {prefix}.{name} of {given[name].dtype} instead of {t.dtype}".replace("torch.", "")
        for name, t in wanted.items()
        if name in given and given[name].dtype != t.dtype
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(f"{path} does not fit its recipe: it {', '.join(sorted(faults)[:3])}{more}.")
    return given
