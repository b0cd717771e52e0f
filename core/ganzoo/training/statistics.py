"""Statistics of a training: what its steps log, and the means that a status line shows."""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from ganzoo.training import distributed


class Statistics:
    """Values logged since the last report, by name. They stay on their device, so logging never waits for a GPU."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = defaultdict(list)

    def log(self, name: str, value: Tensor) -> None:
        """Add the mean of a tensor of any shape."""
        self._values[name].append(value.detach().mean())

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()

    def lengths(self) -> dict[str, int]:
        """Return how many values each name has, as `truncate` takes it."""
        return {name: len(values) for name, values in self._values.items()}

    def truncate(self, lengths: dict[str, int]) -> None:
        """Forget what was logged since `lengths` was taken."""
        for name, values in self._values.items():
            del values[lengths.get(name, 0) :]

    def logged(self) -> dict[str, Tensor]:
        """Return the values of each name, float32 [T] in order, as `log_again` takes them."""
        return {name: torch.stack(values).float() for name, values in self._values.items() if values}

    def log_again(self, values: Mapping[str, Tensor]) -> None:
        """Add values that `logged` gave, before those that are logged from now on."""
        for name, means in values.items():
            self._values[name][:0] = means.unbind()

    def pop_means(self, *, only_finite: bool) -> dict[str, float]:
        """Return the mean of each name over time and over all processes, and forget the values.

        Args:
            only_finite: leave out values that are not finite, unless a name has no others
        """
        names = sorted(self._values)
        values = [torch.stack(self._values[name]).float() for name in names]
        self._values.clear()
        if only_finite:
            values = [v[v.isfinite()] if bool(v.isfinite().any()) else v for v in values]
        if not names:
            return {}
        means = torch.stack([v.mean() for v in values])
        distributed.all_mean_([means])
        return dict(zip(names, means.tolist()))
