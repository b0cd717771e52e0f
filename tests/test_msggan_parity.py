"""MSG-GAN's networks and loss against outputs recorded from akanimax/BMSG-GAN."""

import pytest
import torch

import foreign
from ganzoo.gan.gan import Gan
from ganzoo.nn.norm import pixel_norm
from ganzoo_import.formats.bmsg import BMSG
from reference import GRADIENT, Recorded, load

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
FILES = pytest.mark.parametrize("name", foreign.files("07_msggan"))


def pair(name: str, dtype: torch.dtype, normalize: bool = False) -> tuple[Gan, Recorded, tuple[torch.Tensor, ...]]:
    """Build both networks with a file's weights: (G, D, images of every size). Latents were not normalised."""
    recorded, importer = load(name, dtype), BMSG(normalize=normalize)
    states = {"G_ema": recorded.state("G/"), "D": recorded.state("D/")}
    gan = foreign.built(importer.recipe(states), dtype)
    gan.G.load_state_dict(importer.to_generator(states["G_ema"]))
    gan.D.load_state_dict(importer.to_discriminator(states["D"]))
    depth = recorded.meta["constructor_kwargs"]["depth"]
    assert len(gan.shape.sizes) == depth
    return gan, recorded, tuple(recorded[f"real{i}"] for i in range(depth))


@PRECISIONS
@FILES
def test_images_of_every_size(name: str, dtype: torch.dtype) -> None:
    gan, recorded, real = pair(name, dtype)
    with torch.no_grad():
        images = gan.G(recorded["z"])
        assert len(images) == len(real)
        for i, image in enumerate(images):
            recorded.check(f"image{i}", image)


@PRECISIONS
@FILES
def test_scores_and_loss(name: str, dtype: torch.dtype) -> None:
    """The recorded relativistic average hinge loss is the mean of the per-sample losses."""
    gan, recorded, images = pair(name, dtype)
    with torch.no_grad():
        real, fake = gan.D(images), gan.D(gan.G(recorded["z"]))
    recorded.check("score_real", real.flatten())
    recorded.check("score_fake", fake.flatten())
    recorded.check("rahinge_d", gan.loss.d(real, fake).mean())
    recorded.check("rahinge_g", gan.loss.g(fake, real).mean())


@PRECISIONS
@FILES
def test_gradients_at_every_size(name: str, dtype: torch.dtype) -> None:
    gan, recorded, real = pair(name, dtype)
    images = tuple(image.clone().requires_grad_() for image in real)
    gradients = torch.autograd.grad(gan.D(images).sum(), images)
    for i, gradient in enumerate(gradients):
        recorded.check(f"score_grad{i}", gradient, GRADIENT)


@FILES
def test_latents_are_normalised_on_request(name: str) -> None:
    """With `normalize`, latents give the images of normalised latents, as in its training."""
    (scaled, recorded, _), (alone, _, _) = (pair(name, torch.float64, normalize) for normalize in (True, False))
    z = recorded["z"]
    sphere = z / z.norm(dim=1, keepdim=True) * z.shape[1] ** 0.5
    with torch.no_grad():
        assert torch.allclose(scaled.G(z)[-1], alone.G(pixel_norm(z))[-1], rtol=0, atol=1e-12)
        assert torch.allclose(scaled.G(z)[-1], alone.G(sphere)[-1], rtol=0, atol=1e-6)
