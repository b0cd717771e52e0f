"""`gz recipe init`: a commented recipe to begin with."""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from ganzoo.recipe.loading import load
from ganzoo.recipe.merge import find
from ganzoo.recipe.node import Node
from ganzoo.registry.component import described, summary

ACTIVE = ("kimg", "batch")  # of training, written out in a draft


def draft(reference: str) -> str:
    """Write a commented recipe that extends another: image and length are set, all else stands in comments.

    Without the leading '# ' of a section it is the same recipe.
    """
    node = load(reference)
    path = Path(reference)
    parent = str(path.resolve()) if path.is_file() else reference
    title, paper = node.value("title") or find(reference).stem, node.value("paper")
    lines = [
        f"# {title}{f' ({paper})' if paper else ''}",
        "# Change what is written out. Lines in comments show the architecture's own values:",
        "# to change one, take away the '# ' of its line and of the lines it stands under.",
        "",
        f"extends: {json.dumps(parent)}",
        "",
    ]
    texts = described(node.cls)
    lines += _options_of("image", node.value("image"), texts["image"], ())
    lines += [
        "",
        "# dataset:  # or on the command line: --data PATH",
        "#   use: folder",
        "#   path: /where/the/images/are",
        "",
    ]
    lines += _options_of("training", node.value("training"), texts["training"], ACTIVE)
    for name, child in node.children.items():
        if name != "dataset":
            lines += ["", *(f"# {line}" for line in _child(name, child, texts.get(name, "")))]
    return "\n".join(lines) + "\n"


def _options_of(name: str, group: BaseModel, text: str, active: tuple[str, ...]) -> Iterator[str]:
    yield f"{name}:  # {text}"
    texts = described(type(group))
    for key, value in group.model_dump(mode="json", by_alias=True).items():
        mark = "" if key in active or not active else "# "
        yield f"  {mark}{key}: {json.dumps(value)}" + (f"  # {texts[key]}" if key in texts else "")


def _child(name: str, child: Node | list[Node] | None, text: str) -> Iterator[str]:
    comment = f"  # {text}" if text else ""
    if not child:
        yield f"{name}: {'null' if child is None else '[]'}{comment}"
        return
    yield f"{name}:{comment}"
    for node in child if isinstance(child, list) else [child]:
        first, *rest = _component_lines(node)
        yield f"  - {first}" if isinstance(child, list) else f"  {first}"
        yield from (f"    {line}" if isinstance(child, list) else f"  {line}" for line in rest)


def _component_lines(node: Node) -> Iterator[str]:
    yield f"use: {node.cls.name}  # {summary(node.cls)}"
    texts = described(node.cls)
    for key, value in node.model.model_dump(mode="json", by_alias=True, exclude=set(node.children)).items():
        yield f"{key}: {json.dumps(value)}" + (f"  # {texts[key]}" if key in texts else "")
    for key, child in node.children.items():
        yield from _child(key, child, texts.get(key, ""))
