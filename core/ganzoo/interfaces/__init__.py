"""The slots: one abstract class each. A plugin subclasses one of these and names it."""

from ganzoo.interfaces.discriminator import Discriminator
from ganzoo.interfaces.embedding import Perceptual, Projector, View
from ganzoo.interfaces.experiment import Experiment, Images, Schedule
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
from ganzoo.interfaces.logging import Logger, Loggers
from ganzoo.interfaces.objective import Dice, Loss, Regularizer, Turn
from ganzoo.interfaces.running import Augment, Dataset, Finding, Growth
from ganzoo.interfaces.tools import Converted, Features, Importer, Metric, Probe, Progress, Which
from ganzoo.interfaces.transfer import Commission, Described, FeatureMaps, Painting, StyleStatistic, Transfer

__all__ = [
    "Augment",
    "Block",
    "Commission",
    "Converted",
    "Dataset",
    "Described",
    "Dice",
    "Discriminator",
    "Down",
    "Draw",
    "Experiment",
    "FeatureMaps",
    "Features",
    "Finding",
    "FromRGB",
    "Generator",
    "Growth",
    "Head",
    "Images",
    "Importer",
    "Layer",
    "Logger",
    "Loggers",
    "Loss",
    "Mapping",
    "Meeting",
    "Metric",
    "Noise",
    "NoiseMode",
    "Norm",
    "Painting",
    "Perceptual",
    "Probe",
    "Progress",
    "Projector",
    "Regularizer",
    "Schedule",
    "Shape",
    "Stage",
    "Statistic",
    "Stem",
    "StyleStatistic",
    "Synthesis",
    "ToRGB",
    "Transfer",
    "Trunk",
    "Turn",
    "View",
    "Which",
    "block_layers",
]
