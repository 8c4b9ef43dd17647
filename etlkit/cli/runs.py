"""`python -m etlkit.runs [RUN_ID]`: the history of runs, one run in full, and cleaning up."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from etlkit.errors import EtlkitError
from etlkit.runner import environment, local_world

_SHOWN_RUNS = 20
_COLUMNS = ("run_id", "job", "state", "read", "written", "skipped", "rejected", "age", "target")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("run_id", required=False)
@click.option("--local", is_flag=True, help="Look into the embedded BigQuery of .etlkit/.")
@click.option(
    "--local-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".etlkit"),
    show_default=True,
    help="Where --local keeps its tables and buckets.",
)
@click.option("--project", help="Google Cloud project of the work dataset.")
@click.option("--location", help="BigQuery location, e.g. US or asia-northeast1.")
@click.option(
    "--work-dataset", default="etlkit_work", show_default=True, help="Where the ledger is."
)
@click.option("--limit", type=click.IntRange(min=1), default=_SHOWN_RUNS, show_default=True)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
@click.option("--clean", is_flag=True, help="Drop work tables that no unpublished run needs.")
def cli(run_id: str | None, **options: Any) -> int:
    """List the latest runs, or show RUN_ID in full.

    States: starting, running, published, failed, interrupted, and dead = killed; transfers in one of
    the last three can be resumed with: python -m etlkit.run JOB --resume RUN_ID
    """
    if run_id is not None and options["clean"]:
        raise click.UsageError("--clean goes without a RUN_ID")
    from etlkit.api.run import Run, RunRequest

    with ExitStack() as stack:
        if options["local"]:
            stack.enter_context(local_world(options["local_dir"]))
        settings = environment(project=options["project"], location=options["location"])
        run = stack.enter_context(Run(RunRequest("etlkit-runs", settings)))
        return _answer(run, run_id, options)


def _answer(run: Any, run_id: str | None, options: dict[str, Any]) -> int:
    from etlkit.bigquery.runs.history import clean, list_runs, show_run

    dataset = options["work_dataset"]
    if options["clean"]:
        dropped = clean(run, dataset)
        _print([{"dropped": name} for name in dropped], ("dropped",), options["form"])
    elif run_id is not None:
        found = show_run(run, dataset, run_id)
        if options["form"] == "json":
            click.echo(_json(found))
        else:
            rows = [{"column": key, "value": value} for key, value in found.items()]
            _print(rows, ("column", "value"), "table")
    else:
        rows = list_runs(run, dataset, limit=options["limit"])
        for row in rows:
            row["age"] = _age(row["age_s"])
        _print(rows, _COLUMNS, options["form"])
    return 0


def _print(rows: list[dict[str, Any]], columns: tuple[str, ...], form: str) -> None:
    if form == "json":
        click.echo(_json(rows))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for name in columns:  # an id that is cut is no id
        table.add_column(name, no_wrap=name in {"run_id", "state"}, overflow="fold")
    for row in rows:
        values = (row.get(name) for name in columns)
        table.add_row(*("" if value is None else escape(str(value)) for value in values))
    wide = None if sys.stdout.isatty() else 200
    Console(width=wide, highlight=False).print(table)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _age(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit status; never raises."""
    try:
        return int(cli.main(argv, prog_name="python -m etlkit.runs", standalone_mode=False) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except EtlkitError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
