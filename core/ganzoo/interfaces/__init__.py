"""The slots: one abstract class for each kind of component, which a plugin subclasses. Imports nn, registry and types.

Read `generator`, `discriminator`, `loss` and `regularizer` first, then `layers`: the parts inside the networks.
"""

from ganzoo.interfaces.dataset import Dataset, Finding
from ganzoo.interfaces.discriminator import Augment, Discriminator
from ganzoo.interfaces.experiment import Alarm, Experiment, Images, Learner, Monitor, Schedule
from ganzoo.interfaces.extractor import Extractor
from ganzoo.interfaces.generator import Generator, Learning, NoiseMode
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
    Part,
    Statistic,
    Stem,
    ToRGB,
    TrunkPart,
    block_layers,
)
from ganzoo.interfaces.logger import Logger
from ganzoo.interfaces.loss import Loss, per_sample
from ganzoo.interfaces.metric import GeneratorMetric, Metric, ProbeContext, Which
from ganzoo.interfaces.regularizer import GanBatch, Judged, Regularizer, SampleRng
from ganzoo.interfaces.topology import LevelChannels, Synthesis, SynthesisNetwork, Trunk
from ganzoo.types import Progress

__all__ = [
    "Alarm",
    "Augment",
    "Block",
    "Dataset",
    "Discriminator",
    "Down",
    "Draw",
    "Experiment",
    "Extractor",
    "Finding",
    "FromRGB",
    "GanBatch",
    "Generator",
    "GeneratorMetric",
    "Growth",
    "Head",
    "Images",
    "Judged",
    "Layer",
    "Learner",
    "Learning",
    "LevelChannels",
    "Logger",
    "Loss",
    "Mapping",
    "Metric",
    "Monitor",
    "Noise",
    "NoiseMode",
    "Norm",
    "Part",
    "ProbeContext",
    "Progress",
    "Regularizer",
    "SampleRng",
    "Schedule",
    "Shape",
    "Stage",
    "Statistic",
    "Stem",
    "Synthesis",
    "SynthesisNetwork",
    "ToRGB",
    "Trunk",
    "TrunkPart",
    "Which",
    "block_layers",
    "per_sample",
]
