"""Perceptual path length (arXiv:1812.04948, section 4.1): how evenly images change along a path of latents.

PPL = E[ d(G(I(a, b; t)), G(I(a, b; t + eps)))^2 / eps^2 ],  t uniform in [0, 1] ("full") or 0 ("end").
"""

import copy
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.errors import DataError, UsageError
from ganzoo.extractors.vgg import VGG16
from ganzoo.interfaces import Extractor, Generator, GeneratorMetric, ProbeContext, Shape, Stage, Which
from ganzoo.registry.component import Make
from ganzoo.training.seeds import image_seeds
from ganzoo.types import Image, Label, Latent, PerSample, Styles
from ganzoo_metrics.collect import extractor_name, require_output

Space = Literal["z", "w"]
Sampling = Literal["full", "end"]
Shrink = Literal["ada", "tf"]
Radius = Literal["unit", "gaussian"]

SIDE = 256  # images are made no larger than about this
PIXELS = 2**19  # of pairs of images computed at once
MOST = 64  # pairs computed at once
DTYPES = {"fp32": torch.float32, "fp64": torch.float64}


# --- the definition --------------------------------------------------------------------------------------------------


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation of directions: the point a share t of the angle from a towards b.

    Args:
        a: [N, D]
        b: [N, D]
        t: [N, 1]

    Returns:
        [N, D] of unit length, also where a and b are not
    """
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    cosine = (a * b).sum(dim=-1, keepdim=True)
    turned = F.normalize(b - cosine * a, dim=-1)  # at right angles to a, in the plane of both
    angle = t * cosine.clamp(-1, 1).acos()
    return F.normalize(a * angle.cos() + turned * angle.sin(), dim=-1)


def path_ends(
    G: Generator,
    stage: Stage,
    z: tuple[Latent, Latent],
    t: Tensor,
    label: Label,
    *,
    space: Space,
    epsilon: float,
    radius: Radius = "unit",
) -> tuple[Styles, Styles]:
    """Style codes at t and at t + epsilon on the way from one latent to another.

    Args:
        G: generator, in evaluation mode
        stage: of its growth
        z: latents [N, Z] of beginning and end
        t: [N]
        label: of both, [N, K]
        space: "w" goes straight between style codes, "z" along the sphere between latents
        epsilon: length of the step
        radius: latents on the sphere have length 1 ("unit"), or sqrt(Z), about that of Gaussian ones ("gaussian")

    Returns:
        two tensors [N, L, W]
    """
    if space == "w":
        a, b = (G.styles(end, label, stage) for end in z)
        return a.lerp(b, t[:, None, None]), a.lerp(b, t[:, None, None] + epsilon)
    factor = 1.0 if radius == "unit" else z[0].shape[1] ** 0.5
    here, there = (G.styles(slerp(*z, at[:, None]) * factor, label, stage) for at in (t, t + epsilon))
    return here, there


def cropped_and_shrunk(images: Image, crop: bool, shrink: Shrink = "ada") -> Image:
    """Return images [N, C, H, W] in [-1, 1] as they are compared: cropped, and averaged where they are large.

    Args:
        images: what the generator made; values outside of [-1, 1] stay outside
        crop: keep rows 3/8 to 7/8 and columns 2/8 to 6/8, where a face of FFHQ is
        shrink: average blocks of side s // 256; s is the longer side of the whole image ("ada", so that a cropped one
            becomes half as large), or of what is left after cropping ("tf")
    """
    h, w = images.shape[2:]
    x = images[:, :, h // 8 * 3 : h // 8 * 7, w // 8 * 2 : w // 8 * 6] if crop else images
    factor = max(images.shape[2:] if shrink == "ada" else x.shape[2:]) // SIDE
    return F.avg_pool2d(x, factor) if factor > 1 else x


def path_distances(
    G: Generator, stage: Stage, ends: tuple[Styles, Styles], features: Callable[[Image], Tensor], epsilon: float
) -> PerSample:
    """Return squared distances of the features of both ends' images, over epsilon^2: [N].

    Noise must be the same for sample i of either end: fixed maps, or seeds that come twice.

    Args:
        G: generator
        stage: of its growth
        ends: style codes [N, L, W] of both ends
        features: images [N, C, H, W] in [-1, 1] to features [N, D]
        epsilon: length of the step
    """
    here, there = features(G.synthesize(torch.cat(ends), stage)[-1]).chunk(2)
    return (here - there).square().sum(dim=1) / epsilon**2


def trimmed_mean(distances: NDArray[np.float64]) -> float:
    """Mean of what lies between the 1st and the 99th percentile, both rounded outwards to samples and included.

    Args:
        distances: float64 [N], N at least 1
    """
    low = np.percentile(distances, 1, method="lower")
    high = np.percentile(distances, 99, method="higher")
    return float(distances[(distances >= low) & (distances <= high)].mean())


def draw_pair(seed: int, index: int, z_dim: int) -> tuple[float, NDArray[np.float64]]:
    """Sample `index`: its place on the path in [0, 1), and two latents [2, z_dim]; of no other sample's concern."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    return float(rng.random()), rng.standard_normal((2, z_dim))


# --- the metric ------------------------------------------------------------------------------------------------------


