"""What metrics over features share: checking features, and adding them up or keeping them."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ganzoo.errors import DataError, RecipeError
from ganzoo.interfaces import Features, Metric, Shape, Which
from ganzoo.registry.component import Make, default_of


def extractor_name(make: Make[Features]) -> str:
    """The registered name of the extractor that a slot holds."""
    found = default_of(make)
    return found[0].name if found else str(make)


class FeatureMetric(Metric):
    """A metric over features. Its values bear their published names only with the published extractor.

    Args:
        extractor: the network whose features are compared; another one than the default gives values of another name,
            with the extractor's after a slash
    """

    published: ClassVar[str]  # name of the extractor that the published definition looks through

    def __init__(
        self, shape: Shape, seed: int, /, *, num: int, num_real: int | None, extractor: Make[Features], tap: str
    ) -> None:
        super().__init__(shape, seed, num=num, num_real=num_real)
        self.features, self.tap = extractor, tap
        self.extractor = extractor_name(extractor)
        found = default_of(extractor)
        taps: tuple[str, ...] = getattr(found[0], "taps", (tap,)) if found else (tap,)
        if tap not in taps:
            raise RecipeError(
                f"{self.name}: the extractor '{self.extractor}' has no output '{tap}', which {self.name} compares; "
                f"it has {', '.join(taps)}."
            )

    def titled(self, published: str, general: str = "") -> str:
        """The name of a value: the published one, or with another extractor the general one and the extractor's."""
        return published if self.extractor == self.published else f"{general or published}/{self.extractor}"

    def accepted(self, batch: Tensor, which: Which, seen: int, width: int | None) -> Tensor:
        """Features [n, D] checked, and cut to what is still wanted of a set.

        Args:
            batch: features as given
            which: set they belong to
            seen: how many of the set were taken in before
            width: their D, if known

        Raises:
            DataError: not [N, D] numbers, of another D than before, NaN or infinity
        """
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
                f"(extractor '{self.extractor}', output '{self.tap}')."
            )
        return batch.detach().cpu()

    def enough(self, counts: Mapping[Which, int], least: int) -> None:
        """Raise DataError unless there are that many images of each set."""
        if any(n < least for n in counts.values()):
            found = " and ".join(f"{n} {which}" for which, n in counts.items())
            raise DataError(f"{self.name} needs at least {least} images of each set; it was given {found} ones.")


class RowMetric(FeatureMetric):
    """A metric that keeps the features themselves: 4 * D bytes an image, float32."""

    def __init__(
        self, shape: Shape, seed: int, /, *, num: int, num_real: int | None, extractor: Make[Features], tap: str
    ) -> None:
        super().__init__(shape, seed, num=num, num_real=num_real, extractor=extractor, tap=tap)
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
