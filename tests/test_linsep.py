"""Linear separability: its algebra, its support vector machine, classifiers, and a generator whose answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import small
from ganzoo.errors import CheckpointError, DataError, UsageError
from ganzoo.interfaces import Generator, ProbeContext, Shape, Stage
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.model.restore import build_experiment
from ganzoo_metrics import linsep
from ganzoo_metrics.linsep import (
    LinearSeparability,
    attribute_entropy,
    classify,
    conditional_entropy,
    joint_distribution,
    linear_svm,
    load_classifiers,
    separability,
    with_bias,
)

SHAPE = Shape(((4, 4), (8, 8), (16, 16)), 3)
CPU = torch.device("cpu")
PLAIN = "discriminator.head.statistic=null"


# --- algebra ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("joint", "bits"),
    [
        ([[0.45, 0.05], [0.10, 0.40]], 0.595462),  # spec A.7
        ([[0.5, 0.0], [0.0, 0.5]], 0.0),
        ([[0.25, 0.25], [0.25, 0.25]], 1.0),
        ([[0.9, 0.0], [0.1, 0.0]], 0.0),  # Y is known without X
        ([[0.3, 0.7], [0.0, 0.0]], 0.881291),  # X says nothing: H(Y) of 0.3
    ],
)
def test_conditional_entropy(joint: list[list[float]], bits: float):
    assert conditional_entropy(torch.tensor(joint, dtype=torch.float64)) == pytest.approx(bits, abs=1e-6)


def test_which_is_given():
    """H(Y|X) is not H(X|Y): the rows are X."""
    joint = torch.tensor([[0.5, 0.25], [0.0, 0.25]])
    assert conditional_entropy(joint) == pytest.approx(0.75 * 0.918296, abs=1e-6)
    assert conditional_entropy(joint.T) == pytest.approx(0.5, abs=1e-6)


def test_separability_is_two_to_the_sum():
    assert separability([0.0, 0.0]) == 1
    assert separability([1.0, 0.5]) == pytest.approx(2**1.5)
    natural = [bits * np.log(2) for bits in (0.3, 0.9)]
    assert separability([0.3, 0.9]) == pytest.approx(np.exp(sum(natural)))  # as the paper writes it


def test_joint_distribution():
    x, y = torch.tensor([1, 1, 0, 0, 0]) > 0, torch.tensor([1, 0, 0, 0, 1]) > 0
    assert joint_distribution(x, y).tolist() == [[0.4, 0.2], [0.2, 0.2]]


# --- the support vector machine --------------------------------------------------------------------------------------


def cloud(n: int = 400, d: int = 6, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(n, d, generator=draw, dtype=torch.float64)
    y = (x[:, 0] - 0.5 * x[:, 1] + 0.4 + noise * torch.randn(n, generator=draw, dtype=torch.float64)).sign()
    return x, y


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_the_minimum_is_one(noise: float, c: float):
    """The gradient is 0 there, and the function, which is strictly convex, grows in every direction."""
    x, y = cloud(noise=noise)
    x = with_bias(x)

    def objective(w: Tensor) -> Tensor:
        return w @ w / 2 + c * (1 - y * (x @ w)).clamp(min=0).square().sum()

    w = linear_svm(x, y, c).requires_grad_()
    value = objective(w)
    (gradient,) = torch.autograd.grad(value, w)
    assert float(gradient.norm()) < 1e-6 * float(value.detach())
    for direction in torch.randn(20, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64):
        assert objective(w + 1e-3 * direction) > value


def test_the_minimum_as_another_method_finds_it():
    """Gradient descent with momentum, many steps."""
    x, y = cloud()
    x = with_bias(x)
    w = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    step = torch.optim.SGD([w], lr=2e-4, momentum=0.9)
    for _ in range(1500):
        step.zero_grad()
        (w @ w / 2 + (1 - y * (x @ w)).clamp(min=0).square().sum()).backward()
        step.step()
    assert torch.allclose(linear_svm(x, y), w.detach(), atol=1e-6)


def test_the_minimum_as_scikit_learn_finds_it():
    svm = pytest.importorskip("sklearn.svm")
    x, y = cloud()
    fitted = svm.LinearSVC(tol=1e-10, max_iter=1_000_000).fit(x.numpy(), y.numpy())
    theirs = torch.from_numpy(np.concatenate([fitted.coef_[0], fitted.intercept_]))
    assert torch.allclose(linear_svm(with_bias(x), y), theirs, atol=1e-6)
    assert torch.allclose(linsep.liblinear_svm(with_bias(x), y), theirs, atol=1e-2)


def test_scikit_learn_is_asked_for_when_missing(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(linsep.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"needs scikit-learn.*'newton' needs nothing"):
        linsep.liblinear_svm(torch.zeros(2, 2), torch.ones(2))


# --- one attribute ---------------------------------------------------------------------------------------------------


def test_attributes_that_a_plane_divides_leave_nothing():
    x, _ = cloud(noise=0)
    assert attribute_entropy(x, 3 * x[:, 0] - x[:, 2] + 0.1, 200, linear_svm) == 0


def test_attributes_that_no_plane_divides():
    """Whether a product is positive, the exclusive or, is hidden from every plane."""
    x, _ = cloud(n=20000)
    assert attribute_entropy(x, x[:, 0] * x[:, 1], 20000, linear_svm) > 0.95


def test_one_class_alone_counts_as_divided():
    x, _ = cloud()
    assert attribute_entropy(x, torch.ones(400), 400, linear_svm) == 0


def test_only_the_surest_are_used():
    """Those near 0 have random signs; without them the plane is exact."""
    x, _ = cloud(n=2000)
    logits = x[:, 0].clone()
    unsure = logits.abs() < 0.6
    logits[unsure] *= torch.randn(int(unsure.sum()), generator=torch.Generator().manual_seed(0)).sign()
    sure = int((~unsure).sum())
    assert attribute_entropy(x, logits, sure, linear_svm) == 0
    assert attribute_entropy(x, logits, 2000, linear_svm) > 0.1
    assert attribute_entropy(x, logits, 10**9, linear_svm) == attribute_entropy(x, logits, 2000, linear_svm)


# --- classifiers -----------------------------------------------------------------------------------------------------


def snapshot(path: Path, *overrides: str, name: str = "progan-tiny") -> Path:
    """A snapshot as training writes it."""
    node = small(name, *overrides)
    checkpoint.write(path, checkpoint.prefixed("D", build_experiment(node).D), Header("snapshot", node.dump(), 1000))
    return path


def test_classifiers_are_the_discriminators_of_snapshots(tmp_path: Path):
    for name in ("b", "a"):
        snapshot(tmp_path / f"{name}.safetensors", PLAIN, "growth=null")
    found = load_classifiers(tmp_path, SHAPE, CPU)
    assert list(found) == ["a", "b"]
    images = torch.randn(3, 3, 16, 16)
    whole = classify(found["a"], images)
    assert whole.shape == (3,)
    assert torch.allclose(classify(found["a"], images[1:2]), whole[1:2], atol=1e-5)
    larger = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.allclose(classify(found["a"], larger), whole, atol=1e-5)


def test_a_discriminator_of_pyramids_gets_one(tmp_path: Path):
    snapshot(tmp_path / "a.safetensors", PLAIN, name="msggan-tiny")
    (D,) = load_classifiers(tmp_path, SHAPE, CPU).values()
    assert D.accepts == "pyramid"
    assert classify(D, torch.randn(2, 3, 16, 16)).shape == (2,)


@pytest.mark.parametrize(
    ("overrides", "shape", "sentence"),
    [
        ([], SHAPE, "head.statistic=null"),
        ([PLAIN, "image.channels=1"], SHAPE, "takes 1 channels, and the images have 3"),
        ([PLAIN], Shape(((8, 8),), 3), "takes 16x16 images, and 8x8 ones are not"),
        ([PLAIN], Shape(((24, 24), (48, 48)), 3), "takes 16x16 images, and 48x48 ones are not"),
        ([PLAIN], Shape(((32, 16),), 3), "16x32 ones are not"),
    ],
)
def test_unsuitable_classifiers(tmp_path: Path, overrides: list[str], shape: Shape, sentence: str):
    snapshot(tmp_path / "smiling.safetensors", "growth=null", *overrides)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        load_classifiers(tmp_path, shape, CPU)
    assert "smiling.safetensors" in str(caught.value)


def test_no_classifiers(tmp_path: Path):
    for folder, sentence in (
        (None, "name a folder with a snapshot for each attribute"),
        (tmp_path / "none", "none is not a folder"),
        (tmp_path, "holds no snapshot"),
    ):
        with pytest.raises(UsageError, match=sentence):
            load_classifiers(folder, SHAPE, CPU)


# --- the probe -------------------------------------------------------------------------------------------------------


class _Turning(Generator, name="_turning"):
    """w[0] = z[0] z[1], so what a plane divides in w, none does in z. The image's first pixel is w[0]."""

    def __init__(self, labels: int = 0):
        super().__init__()
        self.shape, self.labels, self.z_dim, self.num_ws = SHAPE, labels, 3, 2
        self.seen: list[Any] = []

    def styles(self, z: Tensor, label: Any = None, stage: Any = None) -> Tensor:
        self.seen.append(label)
        w = torch.stack([z[:, 0] * z[:, 1], z[:, 2]], dim=1)
        return torch.stack([torch.zeros_like(w), w], dim=1)  # the last layer's is asked for

    def synthesize(self, ws: Tensor, stage: Any = None) -> tuple[Tensor, ...]:
        return (ws[:, -1, :1, None, None].expand(-1, 3, 16, 16),)


