"""`etlkit report QUERY|TABLE --html FILE`: rows as a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from etlkit.api.quantities import number_of
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
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from etlkit.cli.pages.results import ResultsReport

_COLUMNS = "What the columns mean (default: guessed; none = no column)"
_AMOUNT = "How much to show"
_MEGABYTE = 1_000_000


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("query", metavar="QUERY|TABLE", required=False)
@option(
    "-f",
    "--file",
    "file",
    type=click.File(encoding="utf-8"),
    metavar="FILE.sql",
    section="What to show",
    help="Read the query from this file; - = stdin.",
)
@option(
    "--html",
    "html",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    section="What to show",
    help="The page to write.",
)
@option("--title", section="What to show", help="Title of the page (default: the table's name).")
@option("--image", metavar="COLUMN", section=_COLUMNS, help="Address of a picture.")
@option("--model", metavar="COLUMN", section=_COLUMNS, help="Name of the model that answered.")
@option("--label", metavar="COLUMN", section=_COLUMNS, help="What the model says.")
@option("--score", metavar="COLUMN", section=_COLUMNS, help="How sure it is, 0 to 1.")
@option(
    "--box",
    metavar="COLUMN[,…]",
    section=_COLUMNS,
    help="Where it is: one column, or four for left, top, right and bottom.",
)
@option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    section=_AMOUNT,
    help="Read at most N rows (default: 50000).",
)
@option(
    "--maximum-bytes-billed",
    type=click.IntRange(min=1),
    metavar="BYTES",
    section=_AMOUNT,
    help="BigQuery refuses the query rather than bill more.",
)
@option(
    "--max-picture-mb",
    type=click.FloatRange(min=0),
    metavar="MB",
    section=_AMOUNT,
    help="Size of all pictures in the page together (default: 32).",
)
@option(
    "--download",
    is_flag=True,
    section=_AMOUNT,
    help="Also download pictures from web servers (https://…), from the public internet only.",
)
@local_option
@local_dir_option
@local_location_option
@project_option
@location_option
@debug_option
def command(query: str | None, file: TextIO | None, **options: Any) -> None:
    """Write the rows of a query or table as one HTML file.

    Rows that name pictures by address are shown as pictures, with the boxes and labels of each model.
    The file needs no network and no server.
    """
    if (query is None) == (file is None):
        raise click.UsageError("give either QUERY|TABLE or --file FILE.sql")
    text = file.read() if file is not None else str(query)
    show(write(text, options))


def write(text: str, options: dict[str, Any]) -> ResultsReport:
    """Write the page that the options ask for."""
    from etlkit.bigquery.result_rows import is_table
    from etlkit.cli.pages.base import check_page
    from etlkit.cli.pages.results import MAX_PICTURE_BYTES, MAX_ROWS, write_results

    is_table(text)  # what is wrong is said before a local server is started
    check_page(options["html"])
    megabytes = options["max_picture_mb"]
    max_picture_bytes = MAX_PICTURE_BYTES if megabytes is None else int(megabytes * _MEGABYTE)
    names = ("title", "image", "model", "label", "score", "box", "maximum_bytes_billed", "download")
    with chosen_settings(options) as settings, _progress() as told:
        return write_results(
            text,
            options["html"],
            settings=settings,
            limit=options["limit"] or MAX_ROWS,
            max_picture_bytes=max_picture_bytes,
            on_progress=told,
            **{name: options[name] for name in names},
        )


def show(report: ResultsReport) -> None:
    """Say on stderr what the page shows and what it leaves out; its path goes to stdout."""
    from etlkit.cli.tables import printable

    for text in report.left_out:
        click.echo(f"{click.style('left out', fg='yellow')} {printable(text)}", err=True)
    taken = ", ".join(f"{meaning} = {column}" for meaning, column in report.meanings.items())
    if taken:
        click.echo(f"{click.style('columns', fg='green')} {printable(taken)}", err=True)
    shown = number_of(report.num_rows, "row")
    if report.num_pictures:
        shown += f", {report.num_pictures_shown:,} of {report.num_pictures:,} pictures"
    if report.models:
        shown += f", {len(report.models):,} model(s)"
    size = report.page_bytes / _MEGABYTE
    click.echo(f"{click.style('page', fg='green')} {shown}, {size:.1f} MB", err=True)
    click.echo(report.path)


class _progress:  # noqa: N801 - used as a statement
    """A bar for the pictures on a terminal; nothing elsewhere, as it takes seconds."""

    def __enter__(self) -> Callable[[str, int, int], None]:
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True)
        self._bar.disable = not self._bar.console.is_terminal
        self._bar.start()
        self._stage = ""
        return self._told

    def _told(self, stage: str, done: int, every: int) -> None:
        total = every if every > 1 else None  # one step: nobody knows how far it is
        if stage != self._stage:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._stage = stage
            self._bar.add_task(stage, total=total)
        self._bar.update(self._bar.task_ids[-1], completed=done)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
