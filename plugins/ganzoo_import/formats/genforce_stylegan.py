"""StyleGAN of genforce/genforce, and of the checkpoints that it converted from the released ones."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from ganzoo.foreign.pickles import refuse
from ganzoo.types import Count, Positive
from ganzoo_import.formats import genforce
from ganzoo_import.formats.genforce import KERNELS, LOD, Fused, discriminator_channels, discriminator_head, fuses
from ganzoo_import.formats.names import State, Tree, count_of, mapped, only, reshaped, shape_of, taps_of
from ganzoo_import.formats.nets import StateDicts, assumed_note, growing_discriminator

SKIPPED = f"{LOD}|{KERNELS}"


def blur_of(kernels: Iterable[Tensor]) -> list[float] | None:
    """Taps of a network's low-pass filters, which are equal for all maps; None without filters."""
    taps = only((taps_of(k[0, 0]) for k in kernels if k.ndim == 4 and len(k)), "their low-pass filters", None)
    return list(taps) if taps else None


def mapping_recipe(state: State, dense: str, lr_mul: float, embed: int | None = None) -> tuple[int, int, Tree]:
    """(z_dim, w_dim, recipe of the mapping network) of dense layers `<dense>0`, `<dense>1`, ...

    Args:
        state: the generator's tensors
        dense: name of the layers without the number
        lr_mul: learning rate multiplier
        embed: length of an embedded label; None without labels
    """
    depth = count_of(state, rf"{re.escape(dense)}(\d+)\.weight")
    width, entering = shape_of(state, f"{dense}0.weight", 2)
    w_dim = shape_of(state, f"{dense}{max(depth, 1) - 1}.weight", 2)[0]
    tree: Tree = {"use": "mlp", "depth": depth, "lr_mul": lr_mul, "gain": "weight", "embed": "matrix"}
    tree |= {} if depth == 1 or width == w_dim else {"width": width}
    tree |= {} if embed is None else {"embed_dim": embed}
    if entering <= (embed or 0):
        refuse("its mapping network takes fewer numbers than an embedded label has.")
    return entering - (embed or 0), w_dim, tree


def synthesis_recipe(blur: list[float] | None, eps: float = 1e-8) -> Tree:
    """Recipe of StyleGAN's synthesis network with these taps, and this eps of its instance norms."""
    noise = {"use": "pixel_noise", "per": "channel"}
    return {
        "use": "progressive",
        "stem": {"use": "adain", "noise": noise, "eps": eps},
        "block": {"use": "plain", "layer": {"use": "adain", "noise": noise, "blur": blur, "eps": eps}},
        "to_rgb": "conv",
    }


def generator_recipe(state: State, lr_mul: float = 0.01) -> Tree:
    """Read the recipe of a `StyleGANGenerator` from its shapes."""
    embed = shape_of(state, "mapping.label_weight", 2)[1] if "mapping.label_weight" in state else None
    z_dim, w_dim, mapping = mapping_recipe(state, "mapping.dense", lr_mul, embed)
    kernels = (value for key, value in state.items() if re.fullmatch(KERNELS, key))
    return {
        "z_dim": z_dim,
        "w_dim": w_dim,
        "channels": genforce.generator_channels(state, r"synthesis."),
        "mapping": mapping,
        "synthesis": synthesis_recipe(blur_of(kernels)),
    }


