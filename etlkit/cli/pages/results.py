"""Results to look at: the rows of a query or table on one page, with pictures if they name some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from etlkit.cli.pages.base import check_page, read_template, write_page
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.api.run import Settings
    from etlkit.bigquery.result_rows import ResultRows
    from etlkit.cli.pages.results_answers import Picture, Pictures
    from etlkit.cli.pages.results_columns import Given, Meanings
    from etlkit.cli.pages.results_grid import Grid
    from etlkit.cli.pages.thumbnails import Thumbnails

MAX_ROWS: Final = 50_000
"""Rows that are read if nothing else is asked for."""

MAX_PICTURE_BYTES: Final = 32_000_000
"""Of the small pictures in a page if nothing else is asked for: 2,000 of 320 x 240 pixels."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a stage (`read`, `pictures`, `write`), how much is done and how much there is."""

IMAGES_PER_BLOCK: Final = 40
"""The page reads a block of small pictures when it shows the first of them."""


@dataclass(frozen=True)
class ResultsReport:
    """What a page of results shows.

    Attributes:
        path: The file.
        num_rows: Rows that were read.
        num_rows_there: Rows that the query or table has; None = more, nobody counted them.
        num_pictures: Pictures that the rows name.
        num_pictures_shown: Pictures that are in the page.
        models: Names of the models.
        bytes_billed: Of the query.
        page_bytes: Size of the file.
        left_out: What is not in the page, a sentence each.
        meanings: What the columns were taken for: meaning -> column.
    """

    path: str
    num_rows: int
    num_rows_there: int | None
    num_pictures: int
    num_pictures_shown: int
    models: tuple[str, ...]
    bytes_billed: int
    page_bytes: int
    left_out: tuple[str, ...] = ()
    meanings: dict[str, str] = field(default_factory=dict)


def write_results(
    query_or_table: str,
    path: str | Path,
    *,
    settings: Settings | None = None,
    title: str | None = None,
    image: str | None = None,
    model: str | None = None,
    label: str | None = None,
    score: str | None = None,
    box: str | None = None,
    limit: int = MAX_ROWS,
    maximum_bytes_billed: int | None = None,
    max_picture_bytes: int = MAX_PICTURE_BYTES,
    download: bool = False,
    on_progress: Progress | None = None,
) -> ResultsReport:
    """Write the rows of a query or table as one HTML file to look at.

    Rows that name pictures by address are shown as pictures, with the boxes and labels of each model.
    Which column has what is guessed by name, type and the first values, unless it is given. Needs the
    extra `report`.

    Args:
        query_or_table: One SELECT, or `dataset.table`, whose rows are read without a query.
        path: The file; an existing one is replaced.
        settings: Project, location and environment; None = those of `environment()`.
        title: Of the page; None = the table's name, or `Results`.
        image: Column with the address of a picture: `gs://…`, a path in the local buckets, or
            `https://…`. None = guess, `"none"` = no column; likewise the next four.
        model: Column with the name of the model that answered.
        label: Column with what the model says.
        score: Column with how sure it is, 0 to 1.
        box: Column with the box, or four columns for left, top, right and bottom, with commas.
        limit: Rows to read at most.
        maximum_bytes_billed: BigQuery refuses the query rather than bill more; None = no bound.
        max_picture_bytes: Of all small pictures together, as they stand in the file.
        download: Also download pictures from web servers, from the public internet only.
        on_progress: See `Progress`.

    Returns:
        What the page shows and what it leaves out.

    Raises:
        ConfigError: A package of the extra is missing, the folder is not there, a column is not in
            the result, or it is neither a SELECT nor the name of a table.
        SourceError: BigQuery refused the query, or there is no such table.
    """
    from etlkit.api.run import Run, RunRequest
    from etlkit.bigquery.client import connect
    from etlkit.bigquery.result_rows import is_table, read_result
    from etlkit.cli.pages.results_columns import Given
    from etlkit.runner import environment

    path = Path(path)
    given = Given(image=image, model=model, label=label, score=score, box=box)
    if limit < 1 or max_picture_bytes < 0:
        raise ConfigError("limit must be 1 or more, and max_picture_bytes 0 or more")
    text = query_or_table.strip()
    table = text.replace("`", "") if is_table(text) else None
    check_page(path)
    settings = settings or environment()
    with Run(RunRequest("etlkit-report", settings)) as run:
        if on_progress is not None:
            on_progress("read", 0, 1)
        result = read_result(
            connect(run), text, limit=limit, maximum_bytes_billed=maximum_bytes_billed
        )
    return write_rows(
        result,
        path,
        environ=settings.environ,
        title=title or table or "Results",
        sql=None if table else text,
        model=(table or "answers").rpartition(".")[2],
        given=given,
        max_picture_bytes=max_picture_bytes,
        download=download,
        on_progress=on_progress,
    )


