"""Networks in files of state dicts, under the names that projects use, and the base of their importers."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ganzoo.foreign.pickles import refuse
from ganzoo.foreign.torchfile import tensors
from ganzoo_import.formats.names import State, Tree, shape_of, tensors_of
from ganzoo_import.interfaces import Converted, Importer

# network: names that it may have in a file, in order of precedence
NAMES = {
    "G_ema": ("generator_smooth", "shadow_generator", "gen_shadow", "G_ema", "g_ema"),
    "G": ("generator", "gen", "G", "g"),
    "D": ("discriminator", "dis", "D", "d"),
}
WRAPPERS = ("models", "state_dict")  # keys of a dictionary around the state dicts, and around a single state dict
PARALLEL = "module."  # prefix of torch's DataParallel
TRAINING = "the file does not say how to go on training (loss, penalties, learning rates): the recipe has the paper's."

Keys = Callable[[set[str]], bool]  # whether names of tensors are those of a format's network


def assumed_note(fused: bool | str, lr_mul: float, group: int | None) -> str:
    """Note on the values assumed for what a StyleGAN's file does not tell."""
    return (
        "the file does not say which layers upsample within their convolution, lr_mul of the mapping network, nor the "
        f"group of the minibatch standard deviation: fused={str(fused).lower()}, lr_mul={lr_mul:g} and "
        f"group={'null' if group is None else group} are taken (--set fused=..., lr_mul=..., group=...)."
    )


@dataclass(frozen=True)
class Net:
    """A network in a file.

    Args:
        state: its tensors by name, without a wrapper's prefix
        names: {name in `state`: the tensor's name in the whole file}
    """

    state: dict[str, Tensor]
    names: dict[str, str]


def networks(data: Any, generator: Keys, discriminator: Keys) -> dict[str, Net]:
    """Networks in a file by our names; {} unless all that the file names have the keys of a format.

    A file may be a state dict, or a dictionary with one for each network; its only generator becomes G_ema. Never
    raises.
    """
    value, path = _unwrapped(data, "")
    bare = _net(value, path)
    if bare and (generator(set(bare.names)) or discriminator(set(bare.names))):
        return {"G_ema" if generator(set(bare.names)) else "D": bare}
    nets: dict[str, Net] = {}
    for ours, names in NAMES.items():
        name = next((n for n in names if isinstance(value, dict) and isinstance(value.get(n), dict)), None)
        if name is None:
            continue
        net = _net(*_unwrapped(value[name], f"{path}{name}."))
        if not net or not (discriminator if ours == "D" else generator)(set(net.names)):
            return {}
        nets[ours] = net
    if "G" in nets and "G_ema" not in nets:
        nets["G_ema"] = nets.pop("G")
    return nets


def _unwrapped(value: Any, path: str) -> tuple[Any, str]:
    """Content of wrappers, and the path to it."""
    for name in WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(name), dict):
            value, path = value[name], f"{path}{name}."
    return value, path


def _net(value: Any, path: str) -> Net | None:
    """A state dict without the prefix of DataParallel; None for any other value."""
    if not isinstance(value, dict) or not value or not all(isinstance(key, str) for key in value):
        return None
    prefix = PARALLEL if all(key.startswith(PARALLEL) for key in value) else ""
    names = {key.removeprefix(prefix): f"{path}{key}" for key in value}
    return Net({key.removeprefix(prefix): tensor for key, tensor in value.items()}, names)


