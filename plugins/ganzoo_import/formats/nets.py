"""Which networks a file of state dicts holds, under the names that projects use, and what becomes of its tensors."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ganzoo.foreign.torchfile import tensors
from ganzoo_import.formats.names import State, Tree, refuse, tensors_of
from ganzoo_import.interfaces import Converted, Importer

# our network: names that it may have in a file, the first one found counts
NAMES = {
    "G_ema": ("generator_smooth", "shadow_generator", "gen_shadow", "G_ema", "g_ema"),
    "G": ("generator", "gen", "G", "g"),
    "D": ("discriminator", "dis", "D", "d"),
}
WRAPPERS = ("models", "state_dict")  # a dictionary around the state dicts, and one around a single state dict
PARALLEL = "module."  # what torch's DataParallel puts before every name
TRAINING = "the file does not say how to go on training (loss, penalties, learning rates): the recipe has the paper's."

Keys = Callable[[set[str]], bool]  # whether names of tensors are those of a network of some format


def taken(fused: bool | str, lr_mul: float, group: int | None) -> str:
    """What a StyleGAN's file does not say, and what is put in its place."""
    return (
        "the file does not say which layers upsample within their convolution, lr_mul of the mapping network, nor the "
        f"group of the minibatch standard deviation: fused={str(fused).lower()}, lr_mul={lr_mul:g} and "
        f"group={'null' if group is None else group} are taken (--set fused=..., lr_mul=..., group=...)."
    )


@dataclass(frozen=True)
class Net:
    """One network of a file.

    Args:
        state: its tensors, by names without what a wrapper put before them
        names: {those names: the tensors' names in the whole file}
    """

    state: dict[str, Tensor]
    names: dict[str, str]


def networks(found: Any, generator: Keys, discriminator: Keys) -> dict[str, Net]:
    """{our network: what the file holds of it}; {} unless all networks that a file names look like those of a format.

    A file may be a state dict, or a dictionary with one for each network. Looks, and never raises; the only generator
    of a file is called G_ema.
    """
    value, path = _unwrapped(found, "")
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
    """What stands inside wrappers, and the path to it."""
    for name in WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(name), dict):
            value, path = value[name], f"{path}{name}."
    return value, path


def _net(value: Any, path: str) -> Net | None:
    """A state dict, without the prefix of DataParallel; None for anything else."""
    if not isinstance(value, dict) or not value or not all(isinstance(key, str) for key in value):
        return None
    prefix = PARALLEL if all(key.startswith(PARALLEL) for key in value) else ""
    names = {key.removeprefix(prefix): f"{path}{key}" for key in value}
    return Net({key.removeprefix(prefix): tensor for key, tensor in value.items()}, names)


class StateDicts(Importer):
    """An importer of files that hold the networks' state dicts and nothing that says how these were made.

    A subclass says how to tell its networks, and turns them into ours. It writes its sizes from shapes alone; what
    shapes cannot tell is an option, and a note says what was taken.
    """

    left_out: ClassVar[str] = r"$^"  # names of tensors that are not weights: filters, which become options

    @staticmethod
    def is_generator(keys: set[str]) -> bool:
        """Whether these are names of its generator's tensors."""
        raise NotImplementedError

    @staticmethod
    def is_discriminator(keys: set[str]) -> bool:
        """Whether these are names of its discriminator's tensors."""
        raise NotImplementedError

    def to_generator(self, state: State) -> dict[str, Tensor]:
        """Its generator as ours."""
        raise NotImplementedError

    def to_discriminator(self, state: State) -> dict[str, Tensor]:
        """Its discriminator as ours."""
        raise NotImplementedError

    def recipe(self, states: Mapping[str, State]) -> Tree:
        """The whole recipe."""
        raise NotImplementedError

    def notes(self, states: Mapping[str, State]) -> list[str]:
        """What was assumed, and what differs from the reference."""
        raise NotImplementedError

    def refused(self, name: str, net: Net) -> str:
        """Why a network is left out, in a sentence; "" where it is not."""
        return ""

    def recognises(self, found: Any) -> bool:
        """Whether the file holds such networks, and no others."""
        return bool(networks(found, self.is_generator, self.is_discriminator))

    def convert(self, found: Any) -> Converted:
        """Shapes become the recipe."""
        every = networks(found, self.is_generator, self.is_discriminator)
        why = [sentence for name, net in every.items() if (sentence := self.refused(name, net))]
        nets = {name: net for name, net in every.items() if not self.refused(name, net)}
        if "G_ema" not in nets:
            refuse("it holds a discriminator only, and a snapshot is of a generator: save both in one file.")
        states = {name: tensors_of(net.state, f"its network {name}") for name, net in nets.items()}
        told = {
            name for net in nets.values() for key, name in net.names.items() if not re.fullmatch(self.left_out, key)
        }
        names = [name for name, _ in tensors(found)]
        without = [] if "D" in every else ["the file holds no discriminator: the recipe has one of the same width."]
        return Converted(
            recipe=self.recipe(states),
            nets={n: (self.to_discriminator if n == "D" else self.to_generator)(s) for n, s in states.items()},
            used=tuple(name for name in names if name in told),
            unused=tuple(name for name in names if name not in told),
            notes=(*self.notes(states), *why, *without, TRAINING),
        )


def conv_channels(state: State, keys: Iterable[str], axis: int = 0) -> list[int]:
    """A size of each of some tensors of four axes."""
    sizes = []
    for key in keys:
        if key not in state or state[key].ndim != 4:
            refuse(f"it lacks the tensor '{key}' with 4 axes, from which the sizes of the network are read.")
        sizes.append(state[key].shape[axis])
    return sizes


def dense_head(conv: Tensor, dense: Tensor, group: int | None, **options: Any) -> Tree:
    """Our dense head for the weights of its convolution and of its hidden layer."""
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
    """Our discriminator of ProGAN and StyleGAN.

    Args:
        channels: coarse to fine
        head: its head; None for the usual one, where a file holds no discriminator
        down: its blocks
        use: kind of the head
        from_rgb: kind of its layers that take in images
    """
    trunk = {"use": "progressive", "down": down, "from_rgb": from_rgb}
    return {"channels": channels, "trunk": trunk, "head": {"statistic": "minibatch_std", **(head or {}), "use": use}}
