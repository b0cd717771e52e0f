"""Latent files: style codes (and latents) that a projection, an edit and a walk exchange.

    paths = save(Path("out/projected_w"), ws, about(model))
    ws = read(paths[0], model)

Codes are written twice: as .npz with the key "w", [N, L, W], which the StyleGAN tools take, and as .safetensors, which
also says which model they belong to. Codes of one model mean nothing to another, so another model's are refused.
"""

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ganzoo.errors import DataError, UsageError
from ganzoo.io.files import atomic_write, ensure_folder
from ganzoo.io.tensors import open_tensors
from ganzoo.model.model import LabelInput, Model
from ganzoo.registry.arguments import checked_arguments
from ganzoo.types import Styles

Space = Literal["z", "w"]
FORMAT = 1
KEY = "ganzoo-latents"  # in the metadata of a .safetensors
KINDS: "dict[str, tuple[Space, ...]]" = {  # names of arrays in files of the StyleGAN tools, and what they may hold
    "ws": ("w",),
    "w": ("w",),
    "dlatents": ("w",),
    "z": ("z",),
    "latents": ("z", "w"),
    "arr_0": ("z", "w"),  # numpy's name for an array that was saved without one
    "": ("z", "w"),  # an .npy
}
NAMES = tuple(name for name in KINDS if name)
DIRECTIONS = "directions"  # name of an array of directions in which codes are moved
FARTHEST = 1e6  # largest magnitude of a number of a code; larger ones come from another kind of file
MAKE_AGAIN = "project or save the latents again"
LARGEST = 2**30  # bytes of an array: 29,000 codes of 18 layers of 512 numbers
NUMPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def about(model: Model) -> dict[str, Any]:
    """Metadata of latent files, and of pictures made from them: the model they belong to."""
    return model.about() | {"model": model.path.name, "digest": model.header.digest}


@checked_arguments
def save(stem: Path, ws: Styles, about: Mapping[str, Any], name: str = "w") -> list[Path]:
    """Write style codes as `<stem>.npz` and `<stem>.safetensors`; the folder is made if need be.

    Args:
        stem: the files' name without suffix
        ws: [N, L, W]
        about: `about(model)`, and further metadata; "space" is the space in which the codes were found, "z", "w" or
            "w+" (without it: "w+" if layers differ, else "w")
        name: of the array; DIRECTIONS for directions

    Returns the two paths. Raises UsageError where they cannot be written.
    """
    ws = ws.detach().cpu().float().contiguous()
    _, layers, w_dim = ws.shape
    space = "w" if bool((ws == ws[:, :1]).all()) else "w+"
    header = {"format": FORMAT, "space": space, "layers": layers, "w_dim": w_dim}
    header |= {"digest": about["digest"], "recipe": about["recipe"]} | dict(about)
    arrays: dict[str, Any] = {name: ws.numpy()}
    ensure_folder(stem.parent, str(stem))
    plain, full = (stem.with_name(f"{stem.name}{suffix}") for suffix in (".npz", ".safetensors"))
    try:
        with atomic_write(plain) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
        with atomic_write(full) as temporary:
            save_file({name: ws}, temporary, metadata={KEY: json.dumps(header)})
    except OSError as err:
        raise UsageError(
            f"cannot be written ({err.strerror or err})", place=str(stem), cure="free space or choose another place"
        ) from None
    return [plain, full]


@checked_arguments
def read(path: Path, model: Model, *, foreign: bool = False, label: LabelInput = None) -> Styles:
    """Read style codes for a model, [N, L, W], on the CPU; latents in a file go through the model's mapping.

    Args:
        path: a .safetensors, .npz or .npy, as `stored` takes it
        model: the model whose codes they are
        foreign: take also codes that say they belong to another model
        label: class number or label vector, for latents of a conditional model

    Raises DataError for a file that cannot be used.
    """
    codes = stored(path, model, foreign=foreign)
    return codes if codes.ndim == 3 else model.map(codes, label).cpu()


