"""`etlkit runs [RUN_ID]`: the history of runs, one run in full, and cleaning up."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli.invocation import invoke
from etlkit.cli.options import (
    CONTEXT,
    Command,
    chosen_settings,
    debug_option,
    local_dir_option,
    local_location_option,
    local_option,
    location_option,
    option,
    project_option,
    work_dataset_option,
)
from etlkit.cli.quantities import duration_text
from etlkit.cli.run_tables import (
    LIST_COLUMNS,
    LIST_DROPPABLE,
    NUMERIC,
    RESUMABLE,
    TASK_COLUMNS,
    TASK_DROPPABLE,
    UNBROKEN,
    WORKER_DROPPABLE,
    list_rows,
    task_rows,
    worker_rows,
    workers_text,
)

if TYPE_CHECKING:
    from etlkit.api.run import Run

_DEFAULT_LIMIT = 20
_DEFAULT_DAYS = 30


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("run_id", required=False)
@option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    default=_DEFAULT_LIMIT,
    show_default=True,
    section="Which runs",
    help="List at most N runs, or N rows with --trace.",
)
@local_option
@local_dir_option
@local_location_option
@project_option
@location_option
@work_dataset_option
@option(
    "--follow",
    is_flag=True,
    section="Which runs",
    help="Show runs at work, and how they end, until Ctrl-C; with RUN_ID until it has ended.",
)
@option(
    "--clean",
    is_flag=True,
    section="Clean up",
    help="Drop work tables that no unpublished run needs.",
)
@option(
    "--trace",
    "traced",
    metavar="TABLE",
    section="Rows",
    help="Show where rows of TABLE come from: source row, run, code, calls and cost.",
)
@option(
    "--where",
    metavar="SQL",
    section="Rows",
    help="With --trace: which rows, a condition over the columns of TABLE.",
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
@option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    section="Output",
    help="Write a page instead: of RUN_ID, or an overview of the last days.",
)
@option(
    "--days",
    type=click.IntRange(min=1),
    metavar="N",
    section="Output",
    help=f"With --html: days of the overview (default: {_DEFAULT_DAYS}).",
)
@debug_option
def command(run_id: str | None, **options: Any) -> int | None:
    """List the latest runs, or show RUN_ID in full; with --html as a page.

    With --trace, show where rows of a table come from.

    Workflows have their tasks below them.

    A run is running, published, failed, interrupted or dead (its process was killed). A transfer or
    workflow that is failed, interrupted or dead can be resumed: etlkit run JOB --resume RUN_ID
    """
    if run_id is not None and options["clean"]:
        raise click.UsageError("--clean does not go with a RUN_ID")
    _check_html(run_id, options)
    _check_trace(run_id, options)
    if options["follow"] and (options["clean"] or options["html_file"] or options["traced"]):
        raise click.UsageError("--follow does not go with --clean, --html or --trace")
    from etlkit.api.run import Run, RunRequest

    with chosen_settings(options) as settings, Run(RunRequest("etlkit-runs", settings)) as run:
        if options["follow"]:
            return _follow(run, run_id, options)
        if options["html_file"] is not None:
            _write_page(run, run_id, options)
        else:
            _print_answer(run, run_id, options)
    return None


def _check_html(run_id: str | None, options: dict[str, Any]) -> None:
    """Check that the options go together and that the page can be written, before anybody is asked."""
    if options["days"] is not None and (options["html_file"] is None or run_id is not None):
        raise click.UsageError("--days goes with --html and without a RUN_ID")
    if options["html_file"] is None:
        return
    if options["clean"]:
        raise click.UsageError("--html does not go with --clean")
    from etlkit.cli.pages.base import check_page

    check_page(options["html_file"])


def _follow(run: Run, run_id: str | None, options: dict[str, Any]) -> int:
    from etlkit.bigquery.runs.follow import Follower
    from etlkit.cli.follow import follow

    follower = Follower(run, options["work_dataset"])
    return follow(follower, run_id, as_json=options["format_name"] == "json")


def _check_trace(run_id: str | None, options: dict[str, Any]) -> None:
    if options["traced"] is None:
        if options["where"] is not None:
            raise click.UsageError("--where goes with --trace")
        return
    others = {"RUN_ID": run_id, "--clean": options["clean"], "--html": options["html_file"]}
    for name, given in others.items():
        if given:
            raise click.UsageError(f"--trace does not go with {name}")


def _write_page(run: Run, run_id: str | None, options: dict[str, Any]) -> None:
    from etlkit.bigquery.runs.history import runs_of_period, workflow_report

    dataset, path = options["work_dataset"], options["html_file"]
    if run_id is not None:
        from etlkit.cli.pages.run_page import write_html

        write_html(workflow_report(run, dataset, run_id), path)
    else:
        from etlkit.cli.pages.runs_page import write_runs_html

        days = options["days"] or _DEFAULT_DAYS
        write_runs_html(runs_of_period(run, dataset, days=days), path, days=days)
    click.echo(f"page: {path}", err=True)


def _print_answer(run: Run, run_id: str | None, options: dict[str, Any]) -> None:
    from etlkit.bigquery.runs.history import list_runs, show_run

    dataset, as_json = options["work_dataset"], options["format_name"] == "json"
    if options["traced"] is not None:
        _print_trace(run, options)
    elif options["clean"]:
        from etlkit.bigquery.runs.work_tables import clean

        dropped = clean(run, dataset)
        _print([{"dropped": name} for name in dropped], ("dropped",), as_json=as_json)
    elif run_id is not None:
        _print_run(show_run(run, dataset, run_id), as_json=as_json)
    else:
        rows = list_runs(run, dataset, limit=options["limit"])
        if as_json:
            click.echo(_json([{**row, "age": duration_text(row["age_s"])} for row in rows]))
        else:
            _print(list(list_rows(rows)), LIST_COLUMNS, LIST_DROPPABLE, as_json=False)


def _print_trace(run: Run, options: dict[str, Any]) -> None:
    from etlkit.bigquery.lineage.trace import trace_rows
    from etlkit.cli.traces import TRACE_COLUMNS, trace_rows_shown

    dataset, limit = options["work_dataset"], options["limit"]
    rows = trace_rows(run, dataset, options["traced"], options["where"], limit=limit)
    if options["format_name"] == "json":
        click.echo(_json(rows))
        return
    if not rows:
        click.echo(f"{options['traced']} has no such row", err=True)
    for number, row in enumerate(trace_rows_shown(rows)):
        lines = [{"of": name, "value": row[name]} for name in TRACE_COLUMNS if row[name]]
        if number:
            click.echo()
        _print(lines, ("of", "value"), as_json=False)


def _print_run(found: dict[str, Any], *, as_json: bool) -> None:
    from etlkit.bigquery.runs.workflow_events import kind_of

    if as_json:
        click.echo(_json(found))
        return
    tasks, parent = found.pop("tasks", []), found["parent_run_id"]
    workers, together = found.pop("workers", []), found.pop("all_workers", {})
    rows = [
        {"column": key, "value": value}
        for key, value in found.items()
        if value not in (None, "", {})
    ]
    _print(rows, ("column", "value"), as_json=False)
    if tasks:
        _print(list(task_rows(tasks)), TASK_COLUMNS, TASK_DROPPABLE, as_json=False)
    if workers:
        click.echo(workers_text(workers, together))
        names, shown = worker_rows(workers)
        _print(shown, names, WORKER_DROPPABLE, as_json=False)
    if found["state"] not in RESUMABLE:
        return
    if parent is not None:
        click.echo(f"To go on with its workflow: etlkit run JOB --resume {parent}")
    elif kind_of(found["mode"]) != "datamart":
        click.echo(f"To go on with it: etlkit run JOB --resume {found['run_id']}")


def _print(
    rows: list[dict[str, Any]],
    columns: Sequence[str],
    droppable: Sequence[str] = (),
    *,
    as_json: bool,
) -> None:
    if as_json:
        click.echo(_json(rows))
        return
    from etlkit.cli.tables import print_table

    values = [[row.get(name) for name in columns] for row in rows]
    cells = [["" if value is None else str(value) for value in each] for each in values]
    print_table(sys.stdout, columns, cells, numeric=NUMERIC, unbroken=UNBROKEN, droppable=droppable)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m etlkit.runs` and give its exit status; never raises."""
    return invoke(command, argv, "python -m etlkit.runs")
