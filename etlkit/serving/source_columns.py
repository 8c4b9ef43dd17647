"""The columns that a job's source has, found without reading a row."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from etlkit.api.job_options import JobOptions
from etlkit.api.run import Run

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.run import RunRequest
    from etlkit.rows.columns import Column


def source_columns(job: TransferJob, request: RunRequest) -> tuple[Column, ...]:
    """The columns of a job's source, e.g. by a dry run of its query. Nothing is written.

    Raises:
        SourceError: The source cannot be read.
    """
    # The options alone: the job's target need not be there, and is not looked at.
    options = JobOptions(**{each.name: getattr(job, each.name) for each in fields(JobOptions)})
    with Run(request, labels=job.labels) as run:
        reader = job.source.open(options, run)
        try:
            return reader.columns
        finally:
            reader.close(succeeded=True)
