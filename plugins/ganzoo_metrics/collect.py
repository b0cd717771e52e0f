"""Base classes of metrics over features: checking features, and keeping them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ganzoo.errors import DataError, RecipeError
from ganzoo.interfaces import Extractor, Metric, Shape, Which
from ganzoo.nn.arguments import require_batch
from ganzoo.registry.component import Make, default_of
from ganzoo_metrics.inception import Inception


def extractor_name(make: Make[Extractor]) -> str:
    """Return the registered name of the extractor that a slot holds."""
    chosen = default_of(make)
    return chosen[0].name if chosen else str(make)


def require_output(metric: str, make: Make[Extractor], output: str) -> None:
    """Raise RecipeError where the extractor that a slot holds lacks the output that a metric compares."""
    chosen = default_of(make)
    outputs: tuple[str, ...] = getattr(chosen[0], "outputs", (output,)) if chosen else (output,)
    if output not in outputs:
        raise RecipeError(
            f"{metric}: the extractor '{extractor_name(make)}' has no output '{output}', which {metric} compares; "
            f"it has {', '.join(outputs)}."
        )


class FeatureMetric(Metric):
    """A metric over features. Its values bear their published names only with the published extractor.

    Args:
        num: number of generated images
        extractor: the network whose features are compared; another one than the default gives values of another name,
            with the extractor's after a slash
    """

    published: ClassVar[str] = "inception"  # name of the extractor of the published definition
    output: str  # which of its outputs is compared

    def __init__(
        self,
        shape: Shape,
        seed: int,
        /,
        num_real: int | None = 0,  # an option of those that compare with real images
        *,
        num: Annotated[int, Ge(2)] = 50_000,
        extractor: Make[Extractor] = Inception,
    ) -> None:
        super().__init__(shape, seed, num=num, num_real=num_real)
        require_output(self.name, extractor, self.output)
        self.extractor: Make[Extractor] = extractor
        self.extractor_name = extractor_name(extractor)

    def titled(self, published: str, general: str = "") -> str:
        """Return the name of a value: the published one, or with another extractor the general one and its name."""
        return published if self.extractor_name == self.published else f"{general or published}/{self.extractor_name}"

    def accepted(self, batch: Tensor, which: Which, seen: int, width: int | None) -> Tensor:
        """Check features [n, D], and cut them to what is still wanted of a set.

        Args:
            batch: features as given
            which: set they belong to
            seen: how many of the set were taken in before
            width: their D, if known

        Raises:
            DataError: not [N, D] numbers, of another D than before, NaN or infinity
        """
        require_batch(batch, f"the metric '{self.name}'")
        if batch.ndim != 2 or not batch.is_floating_point() or (width is not None and batch.shape[1] != width):
            wanted = f"[N, {'D' if width is None else width}]"
            raise DataError(
                f"{self.name} takes features of shape {wanted}, "
                f"not {str(batch.dtype).removeprefix('torch.')} {list(batch.shape)}."
            )
        wanted_in_all = self.wanted(which)
        batch = batch if wanted_in_all is None else batch[: max(0, wanted_in_all - seen)]
        if not torch.isfinite(batch).all():
            raise DataError(
                f"{self.name} is not defined: features of the {which} images are NaN or infinite "
                f"(extractor '{self.extractor_name}', output '{self.output}')."
            )
        return batch.detach().cpu()

    def enough(self, counts: Mapping[Which, int], least: int) -> None:
        """Raise DataError unless there are that many images of each set."""
        if any(n < least for n in counts.values()):
            given = " and ".join(f"{n} {which}" for which, n in counts.items())
            raise DataError(f"{self.name} needs at least {least} images of each set; it was given {given} ones.")


class RowMetric(FeatureMetric):
    """A metric that keeps the features themselves: 4 * D bytes an image, float32."""

    def __init__(self, shape: Shape, seed: int, /, num_real: int | None = 0, **options: Any) -> None:
        super().__init__(shape, seed, num_real, **options)
        self._rows: dict[Which, list[Tensor]] = {"real": [], "fake": []}

    def update(self, batch: Tensor, which: Which) -> None:
        """Keep features [N, D] in their order.

        Raises:
            DataError: not [N, D] numbers, of another D than before, NaN or infinity
        """
        kept = [rows for part in self._rows.values() for rows in part]
        rows = self.accepted(batch, which, self.seen(which), kept[0].shape[1] if kept else None)
        if len(rows):
            self._rows[which].append(self.kept(rows))

    def kept(self, rows: Tensor) -> Tensor:
        """How features are kept: a copy in float32."""
        return rows.to(torch.float32, copy=True)

    def seen(self, which: Which) -> int:
        """Number of images of a set so far."""
        return sum(map(len, self._rows[which]))

    def rows(self, which: Which) -> Tensor:
        """All features of a set, [N, D]."""
        if len(self._rows[which]) > 1:
            self._rows[which] = [torch.cat(self._rows[which])]
        return self._rows[which][0] if self._rows[which] else torch.empty(0, 0)

    def state(self, which: Which) -> dict[str, Tensor]:
        """{"features": [N, D]}."""
        return {"features": self.rows(which)}

    def merge(self, which: Which, state: Mapping[str, Tensor]) -> None:
        """Append the features of the images that follow."""
        if len(state["features"]):
            self.update(state["features"], which)
