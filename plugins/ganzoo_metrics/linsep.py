"""Linear separability (arXiv:1812.04948, section 4.2): whether hyperplanes in latent space divide images by attribute.

A classifier of images says which of many generated images have an attribute. A linear support vector machine learns to
say the same from their latents. What is left uncertain, H(Y|X), is summed over attributes: score = 2^(sum of H), at
least 1, which is perfect.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from ganzoo.errors import CheckpointError, DataError, UsageError, ZooError
from ganzoo.interfaces import Discriminator, GeneratorMetric, ProbeContext, Shape, Statistic, Which
from ganzoo.io.files import expand_user
from ganzoo.model.restore import load_gan
from ganzoo.nn.resample import downsample
from ganzoo.training.seeds import image_seeds, latents
from ganzoo.types import Image, Latent, Pyramid

BATCH = 32
STEPS, ENOUGH = 100, 1e-9  # of Newton's method: most steps, and the relative gradient at which it ends


# --- the definition --------------------------------------------------------------------------------------------------


def conditional_entropy(joint: Tensor) -> float:
    """H(Y|X) in bits.

    Args:
        joint: [X, Y] probabilities of both, with sum 1

    Returns:
        0 where X says what Y is; at most log2 of the number of values of Y
    """
    p = joint.double()
    px = p.sum(dim=1, keepdim=True).expand_as(p)
    some = p > 0
    return max(0.0, float((p[some] * (px[some] / p[some]).log2()).sum()))


def separability(entropies: Sequence[float]) -> float:
    """2^(sum of conditional entropies in bits), at least 1."""
    return float(2.0 ** sum(entropies))


def joint_distribution(x: Tensor, y: Tensor) -> Tensor:
    """Frequencies [2, 2] of (x, y) of two boolean vectors [N]."""
    pairs = torch.stack([(x == i) & (y == j) for i in (False, True) for j in (False, True)])
    return pairs.double().mean(dim=1).reshape(2, 2)


def with_bias(x: Tensor) -> Tensor:
    """float64 [N, D + 1]: a last column of ones."""
    return torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64, device=x.device)], dim=1)


def linear_svm(x: Tensor, y: Tensor, c: float = 1.0) -> Tensor:
    """Weights of the linear support vector machine: the minimum of |w|^2 / 2 + c sum max(0, 1 - y x.w)^2.

    The function is convex with a continuous gradient, and quadratic as long as the same samples lie inside the margin:
    Newton's method with a line search ends at the minimum itself after some ten steps (Keerthi and DeCoste, 2005).

    Args:
        x: float64 [N, D], with a column of ones for the bias, which is regularised like every weight
        y: float64 [N], 1 or -1
        c: weight of the errors

    Returns:
        float64 [D]; a sample is on the positive side where x.w > 0
    """
    w = x.new_zeros(x.shape[1])
    for _ in range(STEPS):
        margin = 1 - y * (x @ w)
        inside = margin > 0
        support = x[inside]
        gradient = w - 2 * c * (support.T @ (y * margin)[inside])
        if float(gradient.norm()) <= ENOUGH * 2 * c * float((x.T @ y).norm() + 1):
            break
        hessian = torch.eye(len(w), dtype=x.dtype, device=x.device) + 2 * c * (support.T @ support)
        step = torch.linalg.solve(hessian, -gradient)
        w = w + _line_search(w, step, margin, y * (x @ step), c) * step
    return w


def _line_search(w: Tensor, step: Tensor, margin: Tensor, slope: Tensor, c: float) -> float:
    """The share of a step to the minimum along it: its derivative there rises, so it is halved in on."""

    def derivative(share: float) -> float:
        rest = (margin - share * slope).clamp(min=0)
        return float(w @ step + share * (step @ step) - 2 * c * (rest @ slope))

    if abs(derivative(1.0)) <= 1e-12 * abs(derivative(0.0)):
        return 1.0
    low, high = 0.0, 1.0
    while derivative(high) < 0:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if derivative(middle) < 0 else (low, middle)
    return (low + high) / 2


def liblinear_svm(x: Tensor, y: Tensor) -> Tensor:
    """The same by scikit-learn's LinearSVC with its default arguments, which stops near the minimum.

    Raises UsageError where scikit-learn is not installed.
    """
    fitted = _scikit_svm().LinearSVC(random_state=0).fit(x[:, :-1].cpu().numpy(), y.cpu().numpy())
    return torch.from_numpy(np.concatenate([fitted.coef_[0], fitted.intercept_])).to(x)


def _scikit_svm() -> Any:
    """Import sklearn.svm. Raises UsageError where scikit-learn is not installed."""
    try:
        return importlib.import_module("sklearn.svm")
    except ImportError:
        raise UsageError(
            "linsep.svm: liblinear needs scikit-learn: pip install scikit-learn. 'newton' needs nothing."
        ) from None


SOLVERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"newton": linear_svm, "liblinear": liblinear_svm}


def attribute_entropy(x: Tensor, logits: Tensor, keep: int, solve: Callable[[Tensor, Tensor], Tensor]) -> float:
    """H(Y|X) of one attribute: Y what a classifier says, X what a hyperplane in latent space says.

    Args:
        x: [N, D] latents
        logits: [N] of the classifier, positive for one class
        keep: so many samples are used, those with the largest |logit|
        solve: fits a linear support vector machine

    Returns:
        bits, in [0, 1]; 0 where all samples are of one class
    """
    most = logits.abs().argsort(descending=True, stable=True)[:keep]
    y = logits[most] > 0
    if y.all() or not y.any():
        return 0.0
    samples = with_bias(x[most])
    predicted = samples @ solve(samples, y.double() * 2 - 1) > 0
    return conditional_entropy(joint_distribution(predicted, y))


# --- classifiers -----------------------------------------------------------------------------------------------------


def load_classifiers(folder: Path | None, shape: Shape, device: torch.device) -> dict[str, Discriminator]:
    """The discriminators of the snapshots in a folder, by file name.

    Raises:
        UsageError: there is no folder, or it holds no snapshot
        CheckpointError: a snapshot is damaged, or its discriminator cannot classify single images of this shape
    """
    if folder is None or not expand_user(folder).is_dir():
        raise UsageError(
            f"linsep.classifiers: {'name' if folder is None else f'{folder} is not'} a folder with a snapshot for each "
            "attribute, whose discriminator's logit says whether an image has it. ganzoo contains none."
        )
    files = sorted(expand_user(folder).glob("*.safetensors"))
    if not files:
        raise UsageError(f"linsep.classifiers: {folder} holds no snapshot, no file '*.safetensors'.")
    return {path.stem: _classifier(path, shape).to(device) for path in files}


def _classifier(path: Path, shape: Shape) -> Discriminator:
    _, _, gan = load_gan(path, "D")
    D = gan.D
    fault = ""
    if D.labels:
        fault = "wants labels: a classifier of images without labels is wanted."
    elif any(isinstance(m, Statistic) for m in D.modules()):
        fault = "judges an image by its batch too: train it with discriminator.head.statistic=null."
    elif D.shape.channels != shape.channels:
        fault = f"takes {D.shape.channels} channels, and the images have {shape.channels}."
    elif _factor(shape.size, D.shape.size) == 0:
        want, have = (f"{s[1]}x{s[0]}" for s in (D.shape.size, shape.size))
        fault = f"takes {want} images, and {have} ones are not a power of two times as large."
    if fault:
        raise CheckpointError(f"{path}: its discriminator {fault}")
    return D.eval().requires_grad_(False)


def _factor(size: tuple[int, int], wanted: tuple[int, int]) -> int:
    """By which power of two a size is larger than the wanted one; 0 where it is not."""
    factor = size[0] // wanted[0]
    fits = size == (wanted[0] * factor, wanted[1] * factor)
    return factor if fits and factor & (factor - 1) == 0 else 0


def classify(D: Discriminator, images: Image) -> Tensor:
    """Logits [N] of a classifier; larger images [N, C, H, W] are averaged to its size."""
    factor = _factor((images.shape[2], images.shape[3]), D.shape.size)
    pyramid: Pyramid = (F.avg_pool2d(images, factor) if factor > 1 else images,)
    if D.accepts == "pyramid":
        for _ in D.shape.sizes[1:]:
            pyramid = (downsample(pyramid[0], (1, 1)), *pyramid)
    return D(pyramid)[:, 0]


# --- the metric ------------------------------------------------------------------------------------------------------


class LinearSeparability(GeneratorMetric, name="linsep", paper="arXiv:1812.04948"):
    """Linear separability of latents (linsep/z) and of style codes (linsep/w), as 2 to the sum of H(Y|X); 1 is perfect.

    For each attribute a classifier judges generated images, those it is least sure of are left out, and a linear
    support vector machine learns its verdict from latents. The published numbers come from classifiers of 40 attributes
    of CelebA-HQ, which ganzoo does not contain: numbers are comparable only where the classifiers are the same.

    A classifier is the discriminator of a snapshot, made without minibatch statistics and labels, for images of the
    generator's size or one that is a power of two smaller; its logit is positive for one of the two classes.

    The last style code of each image stands for w. There is no truncation; noise is random. 200,000 images with 512
    numbers each need 3 GB of memory; one fit takes some ten seconds of a core.

    Args:
        num: number of generated images
        keep: of these, so many are used for each attribute: those of which its classifier is surest
        classifiers: folder with one snapshot for each attribute
        svm: "newton" finds the minimum that defines the support vector machine; "liblinear" is LinearSVC of
            scikit-learn, as published, which stops near it
    """

    primary = "linsep/w"

    def __init__(
        self,
        shape: Shape,
        seed: int,
        /,
        *,
        num: Annotated[int, Ge(1)] = 200_000,
        keep: Annotated[int, Ge(1)] = 100_000,
        classifiers: Path | None = None,
        svm: Literal["newton", "liblinear"] = "newton",
    ) -> None:
        super().__init__(shape, seed, num=num)
        self.keep, self.classifiers, self.svm = keep, classifiers, svm
        self.parts: list[dict[str, Tensor]] = []  # index [n], z [n, Z], w [n, W], logits [n, attributes]
        self.device = torch.device("cpu")  # where the machines are fitted

    def missing(self) -> ZooError | None:
        """Return the error of missing or unfit classifiers, or of a missing scikit-learn; else None."""
        try:
            if self.svm == "liblinear":
                _scikit_svm()
            load_classifiers(self.classifiers, self.shape, torch.device("cpu"))
        except ZooError as err:
            return err
        return None

    @torch.no_grad()
    def probe(self, context: ProbeContext) -> None:
        """Make this process's share of the images and classify them. Raises UsageError or CheckpointError."""
        G, device = context.G, context.device
        judges = list(load_classifiers(self.classifiers, self.shape, device).values())
        self.device = device if device.type != "mps" else torch.device("cpu")  # mps has no float64
        mine = range(context.rank, self.num, context.world)
        label = context.labels(self.num, 3)[context.rank :: context.world] if G.labels else None
        for start in range(0, len(mine), BATCH):
            own = mine[start : start + BATCH]
            seeds = image_seeds(self.seed, own)
            given = None if label is None else label[start : start + BATCH].to(device)
            z: Latent = latents(seeds, G.z_dim).to(device)
            ws = G.styles(z, given, context.stage)
            with G.noise("random", seeds=seeds):
                images = G.synthesize(ws, context.stage)[-1]
            logits = torch.stack([classify(D, images) for D in judges], dim=1)
            found = {"index": torch.tensor(own), "z": z, "w": ws[:, -1], "logits": logits}
            self.parts.append({name: t.cpu() for name, t in found.items()})
            context.progress("linsep", start + len(own), len(mine))

    def compute(self) -> dict[str, float]:
        """Both values by name. Raises DataError where nothing was measured, or a logit is not finite."""
        if not self.parts:
            raise DataError("linsep asks a generator, and there was none: give a checkpoint, not two sets of images.")
        found = self.state("fake")
        order = found["index"].argsort()
        logits = found["logits"][order].to(self.device)
        if not logits.isfinite().all():
            raise DataError("linsep is not defined: a classifier's logit is not finite. Choose an earlier snapshot.")
        values = {}
        for space in ("z", "w"):
            x = found[space][order].to(self.device)
            entropies = [attribute_entropy(x, each, self.keep, SOLVERS[self.svm]) for each in logits.unbind(1)]
            values[f"linsep/{space}"] = separability(entropies)
        return values

    def state(self, which: Which) -> dict[str, Tensor]:
        """Indices, latents, style codes and logits of what was made; nothing of real images."""
        if which == "real" or not self.parts:
            return {}
        return {name: torch.cat([part[name] for part in self.parts]) for name in self.parts[0]}

    def merge(self, which: Which, state: Mapping[str, Tensor]) -> None:
        """Add what another process made."""
        if which == "fake" and state:
            self.parts.append(dict(state))
