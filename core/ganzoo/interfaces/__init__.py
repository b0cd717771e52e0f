"""The slots: one abstract class each, which a plugin subclasses and names.

Imports registry and nn, nothing above. Read `generator` and `discriminator` first, then `layers`.
"""

from ganzoo.interfaces.dataset import Dataset, Finding
from ganzoo.interfaces.discriminator import Augment, Discriminator
from ganzoo.interfaces.experiment import Experiment, Images, Learner, Schedule
from ganzoo.interfaces.extractor import Features
from ganzoo.interfaces.generator import Generator, NoiseMode
from ganzoo.interfaces.growth import Growth, Shape, Stage
from ganzoo.interfaces.layers import (
    Block,
    Down,
    Draw,
    FromRGB,
    Head,
    Layer,
    Mapping,
    Noise,
    Norm,
    Statistic,
    Stem,
    ToRGB,
    TrunkPart,
    block_layers,
)
from ganzoo.interfaces.logger import Logger
from ganzoo.interfaces.loss import Loss
from ganzoo.interfaces.metric import GeneratorMetric, Metric, Which
from ganzoo.interfaces.regularizer import GanBatch, Regularizer, SampleRng
from ganzoo.interfaces.topology import LevelChannels, Synthesis, Trunk
from ganzoo.types import Progress

__all__ = [
    "Augment",
    "Block",
    "Dataset",
    "Discriminator",
    "Down",
    "Draw",
    "Experiment",
    "Features",
    "Finding",
    "FromRGB",
    "GanBatch",
    "Generator",
    "GeneratorMetric",
    "Growth",
    "Head",
    "Images",
    "Layer",
    "Learner",
    "LevelChannels",
    "Logger",
    "Loss",
    "Mapping",
    "Metric",
    "Noise",
    "NoiseMode",
    "Norm",
    "Progress",
    "Regularizer",
    "SampleRng",
    "Schedule",
    "Shape",
    "Stage",
    "Statistic",
    "Stem",
    "Synthesis",
    "ToRGB",
    "Trunk",
    "TrunkPart",
    "Which",
    "block_layers",
]
