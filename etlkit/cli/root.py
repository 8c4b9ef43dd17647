"""The command `etlkit`: `run`, `check`, `runs`, `report` and the others under one name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from etlkit._version import __version__
from etlkit.cli.invocation import invoke
from etlkit.cli.options import CONTEXT

_SUMMARIES = {
    "init": "Begin a project that runs on this machine at once.",
    "new": "Add a transform, a job or a datamart to a project, with its test.",
    "doctor": "Check this machine and what runs need of Google Cloud.",
    "run": "Run a job: a transfer or a datamart.",
    "check": "Check the SQL of jobs without running them.",
    "prove": "Prove a job under kills, cut connections and bad answers.",
    "runs": "List the latest runs, show one, or clean up after them.",
    "report": "Write the rows of a query or table as a page to look at.",
    "serve": "Serve a transform as a BigQuery remote function.",
    "deploy": "Print what runs a job on Google Cloud by itself.",
    "local": "Work with the local BigQuery and the local buckets.",
    "completion": "Print the script for completion in your shell.",
}
"""The commands and what the help text says of them, without importing any of them."""


class _Root(click.Group):
    """Imports a command when it is called, so that `etlkit --help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _SUMMARIES:
            return None
        command = import_module(f"etlkit.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUMMARIES.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _SUMMARIES and not args[0].startswith("-"):
            raise click.UsageError(_unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)


def _unknown(name: str) -> str:
    similar = difflib.get_close_matches(name, _SUMMARIES, n=1)
    if similar:
        return f"there is no command {name!r}; did you mean {similar[0]!r}?"
    if "." in name or Path(name).exists():
        return f"there is no command {name!r}; to run a job write: etlkit run {name}"
    return f"there is no command {name!r}; the commands are {', '.join(_SUMMARIES)}"


@click.group(cls=_Root, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="etlkit", message="%(prog)s %(version)s")
def command() -> None:
    """Run the rows of a BigQuery query through your own Python code, each row exactly once.

    Help on a command: etlkit COMMAND --help
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run `etlkit` and give its exit status; never raises."""
    return invoke(command, argv, "etlkit")
