"""Latent files: style codes (and latents) between a projection, an edit and a film.

    paths = codes.save(Path("out/projected_w"), ws, codes.about(model))
    ws = codes.read(paths[0], model)

Codes are written twice: as .npz with the key "w", [N, L, W], which the StyleGAN tools take, and as .safetensors, which
also says what model they belong to. Codes of one model mean nothing to another, so those are refused.
"""

import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ganzoo.errors import DataError, UsageError
from ganzoo.io.files import atomic_write, ensure_folder
from ganzoo.model.model import LabelInput, Model
from ganzoo.types import Styles

Space = Literal["z", "w"]
FORMAT = 1
KEY = "ganzoo-latents"  # of the metadata of a .safetensors
NAMES = ("ws", "w", "z")  # as projectors of the StyleGAN tools name them
DIRECTIONS = "directions"  # what codes move along; no codes themselves
FARTHEST = 1e6  # of a number in a code: what is larger was never a code
LARGEST = 2**30  # bytes of an array: 29,000 codes of 18 layers of 512 numbers
NUMPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def about(model: Model) -> dict[str, Any]:
    """What latent files, and pictures made from them, say of the model they belong to."""
    return model.about() | {"model": model.path.name, "digest": model.header.digest}


def save(stem: Path, ws: Styles, about: Mapping[str, Any], name: str = "w") -> list[Path]:
    """Write style codes as `<stem>.npz` and `<stem>.safetensors`; the folder is made if need be.

    Args:
        stem: the files' name without suffix
        ws: [N, L, W]
        about: `codes.about(model)`, and whatever else the file should say; "space" is the space in which the codes were
            found, "z", "w" or "w+" (where it is not said: "w+" if layers differ, else "w")
        name: of the array; DIRECTIONS for what is no code

    Raises UsageError where they cannot be written.
    """
    from safetensors.torch import save_file

    ws = ws.detach().cpu().float().contiguous()
    _, layers, w_dim = ws.shape
    space = "w" if bool((ws == ws[:, :1]).all()) else "w+"
    own = {"format": FORMAT, "space": space, "layers": layers, "w_dim": w_dim}
    says = own | {"digest": about["digest"], "recipe": about["recipe"]} | dict(about)
    arrays: dict[str, Any] = {name: ws.numpy()}
    ensure_folder(stem.parent, str(stem))
    plain, full = (stem.with_name(f"{stem.name}{suffix}") for suffix in (".npz", ".safetensors"))
    try:
        with atomic_write(plain) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
        with atomic_write(full) as temporary:
            save_file({name: ws}, temporary, metadata={KEY: json.dumps(says)})
    except OSError as err:
        raise UsageError(
            f"{stem} cannot be written ({err.strerror or err}): free space or choose another place."
        ) from None
    return [plain, full]


def read(path: Path, model: Model, *, foreign: bool = False, label: LabelInput = None) -> Styles:
    """A file's style codes for a model, [N, L, W], on the CPU; latents in it go through the model's mapping.

    Args:
        path: a .safetensors, .npz or .npy, as `stored` takes it
        model: what they are for
        foreign: take also those that say they belong to another model
        label: class number or label vector, for latents of a conditional model

    Raises DataError for a file that cannot be used, in one sentence.
    """
    found = stored(path, model, foreign=foreign)
    return found if found.ndim == 3 else model.map(found, label).cpu()


def stored(path: Path, model: Model, space: Space | None = None, *, foreign: bool = False) -> Tensor:
    """What a file holds: latents [K, Z], or style codes [K, L, W], on the CPU.

    An .npz or .safetensors names its array z, w or ws; an .npy has no name. [L, W] are the codes of one image, a layer
    each; any other number of codes [K, W], and [K, 1, W], serve all layers. `space` decides where an unnamed array may
    be either. Raises DataError.
    """
    name, values = _given(path, NAMES, model, foreign)
    layers, z_dim, w_dim = model.G.num_ws, model.G.z_dim, model.G.w_mean.shape[0]
    wanted = f"latents [K, {z_dim}] or style codes [K, {layers}, {w_dim}] or [K, {w_dim}]"
    if values.ndim == 3 and name != "z" and values.shape[1] in (1, layers) and values.shape[2] == w_dim:
        return values.expand(-1, layers, -1)
    if values.ndim == 2:
        kinds = [kind for kind, length in (("z", z_dim), ("w", w_dim)) if values.shape[1] == length]
        kinds = [kind for kind in kinds if name in ("", kind, kind + "s")]
        if len(kinds) == 2:
            if space is None:
                raise DataError(f"{path}: {list(values.shape)} may be latents or style codes: say --space z or w.")
            kinds = [space]
        if kinds == ["z"]:
            return values
        if kinds:
            return values[None] if len(values) == layers > 1 else values[:, None].expand(-1, layers, -1)
    raise DataError(f"{path}: '{name}' has the shape {list(values.shape)}, and {model.path} takes {wanted}.")


def directions(path: Path, model: Model, *, foreign: bool = False) -> Tensor:
    """A file's directions in which to move codes, [D, L, W]. Raises DataError."""
    name, values = _given(path, (DIRECTIONS,), model, foreign)
    if tuple(values.shape[1:]) != (model.G.num_ws, model.G.w_mean.shape[0]):
        wanted = f"[D, {model.G.num_ws}, {model.G.w_mean.shape[0]}]"
        raise DataError(f"{path}: '{name}' has the shape {list(values.shape)}, and {model.path} takes {wanted}.")
    return values


