"""The report of a run: a summary for people, JSON for programs, and a page."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from etlkit.cli.output_files import STDOUT, write_report

if TYPE_CHECKING:
    from pathlib import Path

    from etlkit.api.report import DatamartReport, DryRunReport, RunReport
    from etlkit.api.workflow_report import WorkflowReport

AnyReport: TypeAlias = "RunReport | DatamartReport | DryRunReport | WorkflowReport"


def print_report(report: AnyReport, options: dict[str, Any]) -> None:
    """Print the report of a run, also of one that failed, as the options ask for.

    Args:
        report: Of a run or a dry run.
        options: Values of `quiet`, `report_file` and `html_file`.
    """
    from etlkit.api.report import DatamartReport, DryRunReport

    if isinstance(report, DatamartReport) and not report.statements:
        return  # it failed before its SQL was read
    if not options["quiet"]:
        _show(report)
    file = options["report_file"]
    if file is not None and file != STDOUT:
        write_report(file, report.to_json())
    if file == STDOUT or not _is_read_by_a_person():
        click.echo(report.to_json())
    if options["html_file"] is not None and not isinstance(report, DryRunReport):
        _write_page(report, options["html_file"])


def _is_read_by_a_person() -> bool:
    """Whether the summary on stderr and what stdout gets are read by the same person."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def _show(report: AnyReport) -> None:
    """Print the report for a person."""
    from etlkit.api.report import DryRunReport, RunReport
    from etlkit.api.workflow_report import WorkflowReport
    from etlkit.cli.console import show_dry_run, show_report
    from etlkit.cli.datamart_report import show_datamart
    from etlkit.cli.workflow_summary import show_workflow

    if isinstance(report, WorkflowReport):
        show_workflow(report)
    elif isinstance(report, RunReport):
        show_report(report)
    elif isinstance(report, DryRunReport):
        show_dry_run(report)
    else:
        show_datamart(report)


def _write_page(report: RunReport | DatamartReport | WorkflowReport, path: Path) -> None:
    """Write the page of a run. It cannot change how the run ended: a failure is only told."""
    from etlkit.cli.console import show_error
    from etlkit.cli.pages.run_page import write_html

    try:
        write_html(report, path)
    except Exception as error:
        logging.getLogger("etlkit").debug("traceback:", exc_info=True)
        show_error(f"the run is over, but its page {path} could not be written: {error}")
    else:
        logging.getLogger("etlkit").info("page: %s", path)
