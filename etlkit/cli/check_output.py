"""What a person reads after a check: a table of jobs, then each mistake at its place."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from etlkit.cli.quantities import duration_text
from etlkit.cli.tables import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from etlkit.sql_check.report import CheckReport, Finding, JobReport
    from etlkit.sql_check.sql_text import Place

_LOOKS = {
    "ok": ("✓", "ok", "green"),
    "failed": ("✗", "x", "red"),
    "unchecked": ("?", "?", "yellow"),
}
"""Symbol, symbol without Unicode, and colour, by state."""

_CREATED = " would be created"

_WIDE = 1_000
"""Columns of a file or a pipe, where nothing is folded."""

_BEFORE_CARET = 0.6
"""Share of the width that is kept for what stands before the caret in a long line."""


def write_report(stream: TextIO, report: CheckReport, *, columns: bool) -> None:
    """Print a report.

    Args:
        stream: Where to print. On a terminal the table fits its width.
        report: What was found.
        columns: Whether to show the columns of each job.
    """
    from rich.console import Console

    is_terminal = stream.isatty()
    # Without a height rich ignores the width on a dumb terminal.
    console = Console(
        file=stream,
        highlight=False,
        soft_wrap=False,
        height=25,
        width=None if is_terminal else _WIDE,
    )
    with console.capture() as captured:
        for part in _parts(report, console, columns=columns):
            console.print(part)
    stream.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _parts(report: CheckReport, console: Console, *, columns: bool) -> Iterator[RenderableType]:
    from rich.text import Text

    width = console.width
    if _table_width(report.jobs) <= console.width:
        yield _table(report.jobs, console)
    else:
        yield from _list(report.jobs, console)
    if columns:
        for job in report.jobs:
            yield from _columns(job, width)
    yield from _notes(report.jobs, width)
    for job in report.jobs:
        for finding in job.findings:
            yield Text("")
            yield from _finding(job, finding, width)
    yield Text("")
    yield _summary(report)


def _table_width(jobs: Sequence[JobReport]) -> int:
    """The width of the table in which no name is folded."""
    columns = [[[job.name], job.reads, job.writes] for job in jobs]
    longest = (max((len(n) for row in columns for n in row[at]), default=0) for at in range(3))
    return sum(max(each, 12) + 2 for each in longest) + 1


def _list(jobs: Sequence[JobReport], console: Console) -> Iterator[Text]:
    """The same as lines, for a terminal in which names would be folded."""
    for job in jobs:
        yield _state(job, console).append(" ").append(printable(job.name), "bold")
        for title, names in (("reads", job.reads), ("writes", job.writes)):
            if names:
                yield _wrapped(f"    {title:<8}", ", ".join(names), console.width)


def _state(job: JobReport, console: Console) -> Text:
    from rich.text import Text

    symbol, ascii_symbol, style = _LOOKS[job.state]
    return Text(symbol if console.encoding.lower().startswith("utf") else ascii_symbol, style)


def _wrapped(title: str, text: str, width: int, style: str = "dim") -> Text:
    """A text behind a title; further lines are indented as the first one."""
    from rich.text import Text

    lines = textwrap.wrap(
        printable(text), width - len(title), break_long_words=False, break_on_hyphens=False
    )
    indented = f"\n{' ' * len(title)}".join(lines)
    return Text.assemble((title, style), indented)


def _table(jobs: Sequence[JobReport], console: Console) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("job", overflow="fold", min_width=12)
    table.add_column("reads", overflow="fold", min_width=12)
    table.add_column("writes", overflow="fold")
    for job in jobs:
        table.add_row(
            _state(job, console),
            Text(printable(job.name), "bold"),
            *(Text(printable("\n".join(names))) for names in (job.reads, job.writes)),
        )
    return table


def _columns(job: JobReport, width: int) -> Iterator[Text]:
    from rich.text import Text

    shown = [("in", job.columns_in, True), ("out", job.columns_out, job.is_complete)]
    if not any(columns is not None for _, columns, _ in shown) and not job.changes:
        return
    yield Text("")
    yield Text(printable(job.name), "bold")
    for title, columns, is_complete in shown:
        if columns is not None:
            texts = ", ".join(each.text for each in columns) or "none"
            more = "" if is_complete else ", and what its transform adds"
            yield _wrapped(f"  {title:<6}", texts + more, width)
    for change in job.changes:
        made, is_new, _ = change.partition(_CREATED)  # with the columns that stand above
        yield _wrapped("  then  ", f"{made}{_CREATED}" if is_new else change, width)


def _notes(jobs: Sequence[JobReport], width: int) -> Iterator[Text]:
    """Why jobs could not be checked: each reason once, with the jobs that it keeps from it."""
    from rich.text import Text

    reasons: dict[str, list[str]] = {}
    for job in jobs:
        for note in job.notes:
            reasons.setdefault(note, []).append(job.name)
    for reason, names in reasons.items():
        yield Text("")
        yield Text.assemble(("not checked", "yellow"), f": {printable(reason)}")
        yield _wrapped("  --> ", ", ".join(names), width, "blue")


def _finding(job: JobReport, finding: Finding, width: int) -> Iterator[Text]:
    from rich.text import Text

    place = finding.place
    yield Text.assemble(("error", "bold red"), f": {printable(finding.message)}")
    where = place.file or job.name
    if place.line is not None:
        where += f":{place.line}:{place.column}"
    named = [each for each in (place.what, "" if job.file == job.name else job.name) if each]
    yield Text.assemble(
        ("  --> ", "blue"), printable(where), (f" ({', '.join(named)})" if named else "", "dim")
    )
    if place.excerpt:
        yield from _excerpt(place, width)
    if finding.hint:
        yield _wrapped("  = ", finding.hint, width, "blue")


def _excerpt(place: Place, width: int) -> Iterator[Text]:
    """The line with carets under what is wrong; a long line is cut around it."""
    from rich.text import Text

    line, column = place.excerpt.replace("\t", " "), (place.caret or place.column or 1) - 1
    margin = f"{'' if place.line is None else place.line:>5} | "
    room = max(width - len(margin) - 2, 20)
    start = 0
    if len(line) > room:
        start = max(0, min(column - int(room * _BEFORE_CARET), len(line) - room))
    shown = line[start : start + room]
    if start:
        shown = f"…{shown[1:]}"
    if start + room < len(line):
        shown = f"{shown[:-1]}…"
    carets = "^" * max(1, min(place.width, room - (column - start)))
    yield Text.assemble((margin, "blue"), printable(shown), no_wrap=True)
    blank = " " * (len(margin) - 2) + "| "
    yield Text.assemble((blank, "blue"), " " * (column - start), (carets, "bold red"), no_wrap=True)


def _summary(report: CheckReport) -> Text:
    from rich.text import Text

    num_errors = sum(len(job.findings) for job in report.jobs)
    num_unchecked = sum(job.state == "unchecked" for job in report.jobs)
    parts = [
        _count(len(report.jobs), "job"),
        _count(sum(job.num_statements for job in report.jobs), "statement"),
        _count(num_errors, "error") if num_errors else "no errors",
    ]
    if num_unchecked:
        parts.append(f"{_count(num_unchecked, 'job')} not fully checked")
    style = "bold red" if num_errors else "green"
    rest = f" in {duration_text(report.seconds)}, against {printable(report.catalog)}"
    return Text.assemble((", ".join(parts), style), rest)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
