"""How a report reads the rows of its run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from etlkit.api.readable_rows import ReadRows
from etlkit.api.run import Run
from etlkit.api.sink import ReadsBack
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.job import TransferJob
    from etlkit.api.report import RunReport
    from etlkit.api.run import RunRequest


def rows_reader(job: TransferJob, request: RunRequest, report: RunReport) -> ReadRows:
    """What reads the target's rows, or those that a failed run has staged.

    Args:
        job: With its variables expanded.
        request: What was asked for.
        report: Of the run that ended.
    """

    def read(max_bytes: int) -> pa.Table:
        sink = job.sink
        if not isinstance(sink, ReadsBack):
            raise ConfigError(f"a {type(sink).__name__} does not give its rows back")
        if not report.run_id:
            raise ConfigError("the run ended before it had any rows")
        is_published = report.state == "published"
        record = None
        if not is_published:
            record = sink.find_run(replace(request, resume=report.run_id))
        with Run(replace(request, resume=None), record=record) as run:
            return sink.read_rows(run, is_published=is_published, max_bytes=max_bytes)

    return read
