"""The pages of the documentation: their blocks, and the commands in them as a shell reads them."""

import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("gz", "make", "pip", "python", "python3", "tensorboard", "torchrun", "for")
NOT_RUN = re.compile(r"<!-- not run: (.+) -->$")

# PATH leads nowhere: no program is found, so nothing runs and its words are written down.
RECORD = r"""
readonly PATH=/nonexistent
source() { :; }
exec 3>&1 1>/dev/null
command_not_found_handle() { printf '%s\0' "$@" >&3; printf '\x1e' >&3; }
"""


@dataclass
class Block:
    """Code of a page, indented by four spaces or fenced."""

    line: int
    language: str
    text: str
    above: str  # the last line of text before it

    @property
    def reason(self) -> str:
        """Why it is not run, in a comment just above it; "" without one."""
        match = NOT_RUN.match(self.above)
        return match[1] if match else ""

    @property
    def program(self) -> str:
        """The first word."""
        return self.text.split(maxsplit=1)[0]

    @property
    def is_shell(self) -> bool:
        return self.language in ("sh", "") and self.program in PROGRAMS

    @property
    def is_python(self) -> bool:
        return self.language == "python" or (not self.language and self.program in ("import", "from"))


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    lines, start = text.splitlines(), 0
    while start < len(lines):
        fence = re.match(r"```(\w*)$", lines[start])
        end = start + 1
        if fence:
            end = lines.index("```", start + 1)
            yield Block(start + 1, fence[1], "\n".join(lines[start + 1 : end]) + "\n", above(lines[:start]))
            end += 1
        elif lines[start].startswith("    ") and not "".join(lines[start - 1 : start]).strip():
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            code = textwrap.dedent("\n".join(lines[start:end])).strip()
            yield Block(start + 1, "", code + "\n", above(lines[:start]))
        start = end


def above(before: list[str]) -> str:
    """The last line that is not empty."""
    return next((line for line in reversed(before) if line.strip()), "")


def commands(block: str) -> list[list[str]]:
    """The words of each command of a shell block, after quotes, variables, loops and redirections."""
    bash = shutil.which("bash")
    assert bash
    with TemporaryDirectory() as empty:  # nothing to find by a relative path either
        done = subprocess.run([bash, "-c", RECORD + block], cwd=empty, capture_output=True, text=True, timeout=20)
    assert "syntax error" not in done.stderr, done.stderr
    return [record.split("\0")[:-1] for record in done.stdout.split("\x1e")[:-1]]