class _First(nn.Module):
    """Judges by the mean of the image, or by its negative."""

    shape, accepts = SHAPE, "image"

    def __init__(self, sign: float):
        super().__init__()
        self.sign = sign

    def forward(self, images: tuple[Tensor, ...]) -> Tensor:
        return self.sign * images[-1].mean(dim=(1, 2, 3))[:, None]


def probed(
    monkeypatch: pytest.MonkeyPatch, at: tuple[int, int] = (0, 1), G: Generator | None = None, **given: Any
) -> LinearSeparability:
    judges = {"a": _First(1), "b": _First(-1)}
    monkeypatch.setattr(linsep, "load_classifiers", lambda folder, shape, device: judges)
    metric = LinearSeparability(SHAPE, 4, **{"num": 3000, "keep": 1500, **given})
    rank, world = at
    labels = lambda n, salt: torch.eye(5)[torch.arange(n) % 5]  # noqa: E731
    metric.probe(ProbeContext(G or _Turning(), Stage(2), CPU, labels, rank=rank, world=world))
    return metric


def test_a_generator_whose_answer_is_known(monkeypatch: pytest.MonkeyPatch):
    values = probed(monkeypatch).compute()
    assert values["linsep/w"] == 1
    assert 3.6 < values["linsep/z"] <= 4  # two attributes of nearly one bit
    assert LinearSeparability.primary in values


