"""Style transfer by optimization: pixels are changed until they have the content's features and the style's statistics.

Loss of an image x: content_weight C(x) + style_weight sum over style layers of mean E_l(x) (arXiv:1508.06576, Eq. 7).
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from ganzoo.errors import Diverged
from ganzoo.extractors.vgg import VGG19
from ganzoo.interfaces import Extractor
from ganzoo.registry.component import Make
from ganzoo.types import Image, Maps, Size
from ganzoo_style_transfer.feature_maps import (
    build,
    content_layer,
    plan_of,
    prepared,
    require_layers,
    style_layers,
)
from ganzoo_style_transfer.interfaces import (
    StyleFeatures,
    StyleStatistic,
    StyleTask,
    StyleTransferRun,
    Transfer,
)
from ganzoo_style_transfer.statistics import gatys_content_loss
from ganzoo_style_transfer.style_statistics import Gram

Weight = Annotated[float, Ge(0)]

TRIES = 10  # evaluations of one line search
HISTORY = 20  # curvature pairs that L-BFGS keeps, each of two images


@contextmanager
def seeded(seed: int, step: int = 0) -> Iterator[None]:
    """Draw from torch's global generator as this step always does, within the block."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed << 24 | step)  # a GPU's generator stays as it is
        yield


class Goal:
    """The loss that an image is optimized for, and its parts by name.

    Args:
        features: the extractor, frozen
        statistic: what of a layer is style
        task: content and styles, on the network's device
        content_layer: where contents are compared
        style_layers: where styles are compared; each counts the same
        weights: of content and style
        relative: divide each part by its value for maps of zeros
    """

    def __init__(
        self,
        features: Extractor,
        statistic: StyleStatistic,
        task: StyleTask,
        content_layer: str,
        style_layers: tuple[str, ...],
        weights: tuple[float, float],
        relative: bool,
    ) -> None:
        self.features, self.statistic = features, statistic
        self.content_layer, self.style_layers = content_layer, style_layers
        self.content_weight, self.style_weight = weights
        with torch.no_grad(), seeded(task.seed):
            layers = tuple(dict.fromkeys([content_layer, *style_layers]))
            self.layers, own = layers, features(task.content, layers)
            self.content = own[content_layer]
            self.styles: list[tuple[float, dict[str, StyleFeatures]]] = []
            for image, share in task.styles:
                maps = features(image, style_layers)
                self.styles.append((share, {name: statistic.describe(maps[name]) for name in style_layers}))
            blank = {name: torch.zeros_like(x) for name, x in own.items()}
            self.scales = dict.fromkeys(["content", *style_layers], 1.0)
            if relative:
                blank_parts = self.parts(blank)
                self.scales = {name: float(value) or 1.0 for name, value in blank_parts.items()}

    def parts(self, maps: Mapping[str, Maps]) -> dict[str, Tensor]:
        """Content loss and each layer's style loss, scalars, not yet weighted."""
        parts = {"content": gatys_content_loss(maps[self.content_layer], self.content).sum()}
        for name in self.style_layers:
            each = [share * self.statistic.distance(maps[name], style[name]).sum() for share, style in self.styles]
            parts[name] = torch.stack(each).sum()
        return {name: value / self.scales[name] for name, value in parts.items()}

    def __call__(self, x: Image) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its parts by name: total, content, style (the layers' mean), each style layer."""
        parts = self.parts(self.features(x, self.layers))
        style = torch.stack([parts[name] for name in self.style_layers]).mean()
        total = self.content_weight * parts["content"] + self.style_weight * style
        return total, {"total": total, "content": parts["content"], "style": style} | parts


class Pixels(StyleTransferRun):
    """An image that an optimizer changes."""

    def __init__(
        self, goal: Goal, image: Image, optimizer: Literal["lbfgs", "adam"], lr: float, steps: int, seed: int
    ) -> None:
        self.goal, self.total, self.seed = goal, steps, seed
        self.tried: list[tuple[Tensor, float, Tensor]] = []  # images of the last step, with their losses and gradients
        self.image = image.clone(memory_format=torch.contiguous_format).requires_grad_()
        self.optimizer: torch.optim.Optimizer
        if optimizer == "adam":
            self.optimizer = torch.optim.Adam([self.image], lr=lr)
        else:
            self.optimizer = torch.optim.LBFGS(
                [self.image],
                lr=lr,
                max_iter=1,
                max_eval=1 + TRIES,
                history_size=HISTORY,
                line_search_fn="strong_wolfe",
                tolerance_change=1e-12,
            )

    @property
    def picture(self) -> Image:
        """The image, held to [-1, 1]."""
        return self.image.detach().clamp(-1, 1)

    def advance(self) -> None:
        """One step. Raises Diverged."""
        line_search = isinstance(self.optimizer, torch.optim.LBFGS)
        before, self.tried = self.tried, []

        def loss() -> float:
            if not line_search:
                return self._descended(self.done)
            for image, value, gradient in before:  # a step begins where the line search of the last one ended
                if torch.equal(image, self.image):
                    self.image.grad = gradient
                    before.clear()
                    self.tried.append((image, value, gradient))
                    return value
            value = self._descended(0)  # its curvature is that of one function: always the same draw
            assert self.image.grad is not None
            self.tried.append((self.image.detach().clone(), value, self.image.grad))
            return value

        value = self.optimizer.step(loss)
        if not (math.isfinite(value or 0) and self.image.isfinite().all()):
            raise Diverged(
                f"the loss is no longer finite at step {self.done}: choose smaller weights, or a smaller lr."
            )
        self.done += 1

    def _descended(self, at: int) -> float:
        """The loss, with its gradient in the image's."""
        self.optimizer.zero_grad()
        total = self._loss(self.image, at)[0]
        total.backward()
        return float(total.detach())

    def losses(self) -> dict[str, float]:
        """Return the losses of the picture as it would be written."""
        with torch.no_grad():
            return {name: float(value) for name, value in self._loss(self.picture, 0)[1].items()}

    def _loss(self, x: Image, at: int) -> tuple[Tensor, dict[str, Tensor]]:
        with seeded(self.seed, at):
            return self.goal(x)

    def state(self) -> dict[str, Tensor]:
        """The image, and what the optimizer remembers."""
        return {"image": self.image.detach()} | packed(self.optimizer.state[self.image])

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put both back."""
        with torch.no_grad():
            self.image.copy_(state["image"])
        self.optimizer.state[self.image] = unpacked(
            {name: t for name, t in state.items() if name != "image"}, self.image.device
        )


def packed(memory: Mapping[str, object]) -> dict[str, Tensor]:
    """Turn the state that a torch optimizer keeps of a tensor into tensors: numbers of [], lists item by item."""
    state: dict[str, Tensor] = {}
    for name, value in memory.items():
        if isinstance(value, Tensor):
            state[f"tensor:{name}"] = value
        elif isinstance(value, int | float):
            state[f"number:{name}"] = torch.tensor(
                value, dtype=torch.int64 if isinstance(value, int) else torch.float64
            )
        elif (
            isinstance(value, list) and all(isinstance(item, Tensor) for item in value) and name != "al"
        ):  # al: scratch
            state[f"list:{name}"] = torch.tensor(len(value))
            state |= {f"item:{name}:{i}": item for i, item in enumerate(value)}
    return state


def unpacked(state: Mapping[str, Tensor], device: torch.device) -> dict[str, object]:
    """The inverse of `packed`, in memory of its own: sums round by where a tensor begins, and a file's is anywhere."""
    memory: dict[str, object] = {}
    for key, value in state.items():
        kind, _, name = key.partition(":")
        if kind == "tensor":
            memory[name] = value.clone() if name == "step" else value.to(device, copy=True)  # Adam counts on the CPU
        elif kind == "number":
            memory[name] = value.item()
        elif kind == "list":
            memory[name] = [state[f"item:{name}:{i}"].to(device, copy=True) for i in range(int(value))]
    return memory


class Gatys(Transfer, name="gatys", paper="arXiv:1508.06576"):
    """Change the pixels until they have the content's features and the style's statistics. Slow; takes any statistic.

    Args:
        features: the extractor of contents and styles
        statistic: what of a layer is style
        content_layer: where contents are compared; null for relu4_2 as in the paper, or the extractor's deepest layer
        style_layers: where styles are compared, each with the same weight; null for relu1_1 to relu5_1 as in the paper,
            or all of the extractor's layers
        content_weight: of the content loss, the paper's alpha
        style_weight: of the style loss, the paper's beta
        relative: divide each layer's loss by its value for maps of zeros, so that weights mean the same for every
            statistic, network and size. false as papers write them: sum (F - P)² / 2, and the statistic as it stands
        init: what the picture begins as: the `content`, or `noise`
        optimizer: `lbfgs` as in the paper, with line search, or `adam`
        lr: step size; null for 1 with L-BFGS and 0.02 with Adam
        steps: iterations of the optimizer
        preserve_color: give styles the content's colours before (CORAL)
    """

    def __init__(
        self,
        *,
        features: Make[Extractor] = VGG19,
        statistic: Make[StyleStatistic] = Gram,
        content_layer: str | None = None,
        style_layers: list[str] | None = None,
        content_weight: Weight = 1.0,
        style_weight: Weight = 30.0,
        relative: bool = True,
        init: Literal["content", "noise"] = "content",
        optimizer: Literal["lbfgs", "adam"] = "lbfgs",
        lr: Annotated[float, Gt(0)] | None = None,
        steps: Annotated[int, Gt(0)] = 300,
        preserve_color: bool = False,
    ) -> None:
        self.features, self.statistic = features, statistic()
        self.content_layer, self.style_layers = content_layer, style_layers
        self.weights, self.relative = (content_weight, style_weight), relative
        self.init, self.optimizer, self.steps = init, optimizer, steps
        self.lr, self.preserve_color = lr or (1.0 if optimizer == "lbfgs" else 0.02), preserve_color

    def begin(self, task: StyleTask, device: torch.device) -> StyleTransferRun:
        """Start with the content, or with uniform noise of the seed."""
        features, task = build(self.features, device), prepared(task, device, self.preserve_color)
        layers = tuple(self.style_layers or style_layers(features))
        content = self.content_layer or content_layer(features)
        require_layers(features, (content, *layers))
        goal = Goal(features, self.statistic, task, content, layers, self.weights, self.relative)
        if self.init == "content":
            start = task.content
        else:
            draw = torch.Generator().manual_seed(task.seed)
            start = torch.rand(task.content.shape, generator=draw).to(device) * 2 - 1
        return Pixels(goal, start, self.optimizer, self.lr, self.steps, task.seed)

    def memory(self, size: Size) -> int:
        """Maps with their gradients, twice; and what the optimizer keeps of the image."""
        pixels, level, floats = size[0] * size[1], 0, 0
        for width in plan_of(self.features):
            level += width == 0
            floats += width * pixels // 4**level
        images = 2 * (HISTORY + 3) if self.optimizer == "lbfgs" else 4
        return 4 * (4 * floats + 3 * pixels * images)