class StateDicts(Importer):
    """Importer of files that hold the networks' state dicts and no description of their architecture.

    A subclass names the keys that identify its networks, and converts these. It reads sizes from shapes; what shapes
    cannot tell is an option of it, and a note tells which value was assumed.
    """

    generator_keys: ClassVar[frozenset[str]]  # names of tensors that identify its generator
    discriminator_keys: ClassVar[frozenset[str]]
    left_out: ClassVar[str] = r"$^"  # names of tensors that are not weights: filters, which become options

    @classmethod
    def is_generator(cls, keys: set[str]) -> bool:
        """Whether these are names of its generator's tensors."""
        return cls.generator_keys <= keys

    @classmethod
    def is_discriminator(cls, keys: set[str]) -> bool:
        """Whether these are names of its discriminator's tensors."""
        return cls.discriminator_keys <= keys

    def to_generator(self, state: State) -> dict[str, Tensor]:
        """Convert the state dict of its generator."""
        raise NotImplementedError

    def to_discriminator(self, state: State) -> dict[str, Tensor]:
        """Convert the state dict of its discriminator."""
        raise NotImplementedError

    def recipe(self, states: Mapping[str, State]) -> Tree:
        """Write the whole recipe, from shapes and options."""
        raise NotImplementedError

    def whole(self, title: str, image_channels: int, generator: Tree, discriminator: Tree, **training: Any) -> Tree:
        """Compose a recipe of two networks and what training needs."""
        return {
            "title": f"{title}, imported",
            "paper": self.paper,
            "image": {"size": 4 << (len(generator["channels"]) - 1), "channels": image_channels},
            "generator": generator,
            "discriminator": discriminator,
            **training,
        }

    def notes(self, states: Mapping[str, State]) -> list[str]:
        """Sentences on assumptions, and on differences from the paper."""
        raise NotImplementedError

    def refused(self, name: str, net: Net) -> str:
        """Reason for leaving a network out, in a sentence; "" to convert it."""
        return ""

    def recognises(self, data: Any) -> bool:
        """Whether the file holds such networks, and no others."""
        return bool(networks(data, self.is_generator, self.is_discriminator))

    def convert(self, data: Any) -> Converted:
        """Read the recipe from shapes, and convert each network. Raises CheckpointError."""
        every = networks(data, self.is_generator, self.is_discriminator)
        reasons = {name: self.refused(name, net) for name, net in every.items()}
        nets = {name: net for name, net in every.items() if not reasons[name]}
        if "G_ema" not in nets:
            refuse("it holds a discriminator only, and a snapshot is of a generator: save both in one file.")
        states = {name: tensors_of(net.state, f"its network {name}") for name, net in nets.items()}
        weights = {
            name for net in nets.values() for key, name in net.names.items() if not re.fullmatch(self.left_out, key)
        }
        names = [name for name, _ in tensors(data)]
        without = [] if "D" in every else ["the file holds no discriminator: the recipe has one of the same width."]
        return Converted(
            recipe=self.recipe(states),
            nets={n: (self.to_discriminator if n == "D" else self.to_generator)(s) for n, s in states.items()},
            used=tuple(name for name in names if name in weights),
            unused=tuple(name for name in names if name not in weights),
            notes=(*self.notes(states), *filter(None, reasons.values()), *without, TRAINING),
        )


def conv_channels(state: State, keys: Iterable[str], axis: int = 0) -> list[int]:
    """Size of one axis of each of these convolutions' weights."""
    return [shape_of(state, key, 4)[axis] for key in keys]


def dense_head(conv: Tensor, dense: Tensor, group: int | None, **options: Any) -> Tree:
    """Recipe of a dense head with these weights of its convolution and its hidden layer."""
    channels, features = conv.shape[0], conv.shape[1] - conv.shape[0]
    if features < 0:
        refuse("its discriminator's last convolution has fewer inputs than outputs, which ganzoo does not have.")
    width = {"width": dense.shape[0]} if dense.shape[0] != channels else {}
    statistic = {"use": "minibatch_std", "group": group, "features": features} if features else None
    return {"statistic": statistic, **width, **options}


def growing_discriminator(
    channels: list[int],
    head: Tree | None = None,
    down: Tree | str = "plain",
    use: str = "dense",
    from_rgb: str = "plain",
) -> Tree:
    """Recipe of the discriminator of ProGAN and StyleGAN.

    Args:
        channels: coarse to fine
        head: options of the head; None for the defaults, if a file holds no discriminator
        down: the blocks
        use: name of the head
        from_rgb: name of the layers from RGB
    """
    trunk = {"use": "progressive", "down": down, "from_rgb": from_rgb}
    return {"channels": channels, "trunk": trunk, "head": {"statistic": "minibatch_std", **(head or {}), "use": use}}
