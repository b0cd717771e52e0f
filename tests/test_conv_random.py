"""The untrained extractor: the same everywhere, for any image."""

import hashlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ganzoo.errors import DataError
from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.nn import random_convs
from ganzoo.nn.pixels import to_unit

MASK = 2**64 - 1


def philox(key: int, counter: int) -> list[int]:
    """Philox4x64-10 (Salmon et al., 2011): four 64-bit numbers of a counter, in plain integers."""
    c, k = [counter & MASK, counter >> 64, 0, 0], [key & MASK, key >> 64]
    for _ in range(10):
        high, low = divmod(c[0] * 0xD2E7470EE14C6C93, 2**64)
        high2, low2 = divmod(c[2] * 0xCA5A826395121157, 2**64)
        c = [high2 ^ c[1] ^ k[0], low2, high ^ c[3] ^ k[1], low]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def test_conv_randoms_weights_are_the_same_everywhere():
    """Computed anew in plain integers, and their hash."""
    shapes = {"conv0": (16, 3, 3, 3), "conv1": (32, 16, 3, 3), "conv2": (64, 32, 3, 3), "dense": (128, 256)}
    shapes["classes"] = (32, 64)
    total = sum(math.prod(shape) for shape in shapes.values())
    bits = [number for block in range(1, -(-total // 4) + 1) for number in philox(0x67616E7A6F6F, block)]
    hashed, start, net = hashlib.sha256(), 0, ConvRandom(3)
    for name, shape in shapes.items():
        part = bits[start : start + math.prod(shape)]
        start += len(part)
        bound = math.sqrt(6 / math.prod(shape[1:]))
        weights = np.array([np.float32(((r >> 11) / 2**52 - 1) * bound) for r in part], np.float32).reshape(shape)
        assert np.array_equal(net.state_dict()[name].numpy(), weights)
        hashed.update(weights.tobytes())
    assert list(net.state_dict()) == list(shapes)
    assert hashed.hexdigest() == "c170c17cc979515125ebd99b021997083c5cecbf73d17aaf9e0aa642d0f851b6"
    assert net.fingerprint("pool") == ConvRandom(3).fingerprint("pool") != ConvRandom(1).fingerprint("pool")


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (64, 48)])
def test_conv_random_takes_any_image(channels: int, size: tuple[int, int]):
    images = torch.randint(0, 256, (5, channels, *size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    net, x = ConvRandom(channels), to_unit(images)
    found = net(x, ConvRandom.outputs)
    assert tuple(found) == ConvRandom.outputs
    assert [found[name].shape for name in ("pool", "fc2", "logits_unbiased")] == [(5, 64), (5, 128), (5, 32)]
    for name, features in found.items():
        assert features.dtype == torch.float32
        assert torch.allclose(net(x[2:3], [name])[name], features[2:3], rtol=1e-4, atol=1e-5)
        assert torch.equal(net(to_unit(images.float()), [name])[name], features)
        spread = features.std(dim=0).mean() / features.abs().mean()
        assert spread > 0.02, f"{name} hardly tells images apart"


def test_conv_random_needs_eight_pixels():
    with pytest.raises(DataError, match="at least 8x8 pixels, not 16x7"):
        ConvRandom(3)(torch.zeros(1, 3, 7, 16), ["pool"])


def test_conv_randoms_lpips_is_bounded():
    """Three layers of unit vectors: no squared distance exceeds 3 * 2, at whatever size."""
    for side in (8, 100):
        one, two = ConvRandom(3)(torch.rand(2, 3, side, side) * 2 - 1, ["lpips"])["lpips"]
        assert 0 < float((one - two).square().sum()) < 6


def test_conv_random_is_its_random_convolutions():
    """The layers are those of the convolutions alone, and use no numbers that conv-random draws after them."""
    x = torch.rand(2, 4, 13, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1
    net, extractor = random_convs.RandomConvs(4), ConvRandom(4)
    for name, weight in net.state_dict().items():
        assert torch.equal(weight, extractor.state_dict()[name])
        assert not weight.requires_grad
    maps = net.maps(x)
    expected, inputs = [], x.double()
    for i in range(3):
        inputs = F.conv2d(inputs, net.get_buffer(f"conv{i}").double(), padding=1).clamp(min=0)
        expected.append(inputs)
        inputs = F.avg_pool2d(inputs, 2)
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 13, 10), (32, 6, 5), (64, 3, 2)]
    assert all(torch.allclose(m.double(), e, atol=1e-5) for m, e in zip(maps, expected))
    assert all(torch.equal(m, named) for m, named in zip(maps, extractor(x, ConvRandom.layers).values()))
    with pytest.raises(DataError, match="at least 4x4 pixels, not 9x3"):
        net.maps(torch.zeros(1, 4, 3, 9))