class PPL(GeneratorMetric, name="ppl", paper="arXiv:1812.04948"):
    """Perceptual path length: mean squared LPIPS of images a small step apart, over the step's square.

    Defaults are those of ppl2_wend, the PPL of arXiv:1912.04958; the others have the published options. Both images of
    a pair have the same label and the same noise; the noise is each pair's own (elsewhere a batch shares one). There is
    no truncation. A step of 1e-4 leaves float32 three digits: precision fp64 for more.

    Compare only runs of equal options. Through another network than vgg16 the value is called
    `path_length/<extractor>`, and has no relation to any published PPL.

    Args:
        num: number of pairs
        space: interpolate latents on the sphere ("z") or style codes on a line ("w")
        sampling: steps anywhere on the path ("full") or at its beginning ("end")
        crop: compare the middle of a face only, as published for FFHQ and CelebA-HQ
        epsilon: length of the step
        shrink: large images are averaged by the side of the whole image over 256 ("ada", cropped or not), or by that of
            what is left after cropping ("tf", as in arXiv:1812.04948 and 1912.04958)
        radius: "unit" as published; "gaussian" for a generator that does not normalise its latents itself
        precision: of generator and network
        extractor: the perceptual network, with an output "lpips"
    """

    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ppl_zfull": {"space": "z", "sampling": "full", "crop": True},
        "ppl_wfull": {"space": "w", "sampling": "full", "crop": True},
        "ppl_zend": {"space": "z", "sampling": "end", "crop": True},
        "ppl_wend": {"space": "w", "sampling": "end", "crop": True},
        "ppl2_wend": {"space": "w", "sampling": "end", "crop": False},
    }
    output = "lpips"

    def __init__(
        self,
        shape: Shape,
        seed: int,
        /,
        *,
        num: Annotated[int, Ge(1)] = 50_000,
        space: Space = "w",
        sampling: Sampling = "end",
        crop: bool = False,
        epsilon: Annotated[float, Gt(0)] = 1e-4,
        shrink: Shrink = "ada",
        radius: Radius = "unit",
        precision: Literal["fp32", "fp64"] = "fp32",
        extractor: Make[Extractor] = VGG16,
    ) -> None:
        super().__init__(shape, seed, num=num)
        require_output(self.name, extractor, self.output)
        self.space, self.sampling, self.crop, self.epsilon = space, sampling, crop, epsilon
        self.shrink, self.radius, self.precision = shrink, radius, precision
        self.extractor: Make[Extractor] = extractor
        name = extractor_name(extractor)
        self.primary = "ppl" if name == VGG16.name else f"path_length/{name}"
        self.found: dict[int, float] = {}  # distance of each sample

    @torch.no_grad()
    def probe(self, context: ProbeContext) -> None:
        """Measure this process's share of the pairs. Raises DataError, RecipeError or UsageError."""
        G, stage, device, dtype = context.G, context.stage, context.device, DTYPES[self.precision]
        extractor = context.extractor
        assert extractor is not None  # built from the slot, which cannot be empty
        if dtype == torch.float64:
            if device.type == "mps":
                raise UsageError("ppl.precision: fp64 is not possible on mps: choose fp32, or --device cpu.")
            G, extractor = copy.deepcopy(G).double(), copy.deepcopy(extractor).double()

        def features(images: Image) -> Tensor:
            return extractor(cropped_and_shrunk(images, self.crop, self.shrink), [self.output])[self.output]

        mine = range(context.rank, self.num, context.world)
        label = context.labels(self.num, 2)[context.rank :: context.world].to(device, dtype) if G.labels else None
        h, w = G.shape.sizes[stage.level]
        batch = max(1, min(MOST, PIXELS // (h * w)))
        for start in range(0, len(mine), batch):
            own = mine[start : start + batch]
            draws = [draw_pair(self.seed, i, G.z_dim) for i in own]
            z = torch.from_numpy(np.stack([latents for _, latents in draws], axis=1)).to(device, dtype)
            t = torch.tensor([place for place, _ in draws], dtype=torch.float64).to(device, dtype) * (
                self.sampling == "full"
            )
            ends = self._ends(G, stage, z, t, None if label is None else label[start : start + batch])
            with G.noise("random", seeds=image_seeds(self.seed, own) * 2):
                found = path_distances(G, stage, ends, features, self.epsilon)
            self.found.update(zip(own, found.double().tolist()))
            context.progress("ppl", start + len(own), len(mine))

    def _ends(self, G: Generator, stage: Stage, z: Tensor, t: Tensor, label: Label) -> tuple[Styles, Styles]:
        ends = (z[0], z[1])
        return path_ends(G, stage, ends, t, label, space=self.space, epsilon=self.epsilon, radius=self.radius)

    def compute(self) -> dict[str, float]:
        """The value by name. Raises DataError where nothing was measured, or images were not finite."""
        if not self.found:
            raise DataError("ppl asks a generator, and there was none: give a checkpoint, not two sets of images.")
        distances = np.array([self.found[i] for i in sorted(self.found)])
        if not np.isfinite(distances).all():
            raise DataError(
                "ppl is not defined: the generator makes images that are not finite. Choose an earlier snapshot."
            )
        return {self.primary: trimmed_mean(distances)}

    def state(self, which: Which) -> dict[str, Tensor]:
        """Samples int64 [n] and their distances float64 [n]; nothing of real images."""
        if which == "real":
            return {}
        return {
            "index": torch.tensor(list(self.found), dtype=torch.int64),
            "distance": torch.tensor(list(self.found.values()), dtype=torch.float64),
        }

    def merge(self, which: Which, state: Mapping[str, Tensor]) -> None:
        """Add the samples of another process."""
        if which == "fake":
            self.found.update(zip(state["index"].tolist(), state["distance"].tolist()))
