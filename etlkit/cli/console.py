"""What a person reads at the end of a run, of a preview, and of a run that failed."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

import click

from etlkit.api.quantities import number_of
from etlkit.cli.logs import logs_json
from etlkit.cli.quantities import duration_text, money_text
from etlkit.cli.tables import printable

if TYPE_CHECKING:
    from etlkit.api.report import DryRunReport, RunReport
    from etlkit.engine.preview import Preview


def show_report(report: RunReport) -> None:
    """Print on stderr how the run ended."""
    for text in report.first_errors:
        _say("yellow", "left out", text)
    if report.row_errors > len(report.first_errors):
        _say("yellow", "left out", f"… and {report.row_errors - len(report.first_errors):,} more")
    if report.rejected:
        kept = (
            "1 row is kept with its error; to run it again"
            if report.rejected == 1
            else f"{report.rejected:,} rows are kept with their errors; to run them again"
        )
        _say("yellow", "rejected", f"{kept}: --retry-rejects {report.run_id}")
    if report.state != "published":
        ended = (
            f"after {number_of(report.read, 'row')} ({_counts(report)})"
            if report.read
            else "before its first row"
        )
        run = f"; run {report.run_id}" if report.run_id else ""
        _say("red", report.state, f"{ended}, in {duration_text(report.total_s)}{run}")
        return
    if report.task is not None and not report.rows_published:
        what = f"run {report.run_id}, by another task; rows of task {report.task}"
        _say("green", "published", f"{what}: {_counts(report)}, in {duration_text(report.total_s)}")
        return
    _say(
        "green",
        "published",
        f"{number_of(report.rows_published or 0, 'row')} to {report.target} ({_counts(report)}) "
        f"in {duration_text(report.total_s)}",
    )
    if report.calls:
        _say("green", "calls", _calls(report))


def _counts(report: RunReport) -> str:
    counts = [f"{report.read:,} read"] if report.state == "published" else []
    counts += [f"{report.written:,} written", f"{report.skipped:,} skipped"]
    counts += [f"{report.rejected:,} rejected"] if report.rejected else []
    counts += [f"{report.resumed:,} from earlier attempts"] if report.resumed else []
    counts += [f"{report.reused:,} known from earlier runs"] if report.reused else []
    return ", ".join(counts)


def _calls(report: RunReport) -> str:
    parts = [f"{report.calls:,}"]
    parts += [f"{report.retries:,} of them retries"] if report.retries else []
    if report.cost is not None:
        parts.append(f"{report.cost:,.2f} {report.currency} for {number_of(report.units, 'unit')}")
    return ", ".join(parts)


def show_dry_run(report: DryRunReport) -> None:
    """Tell a person what a run would cost and change."""
    if report.bytes_processed is not None:
        text = f"{report.bytes_processed:,} bytes, {report.estimated_cost or 0:.4f} USD on demand"
        _say("green", "source query", text)
    _say("green", "columns in", ", ".join(report.source_columns))
    columns = ", ".join(report.columns or ()) or "known with the first rows (no output_schema)"
    _say("green", "columns out", columns)
    if report.passing:
        _say("green", "untouched", f"{', '.join(report.passing)}: written as they were read")
    _say("green", "calls", report.calls)
    if report.known is not None:
        known, keys = number_of(report.known, "row"), ", ".join(report.reuse)
        _say("green", "known", f"{known}: no call for rows with the same {keys}")
    for change in report.changes or (f"no change of {report.target} beside its rows",):
        _say("yellow", "target", change)
    _say("green", "checked", "the job can run; nothing was written")


def show_error(message: str) -> None:
    """Print what went wrong and what to do next."""
    _say("red", "error", message)


def _say(color: str, word: str, text: str) -> None:
    """Print one line on stderr, as a JSON object if the log has that format."""
    log = logging.getLogger("etlkit")
    if logs_json():
        log.log(logging.ERROR if word == "error" else logging.INFO, "%s %s", word, text)
        return
    bold = word == "error"
    click.echo(f"{click.style(word, fg=color, bold=bold)} {printable(text)}", err=True)


def show_preview(preview: Preview) -> None:
    """Print rows before and after, the columns the target would get, and the calls that were made."""
    from etlkit.cli.preview_table import print_preview

    print_preview(sys.stdout, preview.rows)
    columns = ", ".join(f"{column.name} {column.ddl}" for column in preview.columns)
    click.echo(printable(f"columns: {columns}"))
    if preview.request is not None:
        click.echo("the first request:")
        for line in preview.request.splitlines():
            click.echo(printable(f"  {line}"))
    click.echo(f"nothing was written; {_real_calls(preview)}")


def _real_calls(preview: Preview) -> str:
    if not preview.calls:
        return "no calls were made through etlkit"
    parts = [f"{preview.calls:,} real call{'s were' if preview.calls > 1 else ' was'} made"]
    parts += [f"{preview.retries:,} of them retries"] if preview.retries else []
    if preview.cost is not None:
        parts.append(f"{money_text(preview.cost, preview.currency)} for {preview.units:,} units")
    return ", ".join(parts)


def preview_json(preview: Preview) -> str:
    """A preview as one line of JSON."""
    from etlkit.rows.json_rows import row_to_json

    rows = [
        {
            "before": row_to_json(row.before),
            "after": [row_to_json(each) for each in row.after],
            "state": "written" if row.after else "skipped" if row.error is None else "rejected",
            "error": row.error,
        }
        for row in preview.rows
    ]
    columns = [{"name": column.name, "type": column.ddl} for column in preview.columns]
    meter = {name: getattr(preview, name) for name in ("calls", "retries", "units", "cost")}
    others = {"currency": preview.currency, "request": preview.request}
    return json.dumps({"rows": rows, "columns": columns, **meter, **others}, ensure_ascii=False)