@checked_arguments
def stored(path: Path, model: Model, space: Space | None = None, *, foreign: bool = False) -> Tensor:
    """Read latents [K, Z], or style codes [K, L, W], on the CPU.

    An .npz or .safetensors names its array z for latents, w, ws or dlatents for codes, latents for either; an .npy has
    no name. [L, W] are the codes of one image, a layer each; any other number of codes [K, W], and [K, 1, W], serve all
    layers; [W] is one code. Of [1, K, L, W] and [K, 1, L, W] the axis of length 1 is left out. `space` decides where an
    array may be either. Raises DataError.
    """
    name, array = _checked(path, NAMES, model, foreign)
    values = _without_axes_of_one(array, name)
    layers, z_dim, w_dim = model.G.num_ws, model.G.z_dim, model.G.w_mean.shape[0]
    wanted = f"latents [K, {z_dim}] or style codes [K, {layers}, {w_dim}] or [K, {w_dim}]"
    if values.ndim == 3 and "w" in KINDS[name] and values.shape[1] in (1, layers) and values.shape[2] == w_dim:
        return values.expand(-1, layers, -1)
    if values.ndim == 2:
        lengths: dict[Space, int] = {"z": z_dim, "w": w_dim}
        kinds = [kind for kind in KINDS[name] if values.shape[1] == lengths[kind]]
        if len(kinds) == 2:
            if space is None:
                fault = f"{list(values.shape)} may be latents or style codes"
                named = f"numpy.savez('{path.stem}.npz', w=codes)"
                cure = f"say --space z or w to 'gz walk', or name the array: {named}, or z=latents"
                raise DataError(fault, place=f"{path}:", cure=cure)
            kinds = [space]
        if kinds == ["z"]:
            return values
        if kinds:
            return values[None] if len(values) == layers > 1 else values[:, None].expand(-1, layers, -1)
    raise _misshapen(path, name, array, f"{model.path} takes {wanted}")


def _without_axes_of_one(values: Tensor, name: str) -> Tensor:
    """Bring [1, K, L, W] and [K, 1, L, W] to [K, L, W], latents [K, 1, Z] and [1, K, Z] to [K, Z], [W] to [1, W]."""
    if values.ndim == 1:
        return values[None]
    latents = KINDS[name] == ("z",)
    if values.ndim == (3 if latents else 4):
        axis = next((axis for axis in (0, 1) if values.shape[axis] == 1), None)
        return values if axis is None else values.squeeze(axis)
    return values


def _misshapen(path: Path, name: str, values: Tensor, wanted: str) -> DataError:
    return DataError(f"'{name}' has the shape {list(values.shape)}, and {wanted}", place=f"{path}:")


@checked_arguments
def directions(path: Path, model: Model, *, foreign: bool = False) -> Tensor:
    """Read directions in which codes are moved, [D, L, W], on the CPU. Raises DataError."""
    name, values = _checked(path, (DIRECTIONS,), model, foreign)
    if tuple(values.shape[1:]) != (model.G.num_ws, model.G.w_mean.shape[0]):
        raise _misshapen(path, name, values, f"{model.path} takes [D, {model.G.num_ws}, {model.G.w_mean.shape[0]}]")
    return values


@checked_arguments
def drawn_as(path: Path) -> str:
    """Name of the picture that was drawn of the codes of a .safetensors; "" where the file does not say."""
    try:
        with open_tensors(path) as file:
            return str(json.loads((file.metadata() or {})[KEY])["picture"])
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


def _checked(path: Path, names: Sequence[str], model: Model, foreign: bool) -> tuple[str, Tensor]:
    """Name and values of a file's array under the first of these names; not empty, finite, and of the model.

    The name is "" for an .npy. Raises DataError.
    """
    array = _array(path, names)
    name, values, place = array.name, array.values, f"{path}:"
    if not foreign:
        _refuse_foreign(path, array.about, model)
    if not values.ndim or not values.numel():
        raise DataError(f"'{name}' is an array {list(values.shape)}: it holds no codes", place=place)
    if not values.isfinite().all():
        raise DataError(f"'{name}' has values that are not finite", place=place, cure=MAKE_AGAIN)
    largest = float(values.abs().max())
    if largest > FARTHEST:
        fault = f"'{name}' has values up to {largest:.3g}, more than {FARTHEST:,.0f}"
        raise DataError(fault, place=place, cure=MAKE_AGAIN)
    return name, values


def _refuse_foreign(path: Path, header: Mapping[str, Any], model: Model) -> None:
    """Raise DataError where a file says that it belongs to another model."""
    ours = about(model)
    if not header or header["digest"] == ours["digest"]:
        return

    def named(it: Mapping[str, Any]) -> str:
        return f"{it.get('model', 'a model')}, recipe {it.get('recipe', 'unknown')}, weights {str(it['digest'])[:12]}"

    raise DataError(
        f"its latents belong to another model ({named(header)}) than {model.path} ({named(ours)})",
        place=f"{path}:",
        cure="name the model they were made for, or say --foreign to use them all the same",
    )


