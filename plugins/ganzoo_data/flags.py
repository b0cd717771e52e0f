"""Errors of datasets, which speak of a recipe, in terms of the flags of `gz data`."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ganzoo.errors import DataError, UsageError
from ganzoo.interfaces.dataset import Dataset, UnfitImage
from ganzoo.registry.component import options as options_of
from ganzoo_data.labels import LabelError

FLAGS = {"fit": "--transform", "filter": "--resize-filter", "background": "--background", "upscale": "--upscale"}
VALUES = {"upscale=true": "--upscale", "fit=crop": "--transform center-crop", "fit=fit": "--transform fit"}


def require_options(dataset: type[Dataset], names: Iterable[str]) -> None:
    """Raise UsageError for a flag whose option a dataset does not have."""
    known = options_of(dataset).model_fields
    for name in names:
        if name not in known:
            flag = FLAGS.get(name, f"--{name} folders")
            raise UsageError(
                f"the dataset '{dataset.name}' has no option '{name}'", place=f"{flag}:", cure="leave it out"
            )


@contextmanager
def in_flags(given: Mapping[str, Any], size: str, source: str) -> Iterator[None]:
    """Let errors of images and labels within the block name flags.

    Args:
        given: values of the flags --size, --channels and --labels, by their names; None where the recipe gives them
        size: the flag of the size
        source: path of the dataset
    """

    def wanting(name: str, flag: str) -> str:
        return "the recipe" if given.get(name) is None and given.get("recipe") else flag

    try:
        yield
    except LabelError as err:
        raise err.in_flags(wanting("labels", "--labels")) from None
    except UnfitImage as err:
        is_size = re.fullmatch(r"\d+x\d+", err.expected) is not None
        flag = size if is_size else "--channels"
        smaller = [f"say a smaller {size}"] if is_size and "upscale=true" in err.options else []
        other = ["say other --channels"] if not is_size else []
        cures = [*smaller, *filter(None, [err.change_file]), *other, *(f"say {VALUES[name]}" for name in err.options)]
        fault = f"{err.actual}, {wanting('size' if is_size else 'channels', flag)} wants {err.expected}"
        raise DataError(fault, place=err.place, cure=" or ".join(cures)) from None
