"""What a person reads after a comparison: what differs how often, and examples side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli.change_table import Group, empty_table, print_grid, print_groups
from etlkit.cli.output_files import STDOUT, write_report
from etlkit.cli.quantities import money_text
from etlkit.cli.row_changes import Change, changes, short_row, without_row
from etlkit.cli.tables import printable

if TYPE_CHECKING:
    from etlkit.api.diff_report import DiffReport, RowDiff, RowSide, SideReport

_MAX_COLUMNS = 20


def print_diff(report: DiffReport, options: dict[str, Any]) -> None:
    """Print a comparison as the options ask for.

    Args:
        report: The report.
        options: Values of `report_file` and `as_json`.
    """
    file = options["report_file"]
    if file is not None and file != STDOUT:
        write_report(file, report.to_json())
    if not options["as_json"]:
        _show(report)
    if options["as_json"] or file == STDOUT:
        click.echo(report.to_json())


def _show(report: DiffReport) -> None:
    if report.examples:
        titles = f"old: {report.old.version}", f"new: {report.new.version}"
        print_groups(sys.stdout, titles, map(_group, report.examples))
    if report.columns:
        _show_columns(report)
    _show_sides(report)
    for line in _summary(report):
        click.echo(printable(line))


def _group(example: RowDiff) -> Group:
    head = Change("source", "", short_row(example.source), "")
    return Group(str(example.number), [head, *_lines(example.old, example.new)])


def _lines(old: RowSide, new: RowSide) -> Iterator[Change]:
    if old.state != new.state:
        yield Change("result", "~", _state(old), _state(new))
        return
    if len(old.rows) != len(new.rows):
        yield Change("rows", "~", f"{len(old.rows):,}", f"{len(new.rows):,}")
    several = max(len(old.rows), len(new.rows)) > 1
    for part in range(max(len(old.rows), len(new.rows))):
        before = old.rows[part] if part < len(old.rows) else {}
        after = new.rows[part] if part < len(new.rows) else {}
        for change in changes(before, after):
            is_nothing = {change.before, change.after} == {"", "NULL"}
            if change.sign and not is_nothing:
                label = f"{part + 1}: {change.column}" if several else change.column
                yield Change(label, change.sign, change.before, change.after, change.place)


def _state(side: RowSide) -> str:
    if side.error is not None:
        return f"{side.state}: {without_row(side.error)}"
    if not side.rows:
        return side.state
    several = f" as {len(side.rows):,} rows" if len(side.rows) > 1 else ""
    return f"{side.state}{several}: {short_row(side.rows[0])}"


def _show_columns(report: DiffReport) -> None:
    from rich.text import Text

    table = empty_table(sys.stdout)
    for name in ("column", "old type", "new type"):
        table.add_column(name, overflow="fold")
    table.add_column("values that differ", justify="right")
    for column in report.columns[:_MAX_COLUMNS]:
        sign = "+ " if column.old_type is None else "- " if column.new_type is None else "~ "
        color = {"+ ": "green", "- ": "red"}.get(sign, "yellow")
        table.add_row(
            Text(sign + printable(column.column), style=color),
            Text(column.old_type or ""),
            Text(column.new_type or ""),
            f"{column.changed:,}",
        )
    print_grid(sys.stdout, table)
    if len(report.columns) > _MAX_COLUMNS:
        click.echo(f"… and {len(report.columns) - _MAX_COLUMNS:,} more columns")


def _show_sides(report: DiffReport) -> None:
    table = empty_table(sys.stdout)
    table.add_column("version", overflow="fold")
    names = ("written", "skipped", "rejected", "known", "calls", "saved")
    for name in names:
        table.add_column(name, justify="right")
    for side in (report.old, report.new):
        calls = f"{side.calls:,}"
        if side.cost:
            calls += f"\n{money_text(side.cost, report.currency)}"
        counts = (side.written, side.skipped, side.rejected, side.known)
        table.add_row(
            printable(side.version), *(f"{n:,}" for n in counts), calls, f"{side.replayed:,}"
        )
    print_grid(sys.stdout, table)
    for side in (report.old, report.new):
        for text in _errors(side):
            click.echo(text)


def _errors(side: SideReport) -> Iterator[str]:
    if side.error_classes:
        shown = ", ".join(f"{num:,} {name}" for name, num in side.error_classes.items())
        yield f"errors of {printable(side.version)}: {shown}"


def _summary(report: DiffReport) -> Iterator[str]:
    if report.changed_files:
        yield f"code: {'; '.join(report.changed_files)}"
    elif report.changed_files is not None:
        yield "code: the files of both versions are the same"
    of = "" if report.source_rows is None else f" of {report.source_rows:,}"
    parts = [f"{report.same:,} the same"]
    parts += [f"{report.changed:,} changed"] if report.changed else []
    parts += [f"{num:,} {how}" for how, num in report.moved.items()]
    word = "same" if report.is_same else "different"
    yield f"{word} ({report.rows:,}{of} rows compared, seed {report.seed}): {', '.join(parts)}"
    differing = report.rows - report.same
    if differing > len(report.examples):
        yield f"the table shows {len(report.examples)} of {differing:,} rows that differ"
