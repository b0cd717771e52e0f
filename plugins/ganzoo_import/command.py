"""`gz import`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo_cli.host.console import known, note, pairs, say, say_json, table, write_text
from ganzoo_cli.host.options import Json

if TYPE_CHECKING:
    from ganzoo_import.convert import Imported

Option = typer.Option
Foreign = Annotated[Path, typer.Argument(metavar="FILE", help="A .pkl, .pt, .pth or .safetensors of another project.")]
Format = Annotated[
    str, Option("--from", metavar="NAME", help="Format; 'gz components list importer' lists all. auto: detect it.")
]
Sets = Annotated[
    list[str],
    Option("--set", metavar="KEY=VALUE", help="Set an option of the format or recipe, as lr_mul=0.01; repeatable."),
]
Discriminator = Annotated[Path | None, Option(metavar="FILE", help="The discriminator, if it is in a separate file.")]
Out = Annotated[Path | None, Option(metavar="PATH", help="The snapshot to write; else FILE's name in this folder.")]


def convert(
    file: Foreign,
    format_: Format = "auto",
    set_: Sets = [],  # noqa: B006 (typer copies it)
    discriminator: Discriminator = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Convert weights of another project into a snapshot and a recipe, without running code in the file."""
    target = _free(out or Path(f"{file.stem}.safetensors"), file)
    known()
    from ganzoo_import import convert

    imported = convert.convert(file, format_, pairs(set_), discriminator)
    convert.save(imported, target)
    write_text(target.with_suffix(".yaml"), imported.yaml(), new=True)
    facts = _facts(imported, file, target)
    if as_json:
        return say_json({**facts, "unused": list(imported.converted.unused)})
    say(str(target))
    table(
        ["", ""],
        [(key, value) for key, value in facts.items() if value not in ("", None) and not isinstance(value, list)],
    )
    for sentence in facts["notes"]:
        note(f"note: {sentence}")
    return None


def _facts(imported: "Imported", file: Path, target: Path) -> dict[str, Any]:
    converted = imported.converted
    return {
        "file": str(file),
        "format": imported.importer,
        "snapshot": str(target),
        "recipe": str(target.with_suffix(".yaml")),
        "networks": ", ".join(sorted(converted.nets)),
        "parameters of G": imported.counts["G"],
        "parameters of D": imported.counts["D"] if "D" in converted.nets else None,
        "tensors matched": len(converted.used),
        "tensors left out": len(converted.unused),
        "left out": _groups(converted.unused),
        "as large as": ", ".join(imported.like),
        "notes": list(converted.notes),
    }


def _groups(names: Sequence[str]) -> str:
    """Number of tensors in each part of the file, largest first, as '12 of G and 3 of other parts'."""
    parts = Counter(name.partition(".")[0] for name in names).most_common()
    more = f" and {sum(n for _, n in parts[5:])} of other parts" if len(parts) > 5 else ""
    return ", ".join(f"{n} of {part}" for part, n in parts[:5]) + more


def _free(target: Path, source: Path) -> Path:
    """Check that neither the snapshot nor its recipe would overwrite a file. Raises UsageError."""
    from ganzoo.errors import UsageError

    if target.suffix != ".safetensors":
        raise UsageError(f"--out {target}: a snapshot's name ends in .safetensors.")
    for path in (target, target.with_suffix(".yaml")):
        if path.exists() or path.is_symlink():
            cure = "" if path.resolve() == source.resolve() else ", or remove it"
            raise UsageError(f"{path} exists already: choose another --out{cure}.")
    if not target.parent.is_dir():
        raise UsageError(f"--out {target}: there is no folder {target.parent}.")
    return target
