"""How the report of a datamart reads its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etlkit.api.readable_rows import ReadRows
from etlkit.api.run import Run, RunRequest
from etlkit.bigquery.read_back import read_job, read_table
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.report import DatamartReport
    from etlkit.api.run import Settings

_WITH_ROWS = ("SELECT", "SCRIPT")


def last_select(report: DatamartReport) -> str | None:
    """The id of the job that ran a datamart's last SELECT; None = it has none."""
    selects = [each for each in report.statements if each.statement_type in _WITH_ROWS]
    return str(selects[-1].job_id) if selects else None


def datamart_reader(report: DatamartReport, settings: Settings) -> ReadRows:
    """What reads the destination of an insert, or in query mode the rows of the last SELECT."""

    def read(max_bytes: int) -> pa.Table:
        job_id = last_select(report)
        if not report.target and job_id is None:
            raise ConfigError(f"{report.job} has no SELECT whose rows could be read")
        with Run(RunRequest(report.job, settings)) as run:
            if report.target:
                return read_table(run, report.target, max_bytes)
            return read_job(run, str(job_id), max_bytes)

    return read
