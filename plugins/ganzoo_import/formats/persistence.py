"""Modules that NVlabs' persistence class has pickled: their attributes, and the tensors in them."""

from typing import Any

from torch import Tensor

from ganzoo.foreign.pickles import Object, refuse

Modules = dict[str, dict[str, Any]]  # {dotted name of a module: its attributes}

PERSISTENT = "torch_utils.persistence _reconstruct_persistent_obj"


def persistent_generator(data: Any) -> Object | None:
    """The persistent module G_ema, or G, of a network pickle; None if data are none."""
    nets = data if isinstance(data, dict) else {}
    modules = (nets.get(name) for name in ("G_ema", "G"))
    return next((m for m in modules if isinstance(m, Object) and m.name == PERSISTENT), None)


def has_fourier_features(data: Any) -> bool:
    """Whether the generator of a network pickle has the module synthesis.input, as StyleGAN3's."""
    module: Any = persistent_generator(data)
    for name in ("synthesis", "input"):
        meta = module.args[0] if isinstance(module, Object) and module.args else None
        state = meta.get("state") if isinstance(meta, dict) else None
        children = state.get("_modules") if isinstance(state, dict) else None
        module = children.get(name) if isinstance(children, dict) else None
    return module is not None


def unpacked(value: Any, name: str) -> tuple[Modules, dict[str, Tensor]]:
    """({name: attributes} of a persistent module and all its submodules, {name: tensor} of all their tensors)."""
    modules: Modules = {}
    state: dict[str, Tensor] = {}

    def walk(module: Any, path: str) -> None:
        meta = module.args[0] if isinstance(module, Object) and len(module.args) == 1 else None
        fields = meta.get("state") if isinstance(meta, dict) and meta.get("type") == "class" else None
        if not isinstance(fields, dict):
            refuse(f"its network {name} has a part '{path}' that is no module of NVlabs' persistence class.")
        modules[path] = {"class_name": meta.get("class_name"), **fields}  # type: ignore[union-attr]
        for kind in ("_parameters", "_buffers"):
            present = {k: t for k, t in fields.get(kind, {}).items() if t is not None}
            state.update({f"{path}.{k}".lstrip("."): t for k, t in present.items()})
        for key, child in fields.get("_modules", {}).items():
            if child is not None:
                walk(child, f"{path}.{key}".lstrip("."))

    walk(value, "")
    return modules, state


def contents(value: Any, name: str) -> Any:
    """Content of another entry of the dictionary; of a module, such as the augmentation pipe, its tensors by name."""
    return unpacked(value, name)[1] if isinstance(value, Object) else value
