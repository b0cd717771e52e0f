"""Whatever goes wrong becomes one sentence on stderr and an exit code."""

import os
import sys
import traceback
from collections.abc import Iterator, Sequence

from ganzoo.errors import Interrupted, ZooError
from ganzoo_cli.host import torchrun

BUG = 1
INTERRUPTED = 130


def run(args: Sequence[str] | None) -> int:
    """Run a command line; return its exit code."""
    given = sys.argv[1:] if args is None else args
    try:
        code = _ran(given)
        torchrun.clear_exit_code()
        sys.stdout.flush()
        return code
    except SystemExit as err:  # a reader that went away; rich and click end this way
        return err.code if isinstance(err.code, int) else 1
    except BaseException as err:
        sentence, code = explain(err, given)
        sentence, code = torchrun.told(err, sentence), torchrun.exit_code(err, code)
        if os.environ.get("GZ_TRACEBACK") == "1":
            traceback.print_exception(err)
        for line in sentence.splitlines():
            print(f"error: {_printable(line)}", file=sys.stderr)
        _let_go_of_stdout()
        return code


def _ran(args: Sequence[str]) -> int:
    """What the app does when it is called, except that it would turn an interrupt into an exit without a word."""
    from typer import Exit
    from typer.main import get_command

    from ganzoo_cli.app import app

    command = get_command(app)
    try:
        with command.make_context("gz", list(args)) as context:
            code = command.invoke(context)
    except Exit as err:
        code = err.exit_code
    return code if isinstance(code, int) else 0


def explain(err: BaseException, args: Sequence[str]) -> tuple[str, int]:
    """(sentence, exit code) for these arguments; nothing is said of a pipe whose reader went away."""
    name = type(err).__name__
    if not isinstance(err, Interrupted) and (name == "Abort" or _is_interrupt(err)):
        return _interrupted(err), INTERRUPTED
    if isinstance(err, ZooError):
        return str(err), err.exit_code
    if isinstance(err, BrokenPipeError):
        return "", 1
    if name == "NoArgsIsHelpError":  # the help has been printed
        return "", 2
    if hasattr(err, "format_message"):  # click's, of whichever copy typer uses
        return _usage(err, args), int(getattr(err, "exit_code", 2))
    from ganzoo.training.device import is_memory

    if is_memory(err):
        return (
            "out of memory: where there is --batch-gpu, compute fewer images at once with it (a divisor of the batch), "
            "or choose a smaller image.size; 'gz train -n' estimates the need."
        ), 1
    if isinstance(err, OSError):
        what = f"{err.filename}: " if err.filename else ""
        return f"{what}{err.strerror or err}.", 1
    text = " ".join(str(err).split())
    return f"this is a bug in ganzoo: {name}: {text} (GZ_TRACEBACK=1 shows where).", BUG


def _chain(err: BaseException) -> Iterator[BaseException]:
    """An error, and all that it came from."""
    found: list[BaseException | None] = [err]
    for one in found:
        if one is not None:
            yield one
            found += [other for other in (one.__cause__, one.__context__) if other not in found]


def _is_interrupt(err: BaseException) -> bool:
    """Also what a library made of an interrupt: one that falls into an import may come out as another error."""
    return any(isinstance(one, KeyboardInterrupt) for one in _chain(err))


def _interrupted(err: BaseException) -> str:
    """Commands that leave files behind say so themselves; a training does, but not at the second interrupt."""
    frames = [frame for one in _chain(err) for frame, _ in traceback.walk_tb(one.__traceback__)]
    if any(f.f_globals.get("__name__") == "ganzoo.runs.loop" and f.f_code.co_name in ("begin", "loop") for f in frames):
        return "interrupted: what came after the last state is lost; 'gz train --resume latest' continues from there."
    return "interrupted: nothing was written."


def _printable(text: str) -> str:
    """Without what would steer a terminal: a sentence may quote a file."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _usage(err: BaseException, args: Sequence[str]) -> str:
    message = " ".join(str(err.format_message()).split()).rstrip(".?")  # type: ignore[attr-defined]
    message = message.replace("Value error, ", "")  # pydantic's own
    context = getattr(err, "ctx", None)
    command = (context.command_path if context else "gz").replace("gz metrics one", "gz metrics NAME")
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
