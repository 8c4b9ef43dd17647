"""One invocation of a command: every error becomes a sentence on stderr and an exit status."""

from __future__ import annotations

import atexit
import gc
import logging
import signal
import sys
from collections.abc import Sequence

import click

from etlkit.cli.console import show_error
from etlkit.cli.logs import configure_logging, logged_warnings
from etlkit.cli.next_steps import interruption, next_step, what_is_kept
from etlkit.errors import EtlkitError, without_keys

# The interpreter ends by looking for cycles among all objects, which takes as long as importing some of
# Google's modules did. The process's memory goes anyway. From Python 3.14 on it takes little, and with
# frozen objects the interpreter aborts at its end if DuckDB is imported, e.g. by a transform.
if sys.version_info < (3, 14):
    atexit.register(gc.freeze)

_DEBUG = "--debug"


def invoke(command: click.Command, argv: Sequence[str] | None, prog_name: str) -> int:
    """Run a command and give its exit status. Every error is printed here, none is raised.

    Args:
        command: What to run; what its callback returns is the exit status, None = 0.
        argv: Arguments without the program's name; None = those of this process.
        prog_name: How help texts call the program.

    Returns:
        0 done, 1 failed, 2 wrong usage or configuration, 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = _DEBUG in arguments
    configure_logging(logging.DEBUG if debug else logging.WARNING)
    try:
        with logged_warnings():
            return _run(command, arguments, prog_name)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        _show_usage(error)
        return error.exit_code
    except (KeyboardInterrupt, Exception) as error:
        message, status = _explain(error)
        if debug:
            logging.getLogger("etlkit").exception("traceback:")
        show_error(message)
        return status


def _run(command: click.Command, arguments: Sequence[str], prog_name: str) -> int:
    def main(given: Sequence[str]) -> int:
        return int(command.main(given, prog_name=prog_name, standalone_mode=False) or 0)

    try:
        return main(arguments)
    except click.NoSuchOption as error:
        if error.option_name != _DEBUG:
            raise
        # Any command may fail with "add --debug", also one that does not list this option.
        return main([each for each in arguments if each != _DEBUG])


def _show_usage(error: click.ClickException) -> None:
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        click.echo(context.get_usage(), err=True)
        click.echo(f"Try '{context.command_path} --help' for help.\n", err=True)
    show_error(error.format_message())


def _explain(error: BaseException) -> tuple[str, int]:
    """What to tell the user, and the exit status."""
    if isinstance(error, EtlkitError):
        return f"{error}{next_step(error)}", error.exit_code
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        # click turns a KeyboardInterrupt into an Abort; its first 8.1 did so without `from`.
        cause = error.__cause__ or error.__context__ or error
        return interruption(cause), 128 + int(getattr(cause, "signum", signal.SIGINT))
    if isinstance(error, MemoryError):
        return "\n".join(
            filter(None, ["the process ran out of memory", what_is_kept(error, "")])
        ), 1
    kind = type(error).__name__
    return f"unexpected {kind}: {without_keys(str(error))}\nadd --debug for the traceback", 1