def generator(state: State, fused: Fused) -> dict[str, Tensor]:
    """Rename the tensors of a `StyleGANGenerator` and permute axes."""
    inside = {
        "weight": "conv.weight",
        "bias": "epilogue.bias",
        "apply_noise.weight": "epilogue.noise.strength",
        "apply_noise.noise": "epilogue.noise.const",
        "style.weight": "epilogue.style.weight",
        "style.bias": "epilogue.style.bias",
    }

    def layer(match: re.Match[str]) -> str:
        index = int(match[1])
        place = f"blocks.{index // 2}.layers.{0 if index == 1 else index % 2}" if index else "stem"
        return f"synthesis.{place}.{inside[match[2]]}"

    source = dict(state)
    for key, weight in state.items():
        index = int(m[1]) if (m := re.fullmatch(r"synthesis\.layer(\d{1,3})\.weight", key)) else 1
        if index % 2 == 0 and fuses(fused, index // 2):
            source[key] = genforce.mirrored(weight)
    if "mapping.label_weight" in source:
        source["mapping.label_weight"] = source["mapping.label_weight"].T
    out = mapped(
        source,
        [
            (r"truncation\.w_avg", "w_mean"),
            (r"mapping\.label_weight", "mapping.embed.weight"),
            (r"mapping\.dense(\d+)\.(weight|bias)", r"mapping.layers.\1.\2"),
            (r"synthesis\.layer0\.const", "synthesis.stem.const"),
            (rf"synthesis\.layer(\d+)\.({'|'.join(map(re.escape, inside))})", layer),
            (r"synthesis\.output(\d+)\.(weight|bias)", r"synthesis.to_rgb.\1.conv.\2"),
        ],
        skip=SKIPPED,
    )
    return reshaped(out, [("noise.strength", (-1, 1, 1))])


def discriminator_recipe(state: State, group: int | None = 4, labels: int = 0) -> Tree:
    """Read the recipe of a `StyleGANDiscriminator` from its shapes; with labels it has a logit for each.

    The mean of 2x2 pixels precedes the activation, fused or not, so that `fused` changes no result here.
    """
    head, outputs = discriminator_head(state, group)
    down = down_recipe(blur_of(value for key, value in state.items() if re.fullmatch(KERNELS, key)))
    use = "selection" if labels or outputs > 1 else "dense"
    return growing_discriminator(discriminator_channels(state), head, down, use)


def down_recipe(blur: list[float] | None) -> Tree:
    """Recipe of StyleGAN's discriminator block with these taps."""
    return {"use": "plain", "blur": blur, "fused": True}


class GenforceStyleGAN(StateDicts, name="genforce-stylegan", paper="arXiv:1812.04948"):
    """StyleGAN's checkpoints (.pth) of genforce/genforce.

    Args:
        fused: layers of the generator that upsample within their convolution, whose kernels are rotated: all, none, or
            "auto" for those from 128x128 on, as in the released networks; the file does not tell
        group: group size of the discriminator's minibatch standard deviation, which the file does not tell; null for
            the whole batch
        lr_mul: learning rate multiplier of the mapping network, which the file does not tell
    """

    generator_keys = frozenset({"mapping.dense0.weight", "synthesis.layer0.const", "synthesis.layer0.style.weight"})
    discriminator_keys = frozenset({"layer0.weight", "input0.weight", "input0.bias", "layer1.blur.kernel"})
    left_out = SKIPPED

    def __init__(self, *, fused: Fused = "auto", group: Count | None = 4, lr_mul: Positive = 0.01) -> None:
        self.fused, self.group, self.lr_mul = fused, group, lr_mul

    def to_generator(self, state: State) -> dict[str, Tensor]:
        """Convert the generator."""
        return generator(state, self.fused)

    def to_discriminator(self, state: State) -> dict[str, Tensor]:
        """Convert the discriminator."""
        return genforce.discriminator(state, len(discriminator_channels(state)) - 1)

    def recipe(self, states: Mapping[str, State]) -> Tree:
        """Write the whole recipe, from shapes and options."""
        G, D = states["G_ema"], states.get("D")
        labels = shape_of(G, "mapping.label_weight", 2)[0] if "mapping.label_weight" in G else 0
        tree = generator_recipe(G, self.lr_mul)
        blur = tree["synthesis"]["block"]["layer"]["blur"]
        default = growing_discriminator(
            tree["channels"], down=down_recipe(blur), use="selection" if labels else "dense"
        )
        return self.whole(
            "StyleGAN",
            shape_of(G, "synthesis.output0.weight", 4)[0],
            tree,
            discriminator_recipe(D, self.group, labels) if D else default,
            labels=labels,
            loss="logistic",
            regularizers=["r1"],
        )

    def notes(self, states: Mapping[str, State]) -> list[str]:
        """Sentences on assumptions."""
        return [assumed_note(self.fused, self.lr_mul, self.group), *genforce.growth_notes(states["G_ema"])]
