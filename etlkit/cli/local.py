"""`etlkit local …`: buckets, SQL and the server of the local world.

Google's clients are imported where they are used: that takes two seconds, and `--help`, `put` and
`ls` do not need them.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from etlkit.api.quantities import number_of
from etlkit.calls.local_token import without_token
from etlkit.cli.invocation import invoke
from etlkit.cli.options import CONTEXT, FilledOption, local_dir_option, local_location_option
from etlkit.cli.sql_output import FORMATS, write_rows
from etlkit.cli.stop_signals import StopSignals
from etlkit.deferred_imports import deferred_pandas
from etlkit.errors import JobError
from etlkit.local.buckets import Buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from google.cloud import bigquery

    from etlkit.local import Endpoints

_F = TypeVar("_F", bound="Callable[..., Any]")

# How long `serve` takes to notice that the server has ended.
_WATCH_S = 0.5


def _format(command: _F) -> _F:
    return click.option(
        "--format",
        "format_name",
        type=click.Choice(FORMATS),
        default=FORMATS[0],
        show_default=True,
        help="How to print the rows.",
    )(command)


class _InOrder(click.Group):
    """Lists the commands in the order in which they are needed, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=_InOrder, context_settings=CONTEXT)
@click.option("--debug", is_flag=True, expose_value=False, help="Show SQL and tracebacks.")
def command() -> None:
    """Work with the local BigQuery and the local buckets."""


@command.command()
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)
@click.argument("uri", metavar="gs://BUCKET/[PREFIX/]")
@click.option("-r", "--recursive", is_flag=True, help="Copy folders too, with everything in them.")
@local_dir_option
def put(files: tuple[Path, ...], uri: str, recursive: bool, local_dir: Path) -> None:
    """Copy files into a local bucket. A missing bucket is created."""
    from etlkit.local.server.local_dir import make_local_dir

    make_local_dir(local_dir)
    for address in _buckets(local_dir).put(files, uri, recursive=recursive):
        click.echo(address)


@command.command()
@click.argument("uri", metavar="gs://BUCKET/[PREFIX]")
@_format
@local_dir_option
def ls(uri: str, format_name: str, local_dir: Path) -> None:
    """List the objects under a prefix or pattern.

    A `*` makes the URI a pattern.
    """
    objects = _buckets(local_dir).list(uri)
    if format_name == "table":
        for stored in objects:
            click.echo(f"{stored.size:>13,}  {stored.updated:%Y-%m-%d %H:%M:%S}Z  {stored.uri}")
        total = sum(stored.size for stored in objects)
        click.echo(f"{total:>13,}  bytes in {len(objects)} object(s)")
        return
    names = ("uri", "generation", "content_type", "size", "md5_hash", "updated")
    rows = ([getattr(stored, name) for name in names] for stored in objects)
    write_rows(sys.stdout, format_name, names, rows)


@command.command()
@click.argument("statement", metavar="SQL", required=False)
@click.option(
    "-f",
    "--file",
    "file",
    cls=FilledOption,
    type=click.File(encoding="utf-8"),
    help="Read the SQL from this file; - = stdin.",
)
@_format
@local_dir_option
def sql(statement: str | None, file: TextIO | None, format_name: str, local_dir: Path) -> None:
    """Run GoogleSQL in the local BigQuery and print the rows."""
    if (statement is None) == (file is None):
        raise click.UsageError("give either SQL or --file FILE")
    text = file.read() if file is not None else statement or ""
    with _client(local_dir) as client:
        from etlkit.calls.backoff import Backoff

        requests: Any = Backoff("a request to the local BigQuery")
        job = client.query(text, retry=requests, job_retry=None)
        rows = job.result(retry=requests, job_retry=None)
        if job.num_dml_affected_rows is not None:
            click.echo(f"{number_of(job.num_dml_affected_rows, 'row')} affected", err=True)
        elif job.ddl_operation_performed or not rows.schema:
            click.echo(f"done: {job.ddl_operation_performed or 'no rows'}", err=True)
        else:
            names = [field.name for field in rows.schema]
            write_rows(sys.stdout, format_name, names, (row.values() for row in rows))
            return
        if format_name == "json":
            click.echo("[]")


@command.command("object-table")
@click.argument("table", metavar="DATASET.TABLE")
@click.argument("uris", nargs=-1, required=True, metavar="gs://BUCKET/*...")
@local_dir_option
def object_table(table: str, uris: tuple[str, ...], local_dir: Path) -> None:
    """Create or replace a table that has one row for each object."""
    with _client(local_dir) as client:
        from etlkit.local.bigquery.object_table import create_object_table

        num_rows = create_object_table(client, table, uris, _buckets(local_dir))
    click.echo(f"{table}: {number_of(num_rows, 'row')}")


