"""Whatever goes wrong becomes one sentence on stderr and an exit code."""

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from ganzoo.errors import ZooError

BUG = 1
INTERRUPTED = 130


def run(app: typer.Typer, args: Sequence[str] | None) -> int:
    """Run a command line; return its exit code."""
    try:
        code = app(args=None if args is None else list(args), prog_name="gz", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as err:  # a reader that went away; rich and click end this way
        return err.code if isinstance(err.code, int) else 1
    except BaseException as err:
        sentence, code = explain(err, sys.argv[1:] if args is None else args)
        if os.environ.get("GZ_TRACEBACK") == "1":
            traceback.print_exception(err)
        for line in sentence.splitlines():
            print(f"error: {_printable(line)}", file=sys.stderr)
        _let_go_of_stdout()
        return code


def explain(err: BaseException, args: Sequence[str]) -> tuple[str, int]:
    """(sentence, exit code) for these arguments; nothing is said of a pipe whose reader went away."""
    name = type(err).__name__
    if isinstance(err, ZooError):
        return str(err), err.exit_code
    if isinstance(err, BrokenPipeError):
        return "", 1
    if isinstance(err, KeyboardInterrupt) or name == "Abort":
        return "interrupted.", INTERRUPTED
    if name == "NoArgsIsHelpError":  # the help has been printed
        return "", 2
    if hasattr(err, "format_message"):  # click's, of whichever copy typer uses
        return _usage(err, args), int(getattr(err, "exit_code", 2))
    if _is_memory(err):
        return (
            "out of memory: compute fewer images at once, with --batch-gpu (a divisor of the batch), or choose a "
            "smaller image.size; 'gz train -n' estimates the need."
        ), 1
    if isinstance(err, OSError):
        what = f"{err.filename}: " if err.filename else ""
        return f"{what}{err.strerror or err}.", 1
    text = " ".join(str(err).split())
    return f"this is a bug in ganzoo: {name}: {text} (GZ_TRACEBACK=1 shows where).", BUG


def _is_memory(err: BaseException) -> bool:
    """Also torch's RuntimeErrors: of CUDA ('CUDA error: out of memory'), of MPS, of the CPU's allocator."""
    if isinstance(err, MemoryError) or type(err).__name__ == "OutOfMemoryError":
        return True
    words = ("out of memory", "can't allocate memory")
    return isinstance(err, RuntimeError) and any(word in str(err) for word in words)


def _printable(text: str) -> str:
    """Without what would steer a terminal: a sentence may quote a file."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _usage(err: BaseException, args: Sequence[str]) -> str:
    message = " ".join(str(err.format_message()).split()).rstrip(".?")  # type: ignore[attr-defined]
    context = getattr(err, "ctx", None)
    command = context.command_path if context else "gz"
    value = _given(list(getattr(getattr(err, "param", None), "opts", [])), args)
    got = f", got '{value}'" if value is not None and repr(value) not in message else ""
    return f"{message[:1].lower()}{message[1:]}{got}. See '{command} --help'."


def _given(names: Sequence[str], args: Sequence[str]) -> str | None:
    """What the arguments give to an option; not every version of typer says so."""
    for word, following in zip(args, [*args[1:], ""]):
        flag, equals, value = word.partition("=")
        if flag.replace("_", "-") in names:
            return value if equals else following
    return None


def _let_go_of_stdout() -> None:
    """Where stdout cannot be written, drop what waits in it, or Python would complain again at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (OSError, ValueError):
            return
