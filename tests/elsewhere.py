"""An environment in which the strangers' packages are installed, as their users install them."""

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

STRANGERS = sorted((Path(__file__).parent / "strangers").glob("gz-*"))


def run(python: Path | str, *args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "GZ_TRACEBACK")} | {"OMP_NUM_THREADS": "1"}
    env["XDG_CACHE_HOME"] = str(cwd / "cache")
    return subprocess.run([str(python), *map(str, args)], cwd=cwd, env=env, capture_output=True, text=True, timeout=240)


def gz(python: Path | str, *args: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = run(python, "-m", "ganzoo_cli", *args, cwd=cwd)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="session")
def there(tmp_path_factory) -> Path:
    """The Python of an environment with all strangers; all else it borrows from this one."""
    folder = tmp_path_factory.mktemp("elsewhere")
    done = run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    assert done.returncode == 0, done.stderr
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    lines = [f"site.addsitedir({path!r})" for path in site.getsitepackages()]
    (packages / "_borrowed.pth").write_text(f"import site; {'; '.join(lines)}\n")
    python = folder / "venv" / "bin" / "python"
    done = run(
        python,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
        *STRANGERS,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return python
