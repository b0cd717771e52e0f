"""Every error becomes one sentence on stderr and an exit code."""

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

from ganzoo.errors import Interrupted, PluginError, ZooError, is_interrupt
from ganzoo_cli.host import processes

BUG = 1


def run(args: Sequence[str] | None) -> int:
    """Run a command line; return its exit code."""
    words = sys.argv[1:] if args is None else args
    _escape_unencodable()
    try:
        code = _invoke(words)
        processes.clear_exit_code()
        sys.stdout.flush()
        return code
    except SystemExit as err:  # rich and click exit like this when the reader of a pipe has gone
        return err.code if isinstance(err.code, int) else 1
    except BaseException as err:
        sentence, code = explain(err, words)
        sentence, code = processes.attributed(err, sentence), processes.exit_code(err, code)
        if os.environ.get("GZ_TRACEBACK") == "1":
            traceback.print_exception(err)
        for line in sentence.splitlines():
            print(f"error: {_printable(line)}", file=sys.stderr)
        _release_stdout()
        return code


def _escape_unencodable() -> None:
    """Let stdout and stderr write what their encoding lacks as \\x, \\u: tables have lines, file names any bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _invoke(args: Sequence[str]) -> int:
    """Call the app as typer does, except that typer would turn an interrupt into an exit without a message."""
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
    """Return (sentence, exit code) for an error of a command line; the sentence is "" where a pipe's reader has gone.

    Commands that leave files behind raise Interrupted themselves, with a sentence of their own.
    """
    name = type(err).__name__
    if not isinstance(err, Interrupted) and (name == "Abort" or is_interrupt(err)):
        return "interrupted: nothing was written.", Interrupted.exit_code
    if isinstance(err, ZooError):
        return str(err), err.exit_code
    if isinstance(err, BrokenPipeError):
        return "", 1
    if name == "NoArgsIsHelpError":  # the help has been printed
        return "", 2
    if hasattr(err, "format_message"):  # click's, of whichever copy typer uses
        return _usage(err, args), int(getattr(err, "exit_code", 2))
    from ganzoo.training.device import is_out_of_memory

    if is_out_of_memory(err):
        return (
            "out of memory: where there is --batch-gpu, compute fewer images at once with it (a divisor of the batch), "
            "or choose a smaller image.size; 'gz train -n' estimates the need."
        ), 1
    if isinstance(err, OSError):
        path = f"{err.filename}: " if err.filename else ""
        cure = ": choose a shorter name" if err.errno == errno.ENAMETOOLONG else ""
        return f"{path}{err.strerror or err}{cure}.", 1
    if failure := _plugin_failure(err):
        return str(failure), failure.exit_code
    return f"this is a bug in ganzoo: {name}: {_one_line(err)} (GZ_TRACEBACK=1 shows where).", BUG


def _plugin_failure(err: BaseException) -> PluginError | None:
    """The error as one of a third party's plugin, if its code raised it or called what did; None for ganzoo's own.

    The innermost frame that belongs to such a plugin decides. It names the component whose method it is, else the
    module.
    """
    from ganzoo.registry import plugin
    from ganzoo.registry.component import Component

    plugins = (*plugin.installed(), *plugin.command_plugins())
    strangers = [p for p in plugins if p.distribution != plugin.SHIPPED]
    for frame, _ in reversed(list(traceback.walk_tb(err.__traceback__))):
        module = str(frame.f_globals.get("__name__"))
        if owners := [p for p in strangers if p.package == module.partition(".")[0]]:
            owner = max(owners, key=lambda p: f"{module}.".startswith(f"{p.module}."))  # of several in one package
            part = frame.f_locals.get("self")
            where = f"{part.kind} '{part.name}'" if isinstance(part, Component) and part.name else module
            return PluginError(
                f"failed in {where}: {type(err).__name__}: {_one_line(err)}",
                place=f"plugin '{owner.name}' ({owner.distribution} {owner.version})",
                cure="report it to that plugin (GZ_TRACEBACK=1 shows where)",
            )
    return None


def _one_line(err: BaseException) -> str:
    return " ".join(str(err).split())


def _printable(text: str) -> str:
    """Replace control characters, which would steer a terminal: a sentence may quote a file."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _usage(err: BaseException, args: Sequence[str]) -> str:
    message = " ".join(str(err.format_message()).split()).rstrip(".?")  # type: ignore[attr-defined]
    message = message.replace("Value error, ", "")  # pydantic's own
    context = getattr(err, "ctx", None)
    named = [word for word in args[:1] if not word.startswith("-")]  # where click leaves the context out
    command = context.command_path if context else " ".join(["gz", *named])
    command = command.replace("gz metrics one", "gz metrics NAME")
    if sentence := _synonym(str(getattr(err, "option_name", None) or ""), message, command, args):
        return sentence
    value = _value_of(list(getattr(getattr(err, "param", None), "opts", [])), args)
    got = f", got '{value}'" if value is not None and repr(value) not in message else ""
    return f"{message[:1].lower()}{message[1:]}{got}. See '{command} --help'."


def _synonym(option: str, message: str, command: str, args: Sequence[str]) -> str:
    """Return a sentence for an option of another training program, and for those after it; "" where it is none."""
    from ganzoo_cli import synonyms

    cure = synonyms.cure(command, option, synonyms.value_of(option.lstrip("-").replace("_", "-"), args), args)
    if cure is None:
        return ""
    fault = "takes no value" if "not take a value" in message else "is an option of other programs"
    return " ".join([f"{option} {fault}: {cure}.", *synonyms.further(command, option, args)])


def _value_of(names: Sequence[str], args: Sequence[str]) -> str | None:
    """The value that an option has in the arguments; not every version of typer tells."""
    for word, following in zip(args, [*args[1:], ""]):
        flag, equals, value = word.partition("=")
        if flag.replace("_", "-") in names:
            return value if equals else following
    return None


def _release_stdout() -> None:
    """Where stdout cannot be written, drop what it still buffers, or Python would report the fault again at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (OSError, ValueError):
            return
