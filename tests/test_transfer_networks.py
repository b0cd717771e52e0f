"""The networks that transfers look through and paint with."""

from functools import partial

import pytest
import torch
from torch import nn

from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.extractors.vgg import VGG16, VGG19, caffe
from ganzoo.extractors.vgg_normalised import NormalisedNet, NormalisedVGG19
from ganzoo.registry.lookup import registry
from ganzoo.testing.extractors import check_extractor
from ganzoo_style_transfer.adain import Decoder
from ganzoo_style_transfer.trials import check_transfer

PLAN = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512)  # VGG-19 to relu4_1


class TestNetworks:
    def test_adains_counts(self) -> None:
        """Of the published encoder, with its 1x1 convolution, and decoder (arXiv:1703.06868, its code)."""
        assert sum(p.numel() for p in NormalisedNet().parameters()) == 3_505_740
        assert sum(p.numel() for p in Decoder(PLAN).parameters()) == 3_505_219

    def test_plans(self) -> None:
        """Of the convolutions and halvings up to a layer, whether before or after its ReLU."""
        assert NormalisedVGG19.plan("relu4_1") == NormalisedVGG19.plan("conv4_1") == PLAN
        assert VGG19.plan("relu4_1") == PLAN
        assert VGG16.plan("pool2") == (64, 64, 0, 128, 128, 0)
        assert ConvRandom.plan("relu3") == (16, 0, 32, 0, 64)

    def test_the_decoder_mirrors(self) -> None:
        """Of VGG-19: convolutions to 256 x4, 128 x2, 64 x2, 3 channels, each size doubled where it was halved."""
        decoder = Decoder(PLAN)
        widths = [m.out_channels for m in decoder.layers if isinstance(m, nn.Conv2d)]
        assert widths == [256, 256, 256, 256, 128, 128, 64, 64, 3]
        order = "".join({nn.Conv2d: "c", nn.ReLU: "", nn.Upsample: "u"}[type(m)] for m in decoder.layers)
        assert order == "cuccccuccucc"
        assert isinstance(decoder.layers[-1], nn.Conv2d)
        assert decoder(torch.zeros(2, 512, 3, 4)).shape == (2, 3, 24, 32)

    def test_borders_are_reflected(self) -> None:
        """A constant image has constant features at every layer; zeros beyond the border would darken them."""
        net = NormalisedNet()
        for maps in net(torch.full((1, 3, 32, 32), 0.4), ["relu1_1", "relu2_1", "relu3_1", "relu4_1"]).values():
            assert torch.allclose(maps, maps[:, :, :1, :1].expand_as(maps), atol=1e-5)

    def test_caffe_preprocessing(self) -> None:
        """Pure red is [-mean blue, -mean green, 255 - mean red]."""
        red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1)
        assert torch.allclose(caffe(red).flatten(), torch.tensor([-103.939, -116.779, 255 - 123.68]), atol=1e-4)

    @pytest.mark.parametrize("size", [(8, 8), (12, 8)])
    def test_conv_random_conforms(self, size) -> None:
        assert list(check_extractor(partial(ConvRandom), ConvRandom, size)) == []

    @pytest.mark.parametrize("name", registry().names("transfer"))
    def test_transfers_conform(self, name) -> None:
        cls = registry().get("transfer", name)
        assert list(check_transfer(partial(cls, features=ConvRandom), cls, (8, 8))) == []