@dataclass(frozen=True)
class _Array:
    """An array of a file.

    Args:
        name: its name; "" for an .npy, which has none
        values: float32
        about: the file's metadata; empty where it has none
    """

    name: str
    values: Tensor
    about: Mapping[str, Any]


def _array(path: Path, names: Sequence[str]) -> _Array:
    """Read a file's array under the first of these names that it has. Raises DataError."""
    readers = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise DataError("latents are read from .npz, .npy and .safetensors files", place=f"{path}:")
    if path.is_dir():
        raise DataError("is a folder", place=str(path), cure="name a file of latents")
    if not path.is_file():
        raise DataError(f"no file {path}.")
    try:
        return readers[suffix](path, names)
    except DataError:
        raise
    except Exception as err:  # numpy, zipfile and safetensors each raise their own
        raise DataError(
            f"cannot be read as an array ({' '.join(str(err).split())[:120]})",
            place=str(path),
            cure="give a file that 'gz project' or 'gz edit' wrote, or numpy.savez",
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
    """Read the array of an open .npy as float32.

    Its header is checked before its data is read, since a small compressed file may unpack to a huge one.
    """
    version = np.lib.format.read_magic(file)
    if version not in NUMPY_HEADERS:
        raise ValueError(f"numpy format {version[0]}.{version[1]}")
    shape, fortran, dtype = NUMPY_HEADERS[version](file)
    if dtype.kind not in "fiu":
        what = "objects, which only a pickle can hold" if dtype.hasobject else f"an array {list(shape)} of {dtype}"
        raise DataError(f"cannot be read: '{name}' is {what}", place=str(path), cure="give real numbers")
    size = math.prod(shape) * dtype.itemsize
    _refuse_huge(path, name, shape, size)
    data = file.read(size)
    if len(data) < size:
        raise ValueError(f"it is cut off: {len(data):,} of {size:,} bytes")
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    with np.errstate(over="ignore"):  # numbers too large for float32 become infinite, and are refused as that
        return torch.from_numpy(np.array(values, np.float32, order="C"))


def _safetensors(path: Path, names: Sequence[str]) -> _Array:
    with open_tensors(path) as file:
        name = _named(path, names, list(file.keys()))
        shape, text = file.get_slice(name).get_shape(), (file.metadata() or {}).get(KEY)
        _refuse_huge(path, name, shape, 4 * math.prod(shape))
        values = file.get_tensor(name)
    if values.is_complex() or values.dtype == torch.bool:
        fault = f"'{name}' is an array {shape} of {values.dtype}"
        raise DataError(fault, place=f"{path}:", cure="give real numbers")
    return _Array(name, values.float(), {} if text is None else _header(path, text))


def _refuse_huge(path: Path, name: str, shape: Sequence[int], size: int) -> None:
    if size > LARGEST:
        fault = f"'{name}' has the shape {list(shape)}, more than {LARGEST // 2**20:,} MiB"
        raise DataError(fault, place=f"{path}:")


def _header(path: Path, text: str) -> dict[str, Any]:
    """Parse the metadata of a .safetensors that `save` wrote. Raises DataError."""
    damaged = DataError("its metadata is damaged", place=f"{path}:", cure=MAKE_AGAIN)
    try:
        header = json.loads(text)
        version, digest = header["format"], header["digest"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise damaged from None
    if not isinstance(version, int) or not isinstance(digest, str):
        raise damaged
    if version > FORMAT:
        fault = f"was written by a newer ganzoo (format {version}, this one reads {FORMAT})"
        raise DataError(fault, place=str(path), cure="upgrade ganzoo")
    return dict(header)


def _named(path: Path, names: Sequence[str], present: Sequence[str]) -> str:
    """The first of these names that is present. Raises DataError."""
    for name in names:
        if name in present:
            return name
    contents = ", ".join(f"'{name}'" for name in present[:5]) or "nothing"
    cure = (
        "name the array 'z' for latents, or 'w' for style codes"
        if names == NAMES
        else "give a file that 'gz edit directions' wrote"
    )
    raise DataError(f"it holds {contents}", place=f"{path}:", cure=cure)