@command.command()
@_format
def rules(format_name: str) -> None:
    """List what the local BigQuery refuses as BigQuery does.

    Each rule with its source. What differs from BigQuery is in docs/guides/local.md.
    """
    from etlkit.local.server.launcher import check_extra

    check_extra()
    from etlkit.local.bigquery.rules.listing import all_rules

    listed = all_rules()
    if format_name == "table":
        for area in dict.fromkeys(rule.area for rule in listed):
            click.echo(f"{area}:")
            for rule in [rule for rule in listed if rule.area == area]:
                click.echo(f"  {rule.name}: {rule.says}")
                click.echo(f"    asked of {rule.asked}; {rule.source}")
        click.echo(f"{len(listed)} rules")
        return
    names = ("area", "name", "says", "asked", "source")
    write_rows(
        sys.stdout, format_name, names, ([getattr(rule, n) for n in names] for rule in listed)
    )


@command.command()
@click.option(
    "--env",
    "env_path",
    cls=FilledOption,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the variables that other programs need into this file, readable for you only. It is "
    "deleted at the end.",
)
@click.option(
    "--late-columns-s",
    type=click.FloatRange(min=0),
    help="How many seconds the Storage Write API does not see new columns of a table (default: 0).",
)
@local_location_option
@local_dir_option
def serve(
    local_dir: Path,
    local_location: str | None,
    late_columns_s: float | None,
    env_path: Path | None,
) -> None:
    """Keep the local server running until Ctrl-C.

    Prints how other programs connect to it.
    """
    from contextlib import ExitStack

    from etlkit.local import join_or_start
    from etlkit.local.env_file import env_file

    stop = StopSignals()
    with ExitStack() as stack:
        server = stack.enter_context(
            join_or_start(local_dir, location=local_location, late_columns_s=late_columns_s)
        )
        if env_path is not None:
            stack.enter_context(env_file(env_path, server.tool_environ()))
        click.echo(_how_to_connect(server.endpoints, env_path))
        sys.stdout.flush()
        while not stop.wait(_WATCH_S):
            if not _is_running(server.pid):
                raise JobError(
                    f"the local server (process {server.pid}) has ended; see "
                    f"{server.local_dir / 'server.log'}, then start it again"
                )


def _buckets(local_dir: Path) -> Buckets:
    return Buckets(local_dir / "buckets")


@contextmanager
def _client(local_dir: Path) -> Iterator[bigquery.Client]:
    """A client of the local server. What BigQuery refuses becomes a `JobError` with its message."""
    from etlkit.local import join_or_start

    with join_or_start(local_dir) as server:
        with deferred_pandas():
            from google.cloud import bigquery
        from google.api_core.exceptions import GoogleAPIError
        from google.oauth2.credentials import Credentials

        endpoints = server.endpoints
        client = bigquery.Client(
            project=endpoints.project,
            credentials=Credentials(endpoints.token),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": without_token(endpoints.bigquery, endpoints.token)},
        )
        with client:
            try:
                yield client
            except GoogleAPIError as exc:
                # `str(exc)` repeats the message and adds the job's address.
                errors = getattr(exc, "errors", ())
                messages = [error["message"] for error in errors if "message" in error]
                raise JobError("\n".join(messages) or str(exc)) from exc


def _is_running(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _how_to_connect(endpoints: Endpoints, env_path: Path | None) -> str:
    if env_path is not None:
        return f"""\
# The local server runs until Ctrl-C. In another terminal, before the tool that shall use it:
. {shlex.quote(str(env_path.absolute()))}"""
    exports = "\n".join(f"export {name}={value}" for name, value in endpoints.environ().items())
    return f"""\
# The local server runs until Ctrl-C. For any Google client in another terminal (for tools that want
# more than these variables, start it with --env FILE):
{exports}

# bq:
#   bq --api {endpoints.bigquery} --project_id {endpoints.project} \\
#     query --nouse_legacy_sql 'SELECT 1 AS one'

# Python:
#   from google.auth.credentials import AnonymousCredentials
#   from google.cloud import bigquery
#   options = {{"api_endpoint": "{endpoints.bigquery}"}}
#   client = bigquery.Client("{endpoints.project}", AnonymousCredentials(), client_options=options)
#   print(list(client.query("SELECT 1 AS one").result()))"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m etlkit.local` and give its exit status; never raises."""
    return invoke(command, argv, "python -m etlkit.local")
