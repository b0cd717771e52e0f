"""Networks in files of state dicts, under the names that projects use, and the base of their importers."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ganzoo.foreign.pickles import quoted, refuse
from ganzoo.foreign.torchfile import tensors
from ganzoo_import.formats.names import State, Tree, shape_of, tensors_of
from ganzoo_import.interfaces import Converted, Importer

# network: names that it may have in a file, in order of precedence
NAMES = {
    "G_ema": ("generator_smooth", "shadow_generator", "gen_shadow", "G_ema", "g_ema", "params_ema", "generator_ema"),
    "G": ("generator", "gen", "G", "g", "params", "netG", "net_g"),
    "D": ("discriminator", "dis", "D", "d", "netD", "net_d"),
}
MAX_WRAPPERS = 8  # dots in the path to a network: dictionaries around it, and prefixes such as DataParallel's `module.`
NO_GENERATOR = "it holds a discriminator only, and a snapshot is of a generator: save both in one file."
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

    A network is the tensors below one path that have a format's names: a state dict, or one inside dictionaries, or one
    whose keys have a prefix. A file's only generator becomes G_ema. Never raises.
    """
    groups = _groups(dict(tensors(data)))
    generators = [path for path, net in groups.items() if generator(set(net.names))]
    nets: dict[str, str] = {}  # our name: path
    for ours, paths in (("G", generators), ("D", [p for p, net in groups.items() if discriminator(set(net.names))])):
        for path in sorted(paths, key=_precedence):
            nets.setdefault("G_ema" if ours == "G" and _role(path)[0] == "G_ema" else ours, path)
    if "G_ema" not in nets and "G" in nets:
        nets["G_ema"] = nets.pop("G")
    if any(_strangers(path, groups, nets) for path in nets.values()):
        return {}
    return {ours: groups[nets[ours]] for ours in NAMES if ours in nets}


def spare_notes(data: Any, generator: Keys, nets: Mapping[str, Net]) -> list[str]:
    """Note on generators in a file that `networks` left out, because others came first; [] if there are none."""
    taken = [set(net.names.values()) for net in nets.values()]
    groups = _groups(dict(tensors(data)))
    spare = [p for p, net in groups.items() if generator(set(net.names)) and set(net.names.values()) not in taken]
    names = ", ".join(quoted(path.rstrip(".")) for path in spare[:3]) + (", ..." if len(spare) > 3 else "")
    return [f"the file holds more generators than one recipe needs: {names} left out." for _ in spare[:1]]


def _groups(flat: Mapping[str, Tensor]) -> dict[str, Net]:
    """{path, which is empty or ends in a dot: the tensors below it}."""
    groups: dict[str, Net] = {}
    for name, tensor in flat.items():
        dots = [match.end() for match in re.finditer(r"\.", name)][:MAX_WRAPPERS]
        for end in (0, *dots):
            net = groups.setdefault(name[:end], Net({}, {}))
            net.state[name[end:]], net.names[name[end:]] = tensor, name
    return groups


def _role(path: str) -> tuple[str, str, str]:
    """(our name, name in the file, path before it) of a network at a path; empty if the path does not name it."""
    parts = path.split(".")
    for i in range(len(parts) - 1, -1, -1):
        for ours, names in NAMES.items():
            if parts[i] in names:
                return ours, parts[i], "".join(f"{part}." for part in parts[:i])
    return "", "", ""


def _precedence(path: str) -> tuple[int, int]:
    """Sort key of networks of one kind: order of their names, then depth."""
    ours, name, _ = _role(path)
    return NAMES[ours].index(name) if ours else 0, path.count(".")


def _strangers(path: str, groups: Mapping[str, Net], nets: Mapping[str, str]) -> bool:
    """Whether a network beside that at a path is of another format."""
    ours, _, parent = _role(path)
    if not ours:
        return False
    for role, names in NAMES.items():
        beside = next((f"{parent}{name}." for name in names if f"{parent}{name}." in groups), "")
        known = [nets[role]] if role in nets else [nets["G_ema"]] if role == "G" and "G_ema" in nets else []
        if beside and not any(each.startswith(beside) for each in known):
            return True
    return False


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
            refuse(NO_GENERATOR)
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
            notes=(
                *spare_notes(data, self.is_generator, every),
                *self.notes(states),
                *filter(None, reasons.values()),
                *without,
                TRAINING,
            ),
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
