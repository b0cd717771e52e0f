"""Packages on a path of their own, with the metadata that an installer would write."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, files: Mapping[str, str], points: Mapping[str, Mapping[str, str]]) -> None:
    """Put version 0.1 of a distribution into a folder: files by name, and entry points by group."""
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    about = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) for group, entries in points.items()]
    (about / "entry_points.txt").write_text("\n".join(lines))


def gz(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """Run `gz` where what a folder holds is installed too."""
    env = {k: v for k, v in os.environ.items() if k != "GZ_TRACEBACK"} | {"OMP_NUM_THREADS": "1"}
    env |= {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "GZ_CACHE": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "ganzoo_cli", *map(str, args)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
