"""nn.ModuleList with a type for its elements."""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar, overload

from torch import nn

M = TypeVar("M", bound=nn.Module)


class Stack(nn.ModuleList, Generic[M]):
    """A typed list of modules."""

    def __init__(self, modules: Iterable[M]) -> None:
        super().__init__(modules)

    def __iter__(self) -> Iterator[M]:
        return iter(self._modules.values())  # type: ignore[arg-type]

    @overload  # type: ignore[override]
    def __getitem__(self, i: int) -> M: ...
    @overload
    def __getitem__(self, i: slice) -> "list[M]": ...
    def __getitem__(self, i: int | slice) -> "M | list[M]":
        return list(self)[i]
