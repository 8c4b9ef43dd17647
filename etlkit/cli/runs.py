"""`etlkit runs [RUN_ID]`: the history of runs, one run in full, and cleaning up."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli.invocation import invoke
from etlkit.cli.options import (
    CONTEXT,
    Command,
    chosen_settings,
    debug_option,
    local_dir_option,
    local_option,
    location_option,
    option,
    project_option,
    work_dataset_option,
)

if TYPE_CHECKING:
    from etlkit.api.run import Run

_DEFAULT_LIMIT = 20
_COLUMNS = ("run_id", "job", "state", "read", "written", "skipped", "rejected", "age", "target")
_NUMERIC = ("read", "written", "skipped", "rejected", "age")
_UNBROKEN = ("run_id", "state", *_NUMERIC)


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("run_id", required=False)
@option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    default=_DEFAULT_LIMIT,
    show_default=True,
    section="Which runs",
    help="List at most N runs.",
)
@local_option
@local_dir_option
@project_option
@location_option
@work_dataset_option
@option(
    "--clean",
    is_flag=True,
    section="Clean up",
    help="Drop work tables that no unpublished run needs.",
)
@option(
    "--format",
    "format_name",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    section="Output",
    help="How to print the runs.",
)
@debug_option
def command(run_id: str | None, **options: Any) -> None:
    """List the latest runs, or show RUN_ID in full.

    A run is starting, running, published, failed, interrupted or dead (its process was killed). A
    transfer that is failed, interrupted or dead can be resumed: etlkit run JOB --resume RUN_ID
    """
    if run_id is not None and options["clean"]:
        raise click.UsageError("--clean does not go with a RUN_ID")
    from etlkit.api.run import Run, RunRequest

    with chosen_settings(options) as settings, Run(RunRequest("etlkit-runs", settings)) as run:
        _print_answer(run, run_id, options)


def _print_answer(run: Run, run_id: str | None, options: dict[str, Any]) -> None:
    from etlkit.bigquery.runs.history import clean, list_runs, show_run

    dataset, as_json = options["work_dataset"], options["format_name"] == "json"
    if options["clean"]:
        dropped = clean(run, dataset)
        _print([{"dropped": name} for name in dropped], ("dropped",), as_json=as_json)
    elif run_id is not None:
        found = show_run(run, dataset, run_id)
        if as_json:
            click.echo(_json(found))
        else:
            rows = [{"column": key, "value": value} for key, value in found.items()]
            _print(rows, ("column", "value"), as_json=False)
    else:
        rows = list_runs(run, dataset, limit=options["limit"])
        for row in rows:
            row["age"] = _age(row["age_s"])
        _print(rows, _COLUMNS, as_json=as_json)


def _print(rows: list[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(_json(rows))
        return
    from etlkit.cli.tables import print_table

    values = [[row.get(name) for name in columns] for row in rows]
    cells = [["" if value is None else str(value) for value in each] for each in values]
    print_table(sys.stdout, columns, cells, numeric=_NUMERIC, unbroken=_UNBROKEN)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _age(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m etlkit.runs` and give its exit status; never raises."""
    return invoke(command, argv, "python -m etlkit.runs")