def test_processes_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch):
    whole = probed(monkeypatch)
    merged = LinearSeparability(SHAPE, 4, num=3000, keep=1500)
    for rank in range(2):
        share = probed(monkeypatch, at=(rank, 2))
        assert len(share.state("fake")["index"]) == 1500
        merged.merge("fake", share.state("fake"))
        merged.merge("real", share.state("real"))
    monkeypatch.setattr(linsep, "BATCH", 77)
    assert merged.compute() == whole.compute() == probed(monkeypatch).compute()


def test_samples_have_labels_of_the_data(monkeypatch: pytest.MonkeyPatch):
    G = _Turning(labels=5)
    probed(monkeypatch, at=(1, 2), G=G, num=7)
    assert [label.argmax(dim=1).tolist() for label in G.seen] == [[1, 3, 0]]  # samples 1, 3, 5
    probed(monkeypatch, G=(plain := _Turning()), num=7)
    assert plain.seen == [None]


def test_nothing_was_measured():
    with pytest.raises(DataError, match="give a checkpoint"):
        LinearSeparability(SHAPE, 0).compute()


def test_logits_that_are_not_finite(monkeypatch: pytest.MonkeyPatch):
    metric = probed(monkeypatch, num=10)
    metric.parts[0]["logits"][0, 0] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        metric.compute()
