"""The report of a datamart for a person: a table with a row for each statement."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from etlkit.api.quantities import number_of
from etlkit.cli.logs import logs_json
from etlkit.cli.quantities import size_text
from etlkit.cli.sql_output import to_text, write_rows
from etlkit.cli.tables import print_table, printable

if TYPE_CHECKING:
    from etlkit.api.report import DatamartReport, StatementReport
    from etlkit.bigquery.result_rows import ResultRows

log: logging.Logger = logging.getLogger("etlkit")

_STATEMENT_CHARS = 60
_NUMERIC = ("rows", "processed", "billed", "slot", "time", "cost")
_TITLES = ("#", "line", "statement", "type", "state", *_NUMERIC)
_DROPPABLE = ("slot", "processed", "line", "type", "rows", "time")
"""What a narrow terminal has no room for, the first of them first: the state and the price stay."""


def show_datamart(report: DatamartReport) -> None:
    """Print what each statement did on stderr; the JSON report goes to stdout."""
    for warning in report.warnings:
        log.warning("%s", warning)
    rows = [row for statement in report.statements for row in _rows(statement)]
    if logs_json():
        for row in rows:
            log.info("%s", " | ".join(filter(None, row)))
    else:
        _print_table(f"{report.job}: {report.state}", rows)
    for statement in report.statements:
        if statement.state == "unchecked":
            log.info("statement %d %s", statement.number, statement.error)
    if report.estimated_cost is not None:
        log.info("estimated: %.4f USD on demand", report.estimated_cost)
    if report.target and report.state == "published":
        log.info("published %s to %s", number_of(report.rows_published or 0, "row"), report.target)


def show_rows(statement: StatementReport, found: ResultRows) -> None:
    """Print the first rows of a SELECT on stderr, and say where all of them are."""
    names = [column.name for column in found.columns]
    if logs_json():
        for row in found.rows:
            log.info("row %s", " | ".join(map(to_text, row)))
    else:
        write_rows(sys.stderr, "table", names, found.rows, counted=False)
    of = f" of {found.num_there:,}" if found.is_cut and found.num_there is not None else ""
    rows = "row" if len(found.rows) == 1 and not of else "rows"
    shown = f"{len(found.rows):,}{of} {rows} of statement {statement.number}"
    log.info("%s. %s", shown, _kept(statement))


def _kept(statement: StatementReport) -> str:
    """Where all rows of a SELECT are."""
    if statement.result_table is None:
        return "They are in no table: query_mode='insert' writes them to one"
    return (
        f"BigQuery keeps all of them for 24 hours in {statement.result_table}; query_mode='insert' "
        "writes them to a table of yours"
    )


def _print_table(title: str, rows: list[list[str]]) -> None:
    """Print a table on stderr, without the columns that are empty in every row."""
    used = [number for number in range(len(_TITLES)) if any(row[number] for row in rows)]
    titles = [_TITLES[number] for number in used]
    print_table(
        sys.stderr,
        titles,
        [[row[number] for number in used] for row in rows],
        title=title,
        numeric=_NUMERIC,
        unbroken={*_TITLES} - {"statement"},
        droppable=_DROPPABLE,
    )


def _rows(statement: StatementReport) -> list[list[str]]:
    """The rows of a statement: itself, and the jobs of a script as 1.1, 1.2, and so on."""
    rows = [_cells(statement)]
    for child in statement.children:
        _, _, *rest = _cells(child)
        rows.append([f"{statement.number}.{child.number}", "", *rest])
    return rows


def _cells(statement: StatementReport) -> list[str]:
    text = printable(statement.statement)
    cost, slot_ms = statement.estimated_cost, statement.slot_ms
    return [
        str(statement.number),
        str(statement.line),
        text if len(text) <= _STATEMENT_CHARS else f"{text[:_STATEMENT_CHARS]}…",
        statement.statement_type or "",
        statement.state,
        "" if statement.rows is None else f"{statement.rows:,}",
        size_text(statement.bytes_processed),
        size_text(statement.bytes_billed),
        "" if slot_ms is None else f"{slot_ms / 1000:,.1f} s",
        "" if statement.seconds is None else f"{statement.seconds:.1f} s",
        "" if cost is None else f"{cost:,.4f} USD",
    ]
