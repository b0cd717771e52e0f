"""A generator and a discriminator with nothing of ganzoo's inside: `forward` is all that they define."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganzoo import hookimpl
from ganzoo.interfaces import Discriminator, Generator

GANZOO_API = 2


class DCGenerator(Generator, name="dcgan", paper="arXiv:1511.06434"):
    """A dense layer, then convolutions with batch norm between upsamplings, and tanh."""

    def __init__(self, shape, labels, /):
        super().__init__()
        self.z_dim = 12
        self.size, doublings = shape.sizes[0], len(shape.sizes) - 1
        self.start = nn.Linear(self.z_dim + labels, 8 * self.size[0] * self.size[1])
        layers = [layer for _ in range(doublings) for layer in (nn.Upsample(scale_factor=2), *_convolution(8))]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8, shape.channels, 3, padding=1), nn.Tanh())

    def forward(self, z, label=None, stage=None):
        x = self.start(z if label is None else torch.cat([z, label], dim=1))
        return (self.layers(x.unflatten(1, (8, *self.size))),)


def _convolution(channels):
    return nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)


class PatchDiscriminator(Discriminator, name="patch", paper="arXiv:1611.07004"):
    """Strided convolutions with spectral norm; a logit for each patch."""

    def __init__(self, shape, labels, /):
        super().__init__()
        doublings = len(shape.sizes) - 1
        widths = [shape.channels + labels, *[8] * doublings]
        layers = [
            layer
            for a, b in zip(widths, widths[1:])
            for layer in (spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)), nn.Softplus())
        ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8, 1, 3, padding=1))

    def forward(self, images, label=None, stage=None):
        x = images[-1]
        if label is not None:
            x = torch.cat([x, label[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)
        return self.layers(x).flatten(1)


@hookimpl
def ganzoo_components():
    return [DCGenerator, PatchDiscriminator]
