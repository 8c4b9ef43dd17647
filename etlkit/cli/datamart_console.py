"""The command line's part for datamarts: which options apply, and what a person sees."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from etlkit.api.datamart import Datamart
from etlkit.errors import ConfigError
from etlkit.variables.values import parse_assignments, parse_time

if TYPE_CHECKING:
    from etlkit.api.report import DatamartReport, StatementReport
    from etlkit.api.run import Run, Settings

log = logging.getLogger("etlkit")

_OF_TRANSFERS = ("limit", "preview", "resume", "allow_code_change", "retry_rejects", "only")
_OF_DATAMARTS = ("dry_run",)
_STATEMENT_CHARS = 60
_WIDTH = 160
"""Of the table where stderr is no terminal."""
_TITLES = (
    *("", "line", "statement", "type", "state", "rows", "processed", "billed", "slot"),
    *("time", "cost"),
)


def check_options(job: object, options: dict[str, Any]) -> None:
    """Refuse options that have no meaning for this kind of job.

    Raises:
        ConfigError: Names them.
    """
    names, what = (
        (_OF_TRANSFERS, "a datamart")
        if isinstance(job, Datamart)
        else (_OF_DATAMARTS, "a transfer, only with a datamart")
    )
    given = [f"--{name.replace('_', '-')}" for name in names if options.get(name)]
    if given:
        raise ConfigError(f"{', '.join(given)} does not go with {what}")


def run_from_options(
    job: Datamart,
    name: str,
    settings: Settings,
    options: dict[str, Any],
    on_start: Callable[[Run], None],
    finish: Callable[[DatamartReport, dict[str, Any]], None],
) -> int:
    """Run or check a datamart as the command line says.

    Args:
        job: The datamart.
        name: Where it has none of its own.
        settings: Project, location and environment.
        options: Of the command line.
        on_start: See `run_datamart`.
        finish: Given the report, also of a failed run.

    Returns:
        The exit status.

    Raises:
        EtlkitError: The run failed.
    """
    from etlkit.runner import PRICE_PER_TIB, check_datamart, run_datamart

    variables = parse_assignments(options["variables"])
    if name == str(job.file):  # a bare file defines no variables: those that are given are its own
        job = replace(job, variables=variables)
    given: dict[str, Any] = {
        "name": name,
        "settings": settings,
        "variables": variables,
        "queued_at": parse_time(options["queued_at"]),
    }
    try:
        if options["dry_run"]:
            price = options["price_per_tib"]
            report = check_datamart(
                job, **given, price_per_tib=PRICE_PER_TIB if price is None else price
            )
        else:
            report = run_datamart(job, **given, on_start=on_start)
    except BaseException as error:
        failed = getattr(error, "report", None)
        if failed is not None and failed.statements:
            finish(failed, options)
        raise
    finish(report, options)
    return 0


def show_datamart(report: DatamartReport) -> None:
    """Tell a person what each statement did; the machine's line goes to stdout."""
    from etlkit.cli.console import JsonFormatter

    for warning in report.warnings:
        log.warning("%s", warning)
    rows = [row for statement in report.statements for row in _rows(statement)]
    if any(isinstance(handler.formatter, JsonFormatter) for handler in log.handlers):
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
        log.info("published %s rows to %s", f"{report.rows_published or 0:,}", report.target)


def _print_table(title: str, rows: list[list[str]]) -> None:
    """A table on stderr, without the columns that nobody fills."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    used = [number for number in range(len(_TITLES)) if any(row[number] for row in rows)]
    table = Table(title=escape(title), title_justify="left")
    for number in used:
        table.add_column(_TITLES[number], no_wrap=_TITLES[number] != "statement")
    for row in rows:
        table.add_row(*(escape(row[number]) for number in used))
    wide = None if sys.stderr.isatty() else _WIDTH
    Console(stderr=True, highlight=False, width=wide).print(table)


def _rows(statement: StatementReport) -> list[list[str]]:
    """A statement, and the jobs of a script below it as 1.1, 1.2, …."""
    rows = [_cells(statement)]
    for child in statement.children:
        _, _, *rest = _cells(child)
        rows.append([f"{statement.number}.{child.number}", "", *rest])
    return rows


def _cells(statement: StatementReport) -> list[str]:
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in statement.statement)
    cost, slot_ms = statement.estimated_cost, statement.slot_ms
    return [
        str(statement.number),
        str(statement.line),
        text if len(text) <= _STATEMENT_CHARS else f"{text[:_STATEMENT_CHARS]}…",
        statement.statement_type or "",
        statement.state,
        "" if statement.rows is None else f"{statement.rows:,}",
        _size(statement.bytes_processed),
        _size(statement.bytes_billed),
        "" if slot_ms is None else f"{slot_ms / 1000:,.1f} s",
        "" if statement.seconds is None else f"{statement.seconds:.1f} s",
        "" if cost is None else f"{cost:,.4f} USD",
    ]


def _size(count: int | None) -> str:
    if count is None:
        return ""
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:,.0f} {units[0]}" if units[0] == "B" else f"{size:,.1f} {units[0]}"