def write_rows(
    result: ResultRows,
    path: Path,
    *,
    environ: Mapping[str, str],
    title: str,
    sql: str | None = None,
    model: str = "answers",
    given: Given | None = None,
    max_picture_bytes: int = MAX_PICTURE_BYTES,
    download: bool = False,
    on_progress: Progress | None = None,
) -> ResultsReport:
    """Write rows that were read as a page, see `write_results`.

    Args:
        result: The rows.
        path: The file.
        environ: May name the folder of the local buckets.
        title: Of the page.
        sql: The query, to show it; None = there is none.
        model: The name of the model if no column has one.
        given: What the user says about columns.
        max_picture_bytes: See `write_results`; likewise the next two.
        download: See there.
        on_progress: See there.

    Raises:
        ConfigError: As `write_results`.
    """
    from etlkit.cli.pages.results_columns import find_meanings

    told = on_progress or (lambda _stage, _done, _all: None)
    page = _Page(result, find_meanings(result, given), model=model)
    page.add_pictures(
        environ, max_picture_bytes, download, lambda done, every: told("pictures", done, every)
    )
    told("write", 0, 1)
    return page.write(path, title, sql)


class _Page:
    """A page while it is made."""

    def __init__(self, result: ResultRows, meanings: Meanings, *, model: str) -> None:
        from etlkit.cli.pages.results_answers import read_pictures
        from etlkit.cli.pages.results_grid import make_grid

        self.result = result
        self.meanings = meanings
        self.pictures: Pictures | None = None
        if meanings.image is not None:
            self.pictures = read_pictures(result, meanings, model=model)
        self.thumbnails: Thumbnails | None = None
        self.grid: Grid = make_grid(result)

    def add_pictures(
        self,
        environ: Mapping[str, str],
        max_bytes: int,
        download: bool,
        on_progress: Callable[[int, int], None],
    ) -> None:
        """Make the small pictures, if the rows name any."""
        from etlkit.cli.pages.thumbnails import make_thumbnails

        if self.pictures is not None:
            self.thumbnails = make_thumbnails(
                [picture.address for picture in self.pictures.pictures],
                environ,
                max_bytes=max_bytes,
                download=download,
                on_progress=on_progress,
            )

    def write(self, path: Path, title: str, sql: str | None) -> ResultsReport:
        """Write the file."""
        from etlkit.cli.pages.results_charts import answer_charts, column_charts
        from etlkit.cli.pages.results_data import image_blocks, picture_data
        from etlkit.cli.pages.results_grid import grid_script, grid_style

        pictures, left_out = self.pictures, self._left_out()
        charts = [] if pictures is None else answer_charts(pictures)
        described = self.meanings.described()
        columns = [] if charts else column_charts(self.result)
        values = {
            "facts": self._facts(),
            "left_out": left_out,
            "meanings": described,
            "charts": charts,
            "column_charts": columns,
            "sql": sql,
            "pictures": pictures,
            "has_agreement": pictures is not None and _has_agreement(pictures.pictures),
            "data": None if pictures is None else picture_data(pictures, self.thumbnails),
            "blocks": image_blocks(pictures, self.thumbnails, IMAGES_PER_BLOCK),
            "grid": self.grid,
        }
        write_page(
            path,
            "results.html",
            values,
            title=title,
            styles=[grid_style(), read_template("results.css")],
            scripts=[grid_script(), read_template("results.js")],
        )
        return ResultsReport(
            path=str(path),
            num_rows=len(self.result.rows),
            num_rows_there=self.result.num_there,
            num_pictures=0 if pictures is None else len(pictures.pictures),
            num_pictures_shown=0 if self.thumbnails is None else self.thumbnails.num_shown,
            models=() if pictures is None else tuple(pictures.models),
            bytes_billed=self.result.bytes_billed,
            page_bytes=path.stat().st_size,
            left_out=tuple(left_out),
            meanings=dict(described),
        )

    def _facts(self) -> list[tuple[str, str]]:
        facts = [("Rows", f"{len(self.result.rows):,}")]
        if self.pictures is None:
            return [*facts, ("Columns", f"{len(self.result.columns):,}")]
        pictures = self.pictures.pictures
        facts.append(("Pictures", f"{len(pictures):,}"))
        if self.pictures.models:
            num_answers = sum(1 for _ in self.pictures.answers)
            facts += [("Models", f"{len(self.pictures.models):,}"), ("Answers", f"{num_answers:,}")]
        if _has_agreement(pictures):
            compared = [each.agreement for each in pictures if each.agreement is not None]
            disagreeing = sum(agreement < 1 for agreement in compared)
            facts.append(("With disagreement", f"{disagreeing:,}"))
        return facts

    def _left_out(self) -> list[str]:
        result, grid = self.result, self.grid
        notes = []
        if result.is_cut:
            there = "more" if result.num_there is None else f"{result.num_there:,}"
            notes.append(
                f"Only {len(result.rows):,} of {there} rows were read. Pictures, counts and charts "
                "are about these; read more with --limit."
            )
        if grid.num_left_out:
            shown = f"{len(grid.rows):,} of {len(result.rows):,}"
            notes.append(f"The grid has the first {shown} rows that were read.")
        if self.pictures is not None:
            notes += self._left_out_of(self.pictures)
        return notes

    def _left_out_of(self, pictures: Pictures) -> list[str]:
        notes = []
        if pictures.num_without_address:
            notes.append(f"{pictures.num_without_address:,} rows have no address of a picture.")
        num_answers = sum(picture.num_left_out for picture in pictures.pictures)
        if num_answers:
            notes.append(f"{num_answers:,} answers are left out: each model's best ones are shown.")
        if self.thumbnails is not None:
            for reason, count in self.thumbnails.reasons.most_common(5):
                notes.append(f"{count:,} picture(s) not shown: {reason}.")
        return notes


def _has_agreement(pictures: Sequence[Picture]) -> bool:
    return any(picture.agreement is not None for picture in pictures)
