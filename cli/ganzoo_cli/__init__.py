"""The `gz` command. It imports ganzoo only, and torch only in commands that compute."""

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run `gz` with these arguments, or those of the process, and return the exit code; no exception gets out."""
    from ganzoo_cli import errors

    return errors.run(args)
