"""What a person reads after a rehearsal: what the sample did, and what that says of all rows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli.change_table import empty_table, print_grid
from etlkit.cli.output_files import STDOUT, write_report
from etlkit.cli.quantities import amount_text, duration_text, money_text, size_text
from etlkit.cli.row_changes import without_row
from etlkit.cli.tables import printable

if TYPE_CHECKING:
    from etlkit.api.rehearsal_report import Durations, Interval, Projection, RehearsalReport

_MAX_CLASSES = 5


def print_rehearsal(report: RehearsalReport, options: dict[str, Any]) -> None:
    """Print a report, also of a rehearsal that failed, as the options ask for.

    Args:
        report: The report.
        options: Values of `quiet`, `report_file` and `as_json`.
    """
    file = options["report_file"]
    if file is not None and file != STDOUT:
        write_report(file, report.to_json())
    for_a_person = sys.stdout.isatty() and sys.stderr.isatty()
    if not options["quiet"] and not options["as_json"]:
        _show(report)
    if options["as_json"] or file == STDOUT or not for_a_person:
        click.echo(report.to_json())


def _show(report: RehearsalReport) -> None:
    from rich.text import Text

    lines = [*_sample(report), *_whole(report), *_remarks(report)]
    table = empty_table(sys.stderr)
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    section = ""
    for heading, name, text, style in lines:
        if heading != section:
            table.add_section()
            section = heading
        table.add_row(
            Text(name, style="bold" if not name.startswith(" ") else ""),
            Text(printable(text), style=style),
        )
    print_grid(sys.stderr, table)


_Line = tuple[str, str, str, str]
"""Section, name, text and style of a line."""


def _sample(report: RehearsalReport) -> Iterator[_Line]:
    part = "sample"
    of = "" if report.source_rows is None else f" of {report.source_rows:,}"
    reused = f", {report.reused:,} known from earlier runs" if report.reused else ""
    yield (
        part,
        report.state,
        f"{report.read:,}{of} rows, chosen at random (seed {report.seed}){reused}",
        "",
    )
    counts = f"{report.written:,} written, {report.skipped:,} skipped, {report.rejected:,} rejected"
    yield part, "rows", counts, ""
    if report.error_rate is not None:
        style = "red" if report.error_rate.value else "green"
        yield part, "error rate", f"{_percents(report.error_rate)}", style
    for name, num in sorted(report.error_classes.items(), key=lambda each: -each[1])[:_MAX_CLASSES]:
        first = next((text for text in report.first_errors if name in text), "")
        yield part, f"  {num:,} {name}", without_row(first), "red"
    if report.calls:
        retries = f", {report.retries:,} of them retries" if report.retries else ""
        cost = "" if report.cost is None else f"; {money_text(report.cost, report.currency)}"
        per_row = f"; {report.calls_per_row:,.2g} for each row" if report.calls_per_row else ""
        yield part, "calls made", f"{report.calls:,}{retries}{per_row}{cost}", ""
    if report.call_s is not None:
        yield part, "a call", _quantiles(report.call_s), ""
    elif report.row_s is not None:
        yield part, "a row", f"{_quantiles(report.row_s)}; no calls through etlkit", ""


def _whole(report: RehearsalReport) -> Iterator[_Line]:
    found = report.projection
    if found is None:
        return
    part = "whole"
    known = f"; {report.known:,} are known, which take no call" if report.known else ""
    yield part, "a whole run", f"{found.rows:,} rows to transform{known}", ""
    if report.calls and found.calls is not None:
        yield part, "calls", _numbers(found.calls), ""
    if found.seconds is not None:
        yield part, "transform", _seconds(found.seconds), ""
    yield from _price(part, found, report.currency)
    if found.failed is not None and report.rejected:
        yield part, "failed rows", _numbers(found.failed), ""
    for text in report.limits:
        ends = " end the run" in text
        yield part, "limit", text, "yellow" if ends else ""
    if found.rows_ended is not None:
        yield part, "", f"that is after about {found.rows_ended:,} of {found.rows:,} rows", "yellow"


def _price(part: str, found: Projection, currency: str) -> Iterator[_Line]:
    if found.cost is not None:
        low, high = amount_text(found.cost.low), _or_more(found.cost.high, amount_text)
        spread = f" ({low} to {high})"
        yield part, "price", f"about {money_text(found.cost.value, currency)}{spread}", ""


def _remarks(report: RehearsalReport) -> Iterator[_Line]:
    part = "remarks"
    for text in report.failed_checks:
        yield part, "check", f"fails on the sample: {text}", "yellow"
    for text in report.changes:
        yield part, "target", text, ""
    for text in report.differences:
        yield part, "not the same", text, ""
    if report.bytes_processed:
        yield part, "source query", f"{size_text(report.bytes_processed)}, billed once", ""
    if report.state == "rehearsed":
        yield part, "paid for", _reusable(report), ""
        kept = f"kept for 7 days: {report.table}" if report.table else "dropped"
        yield part, "table", f"{kept}; {report.target} was not touched", ""


def _reusable(report: RehearsalReport) -> str:
    if report.known is not None:
        return (
            f"{report.results_kept:,} new results are kept: a run of the same code takes them without "
            "a call"
        )
    if not report.calls:
        return "nothing"
    return f"the job has no reuse: a run makes the {report.calls:,} calls again"


def _percents(share: Interval) -> str:
    high = 1.0 if share.high is None else share.high
    return f"{share.value:.1%} ({share.low:.1%} to {high:.1%})"


def _quantiles(found: Durations) -> str:
    return f"half within {_short(found.p50)}, 95 % within {_short(found.p95)}"


def _short(seconds: float) -> str:
    """A short duration with two digits: `1.2 µs`, `34 ms`."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            number = seconds * factor
            text = f"{number:.0f}" if number >= 10 else f"{number:.1f}"
            return duration_text(seconds) if seconds >= 10 else f"{text} {unit}"
    raise AssertionError("the last unit takes all")


def _numbers(found: Interval) -> str:
    high = _or_more(found.high, lambda number: f"{number:,.0f}")
    return f"about {found.value:,.0f} ({found.low:,.0f} to {high})"


def _seconds(found: Interval) -> str:
    if found.high is not None and found.high < 1:
        return "less than a second"
    high = _or_more(found.high, duration_text)
    return f"about {duration_text(found.value)} ({duration_text(found.low)} to {high})"


def _or_more(number: float | None, text: Any) -> str:
    return "not known" if number is None else text(number)
