"""Preview: a few rows through the real chain, before and after, nothing written."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from etlkit.api import html
from etlkit.api.run import Run
from etlkit.api.sink import SendsRequests
from etlkit.engine.estimate import estimate_ahead, make_calls
from etlkit.engine.transform_spec import TransformSpec
from etlkit.engine.trial import Trial, run_trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from etlkit.api.job import TransferJob
    from etlkit.api.run import RunRequest
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row

log: logging.Logger = logging.getLogger("etlkit")


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One source row and what it would become.

    Attributes:
        before: The source row.
        after: The target rows; empty = skipped or failed.
        error: Why it failed; None = it did not.
    """

    before: Row
    after: tuple[Row, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """The outcome of a preview.

    Attributes:
        columns: The columns the target would get.
        rows: In the source's order.
        errors: The first few rows that failed, with row number and reason.
        num_errors: All that failed.
        request: The first request that a sink for an API would send, secrets hidden; None = there is
            none.
        source_columns: The columns of the source.
        calls: Calls that were made through etlkit, retries included. They were real.
        retries: How many of them were retries.
        units: Billing units of all of them.
        cost: Their cost at the job's `price_per_unit`; None = it has none.
        currency: That of `cost`.
    """

    columns: tuple[Column, ...]
    rows: list[PreviewRow]
    errors: list[str] = field(default_factory=list)
    num_errors: int = 0
    request: str | None = None
    source_columns: tuple[Column, ...] = ()
    calls: int = 0
    retries: int = 0
    units: int = 0
    cost: float | None = None
    currency: str = "USD"

    def _repr_html_(self) -> str:
        """The rows for a notebook; values that are new or have changed are marked."""
        names = [column.name for column in self.columns]
        rows = [
            [
                html.marked(row.get(name))
                if row.get(name) != each.before.get(name)
                else row.get(name)
                for name in names
            ]
            for each in self.rows
            for row in each.after
        ]
        left_out = sum(not each.after for each in self.rows)
        errors = [(text,) for text in self.errors]
        return html.page_of(
            html.table(names, rows, caption=f"{len(self.rows):,} source rows; marked = changed"),
            html.headline(f"{left_out:,} skipped or failed") if left_out else "",
            html.table((f"{self.num_errors:,} failed",), errors) if errors else "",
        )


def preview_transfer(
    job: TransferJob, request: RunRequest, on_start: Callable[[Run], None] | None = None
) -> Preview:
    """Run the first `request.limit` rows through the transform and the encoder.

    Rows that fail are listed instead of ending the preview, whatever `on_row_error` says.

    Args:
        job: What to preview.
        request: For its `limit`.
        on_start: Called with the run before it begins, e.g. to keep its `request_stop`.

    Raises:
        EtlkitError: The source cannot be read, or the transform failed outside of a row.
    """
    spec = TransformSpec(job)
    log.info(
        "%s. A preview makes the calls of its rows for real",
        estimate_ahead(job, spec, request.limit),
    )
    with Run(request, labels=job.labels, calls=make_calls(job)) as run:
        if on_start is not None:
            on_start(run)
        reader = job.source.open(job, run)
        try:
            trial = run_trial(job, spec, reader, run)
        finally:
            reader.close(succeeded=True)
        meter = run.calls.meter
    return Preview(
        columns=trial.columns,
        rows=[
            PreviewRow(row.before, row.after, None if row.error is None else row.error.message)
            for row in trial.rows
        ],
        errors=trial.counts.first_errors,
        num_errors=trial.counts.row_errors,
        request=_first_request(job, trial),
        source_columns=reader.columns,
        calls=meter.calls,
        retries=meter.retries,
        units=meter.units,
        cost=meter.cost,
        currency=job.currency,
    )


def _first_request(job: TransferJob, trial: Trial) -> str | None:
    sent = [row for each in trial.rows for row in each.after]
    return job.sink.first_request(sent) if isinstance(job.sink, SendsRequests) and sent else None
