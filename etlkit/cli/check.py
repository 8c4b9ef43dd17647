"""`etlkit check [JOB|FILE|FOLDER…]`: analyze the SQL of jobs, without an account."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli.invocation import invoke
from etlkit.cli.options import CONTEXT, Command, debug_option, local_dir_option, option
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.sql_check.jobs import LoadedJob
    from etlkit.sql_check.known import Catalog

_JOBS = Path("jobs")
_SCHEMAS = (Path("schemas"), Path("jobs/schemas"))
_VARIABLE = re.compile(r"\$([^\W\d]\w*)\$")

_WHERE = "Where tables are looked up"
_OUTPUT = "Output"


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("targets", nargs=-1, metavar="[JOB|FILE|FOLDER]...")
@option(
    "--schemas",
    type=click.Path(path_type=Path),
    metavar="DIR",
    section=_WHERE,
    help="In files, dataset.table.json as bq show --schema writes them (default: schemas/ or "
    "jobs/schemas/ if there is one).",
)
@option(
    "--local",
    is_flag=True,
    section=_WHERE,
    help="In the local BigQuery on this machine (default where there are no schemas).",
)
@local_dir_option
@option(
    "--project",
    metavar="ID",
    section=_WHERE,
    help="In a Google Cloud project. Only metadata is read, which costs nothing.",
)
@option(
    "--var",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    section="Variables",
    help="Value of the variable $NAME$ of all jobs that have it; may be repeated.",
)
@option(
    "--queued-at",
    metavar="TIME",
    section="Variables",
    help="Time from which Timestamp variables count, e.g. 2024-01-31T09:00Z (default: now).",
)
@option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    section=_OUTPUT,
    help="How to print what is found.",
)
@option("--columns", is_flag=True, section=_OUTPUT, help="Also show the columns of each job.")
@debug_option
def command(targets: tuple[str, ...], **options: Any) -> int:
    """Check the SQL of jobs with Google's own SQL analyzer: names, types, and what goes where.

    A target is a job (package.module, package.module:name, a .py file), a file of SQL, or a folder
    with such files; without one, the folder jobs/. Nothing runs and nothing is written.

    \b
    Exit status:
      0    nothing is wrong
      1    BigQuery or etlkit would refuse something
      2    wrong usage or configuration
    """  # noqa: D301 - \b keeps click from wrapping these lines
    if options["local"] and options["project"]:
        raise click.UsageError("give --local or --project, not both")
    from etlkit.cli.check_analyzer import GoogleSqlAnalyzer
    from etlkit.cli.check_output import write_report
    from etlkit.sql_check.check import check_jobs
    from etlkit.sql_check.jobs import list_jobs
    from etlkit.variables.values import parse_assignments, parse_time

    given = parse_assignments(options["variables"])
    loaded, problems, skipped = _load(targets, given)
    queued_at = parse_time(options["queued_at"]) or datetime.now(UTC)
    jobs = list_jobs(loaded, given, queued_at)
    with _catalog(options) as catalog:
        report = check_jobs(jobs, catalog, GoogleSqlAnalyzer(catalog.project))
    for file, reason in skipped.items():
        report.skip(file, reason)
    for file, problem in problems.items():
        report.refuse(file, problem)
    if options["format_name"] == "json":
        sys.stdout.write(json.dumps(report.as_json(), ensure_ascii=False, indent=2) + "\n")
    else:
        write_report(sys.stdout, report, columns=options["columns"] or len(report.jobs) == 1)
    return report.exit_status


@contextmanager
def _catalog(options: dict[str, Any]) -> Iterator[Catalog]:
    """Where tables are looked up."""
    from etlkit.sql_check.schema_files import SchemaFiles

    schemas: Path | None = options["schemas"]
    if schemas is None and not options["local"] and not options["project"]:
        schemas = next((folder for folder in _SCHEMAS if folder.is_dir()), None)
    project = options["project"] or ("local" if options["local"] else "")
    files = None if schemas is None else SchemaFiles(schemas, project)
    if files is not None and not (options["local"] or options["project"]):
        yield files
        return
    from etlkit.cli.check_catalogs import FilesFirst, metadata_catalog

    with metadata_catalog(options) as found:
        yield found if files is None else FilesFirst(files, found)


def _load(
    targets: Sequence[str], given: dict[str, str]
) -> tuple[list[LoadedJob], dict[str, str], dict[str, str]]:
    """The jobs of all targets; what is wrong, by file; what is skipped, with the reason.

    Raises:
        ConfigError: A target that the user named does not exist, or is no job: all of them.
    """
    from etlkit.cli.check_targets import jobs_in

    if not targets:
        if not _JOBS.is_dir():
            raise ConfigError(
                f"there is no folder {_JOBS}/: name what to check, e.g. etlkit check my_job.py"
            )
        targets = [str(_JOBS)]
    found = jobs_in(targets)
    loaded = [_with_variables(each, given) for each in found.jobs]
    return loaded, found.problems, found.skipped


def _with_variables(loaded: LoadedJob, given: dict[str, str]) -> LoadedJob:
    """A bare file of SQL defines no variables: those in its text are its own."""
    from etlkit.api.datamart import Datamart

    job = loaded.job
    if not isinstance(job, Datamart) or loaded.name != str(job.file):
        return loaded
    used = set(_VARIABLE.findall(job.text())) & given.keys()
    return replace(loaded, job=replace(job, variables={name: given[name] for name in used}))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `etlkit check` and give its exit status; never raises."""
    return invoke(command, argv, "etlkit check")