def drawn_as(path: Path) -> str:
    """The name of the picture that a .safetensors' codes were drawn as; "" where it does not say."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return str(json.loads((file.metadata() or {})[KEY])["picture"])
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


def _given(path: Path, names: Sequence[str], model: Model, foreign: bool) -> tuple[str, Tensor]:
    """A file's array under the first of some names, "" for an .npy; not empty, finite, and of the model."""
    array = _array(path, names)
    if not foreign:
        _refuse_foreign(path, array.about, model)
    if not array.values.ndim or not array.values.numel():
        raise DataError(f"{path}: '{array.name}' is an array {list(array.values.shape)}: it holds no codes.")
    if not array.values.isfinite().all():
        raise DataError(f"{path}: '{array.name}' has values that are not finite: project or save the latents again.")
    if (largest := float(array.values.abs().max())) > FARTHEST:
        raise DataError(
            f"{path}: '{array.name}' has values up to {largest:.3g}, more than {FARTHEST:,.0f}: project or save the "
            f"latents again."
        )
    return array.name, array.values


def _refuse_foreign(path: Path, says: Mapping[str, Any], model: Model) -> None:
    """Raise DataError where a file says that it belongs to another model."""
    ours = about(model)
    if not says or says["digest"] == ours["digest"]:
        return

    def named(of: Mapping[str, Any]) -> str:
        return f"{of.get('model', 'a model')}, recipe {of.get('recipe', 'unknown')}, weights {str(of['digest'])[:12]}"

    raise DataError(
        f"{path}: its latents belong to another model ({named(says)}) than {model.path} "
        f"({named(ours)}): name the model they were made for, or say --foreign to use them all the "
        f"same."
    )


@dataclass(frozen=True)
class _Array:
    name: str  # "" for an .npy, which has none
    values: Tensor
    about: Mapping[str, Any]


def _array(path: Path, names: Sequence[str]) -> _Array:
    """A file's array under the first of these names that it has, as float32."""
    readers = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors}
    if path.suffix not in readers:
        raise DataError(f"{path}: latents are read from .npz, .npy and .safetensors files.")
    if not path.is_file():
        raise DataError(f"{path} is a folder: name a file of latents." if path.is_dir() else f"no file {path}.")
    with _sentences(path):
        return readers[path.suffix](path, names)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as err:  # numpy, zipfile and safetensors each raise their own
        raise DataError(
            f"{path} cannot be read as an array ({' '.join(str(err).split())[:120]}): give a file that 'gz project' or "
            f"'gz edit' wrote, or numpy.savez."
        ) from None


def _npy(path: Path, names: Sequence[str]) -> _Array:
    with path.open("rb") as file:
        return _Array("", _numbers(path, "", file), {})


def _npz(path: Path, names: Sequence[str]) -> _Array:
    with zipfile.ZipFile(path) as archive:
        name = _named(path, names, [name.removesuffix(".npy") for name in archive.namelist()])
        with archive.open(f"{name}.npy") as file:
            return _Array(name, _numbers(path, name, file), {})


def _numbers(path: Path, name: str, file: Any) -> Tensor:
    """The array of an open .npy; its header is checked before its data, of which a few bytes may unpack to many."""
    version = np.lib.format.read_magic(file)
    if version not in NUMPY_HEADERS:
        raise ValueError(f"numpy format {version[0]}.{version[1]}")
    shape, fortran, dtype = NUMPY_HEADERS[version](file)
    if dtype.kind not in "fiu":
        what = "objects, which only a pickle can hold" if dtype.hasobject else f"an array {list(shape)} of {dtype}"
        raise DataError(f"{path} cannot be read: '{name}' is {what}: give real numbers.")
    size = math.prod(shape) * dtype.itemsize
    _refuse_huge(path, name, shape, size)
    data = file.read(size)
    if len(data) < size:
        raise ValueError(f"it is cut off: {len(data):,} of {size:,} bytes")
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as that
        return torch.from_numpy(np.array(values, np.float32, order="C"))


def _safetensors(path: Path, names: Sequence[str]) -> _Array:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        name = _named(path, names, list(file.keys()))
        part, about = file.get_slice(name), (file.metadata() or {}).get(KEY)
        shape = part.get_shape()
        _refuse_huge(path, name, shape, 4 * math.prod(shape))
        values = file.get_tensor(name)
    if values.is_complex() or values.dtype == torch.bool:
        raise DataError(f"{path}: '{name}' is an array {shape} of {values.dtype}: give real numbers.")
    return _Array(name, values.float(), {} if about is None else _says(path, about))


def _refuse_huge(path: Path, name: str, shape: Sequence[int], size: int) -> None:
    if size > LARGEST:
        raise DataError(f"{path}: '{name}' has the shape {list(shape)}, more than {LARGEST // 2**20:,} MiB.")


def _says(path: Path, text: str) -> dict[str, Any]:
    """The metadata of a .safetensors of ours."""
    try:
        says = json.loads(text)
        version, digest = says["format"], says["digest"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DataError(f"{path}: its metadata is damaged: project or save the latents again.") from None
    if not isinstance(version, int) or not isinstance(digest, str):
        raise DataError(f"{path}: its metadata is damaged: project or save the latents again.")
    if version > FORMAT:
        raise DataError(
            f"{path} was written by a newer ganzoo (format {version}, this one reads {FORMAT}): upgrade ganzoo."
        )
    return dict(says)


def _named(path: Path, names: Sequence[str], present: Sequence[str]) -> str:
    for name in names:
        if name in present:
            return name
    there = ", ".join(f"'{name}'" for name in present[:5]) or "nothing"
    cure = (
        "name the array 'z' for latents, or 'w' for style codes"
        if names == NAMES
        else "give a file that 'gz edit directions' wrote"
    )
    raise DataError(f"{path}: it holds {there}: {cure}.")
