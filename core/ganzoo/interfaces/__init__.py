"""The slots: one abstract class each. A plugin subclasses one of these and names it."""

from ganzoo.interfaces.discriminator import Discriminator
from ganzoo.interfaces.generator import Generator, NoiseMode
from ganzoo.interfaces.layers import (
    Block,
    Down,
    Draw,
    FromRGB,
    Head,
    Layer,
    Mapping,
    Meeting,
    Noise,
    Norm,
    Shape,
    Stage,
    Statistic,
    Stem,
    Synthesis,
    ToRGB,
    Trunk,
    block_layers,
)
from ganzoo.interfaces.objective import Loss, Regularizer, Turn
from ganzoo.interfaces.running import Augment, Dataset, Finding, Growth
from ganzoo.interfaces.tools import Converted, Features, Importer, Metric, Which

__all__ = [
    "Augment",
    "Block",
    "Converted",
    "Dataset",
    "Discriminator",
    "Down",
    "Draw",
    "Features",
    "Finding",
    "FromRGB",
    "Generator",
    "Growth",
    "Head",
    "Importer",
    "Layer",
    "Loss",
    "Mapping",
    "Meeting",
    "Metric",
    "Noise",
    "NoiseMode",
    "Norm",
    "Regularizer",
    "Shape",
    "Stage",
    "Statistic",
    "Stem",
    "Synthesis",
    "ToRGB",
    "Trunk",
    "Turn",
    "Which",
    "block_layers",
]
