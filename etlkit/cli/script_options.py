"""`etlkit run --script FILE`: a job made of a script and a few options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from etlkit.api.policies import OnRowError
from etlkit.bigquery.modes import MODES
from etlkit.cli.options import option, spelled

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob

_F = TypeVar("_F", bound=Callable[..., Any])

_SECTION = "Scripts instead of TARGET"
_OPTIONS = (
    option(
        "--script",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        section=_SECTION,
        help="Run the class Etl of FILE, without a job module. Scripts of TROCCO work unchanged.",
    ),
    option("--source", metavar="SQL", section=_SECTION, help="The SELECT to read."),
    option("--sink", metavar="DATASET.TABLE", section=_SECTION, help="Where the rows go."),
    option(
        "--mode",
        type=click.Choice(list(MODES)),
        metavar="MODE",
        section=_SECTION,
        help=f"How they are published: {', '.join(MODES)} (default: append).",
    ),
    option(
        "--merge-keys",
        metavar="COLUMN,…",
        section=_SECTION,
        help="With --mode merge: the columns that identify a row.",
    ),
    option(
        "--create-dataset",
        is_flag=True,
        default=None,
        section=_SECTION,
        help="Create the dataset of --sink if it is missing.",
    ),
    option(
        "--on-row-error",
        type=click.Choice(get_args(OnRowError)),
        metavar="POLICY",
        section=_SECTION,
        help=f"What to do with a row that fails: {', '.join(get_args(OnRowError))} (default: fail).",
    ),
    option(
        "--max-concurrency",
        type=click.IntRange(min=1),
        metavar="N",
        section=_SECTION,
        help="Calls in flight (default: what the class says, else 1).",
    ),
    option(
        "--name",
        section=_SECTION,
        help="The job's name in reports and in the ledger (default: that of the file).",
    ),
)
PARTNERS = (
    "source",
    "sink",
    "mode",
    "merge_keys",
    "create_dataset",
    "on_row_error",
    "max_concurrency",
    "name",
)
"""Options that go with `--script` alone."""


def script_options(command: _F) -> _F:
    """Give a command the options that make a job of a script."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def check_target(target: str | None, options: dict[str, Any]) -> None:
    """Check that the options go together, before anything is imported.

    Raises:
        click.UsageError: Neither a target nor a script, both of them, a script without source or
            sink, or options of a script without one.
    """
    given = [spelled(name) for name in PARTNERS if options[name] is not None]
    if options["script"] is None:
        if given:
            raise click.UsageError(f"{', '.join(given)} goes with --script FILE")
        if target is None:
            raise click.UsageError(
                "name a job (package.module or a file), or a script: "
                "--script FILE --source SQL --sink DATASET.TABLE"
            )
        return
    if target is not None:
        raise click.UsageError(
            f"give either the job {target} or --script {options['script']}, not both"
        )
    missing = [spelled(name) for name in ("source", "sink") if not options[name]]
    if missing:
        raise click.UsageError(
            f"--script needs {' and '.join(missing)}: "
            "--script FILE --source 'SELECT …' --sink DATASET.TABLE"
        )


def script_job(options: dict[str, Any]) -> tuple[str, TransferJob]:
    """Make the job that the options of `script_options` describe.

    Returns:
        Its name (`--name`, else the file's without `.py`) and the job.

    Raises:
        ConfigError: The script cannot be loaded, or an option makes no sense.
    """
    from etlkit.api.job import TransferJob
    from etlkit.bigquery import BigQuerySink, BigQuerySource
    from etlkit.engine.trocco import load_etl
    from etlkit.variables.values import parse_assignments

    script: Path = options["script"]
    keys = (options["merge_keys"] or "").split(",")
    sink = BigQuerySink(
        options["sink"],
        mode=options["mode"] or "append",
        merge_keys=tuple(key.strip() for key in keys if key.strip()),
        create_dataset=bool(options["create_dataset"]),
    )
    return options["name"] or script.stem, TransferJob(
        source=BigQuerySource(options["source"]),
        transform=load_etl(script),
        sink=sink,
        on_row_error=options["on_row_error"] or "fail",
        max_concurrency=options["max_concurrency"],
        variables=parse_assignments(options["variables"]),
    )
