"""Dry run of a transfer: what a run would cost and change, and what would be refused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from etlkit.api.report import TIB, DryRunReport
from etlkit.api.run import Run
from etlkit.api.sink import KeepsResults
from etlkit.engine.estimate import estimate_ahead, make_calls
from etlkit.engine.reuse import plan_reuse
from etlkit.engine.transform_spec import TransformSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etlkit.api.job import TransferJob
    from etlkit.api.run import RunRequest
    from etlkit.rows.columns import Column


def dry_run_transfer(job: TransferJob, request: RunRequest, price_per_tib: float) -> DryRunReport:
    """Check a job as a run would when it opens. Writes nothing and calls no hook.

    Args:
        job: What to check.
        request: Its `limit` bounds the rows of the estimate.
        price_per_tib: USD for 2^40 bytes.

    Raises:
        EtlkitError: The run would be refused.
    """
    started = time.monotonic()
    spec = TransformSpec(job)
    with Run(request, labels=job.labels, calls=make_calls(job)) as run:
        reader = job.source.open(job, run)
        try:
            spec.read_columns(reader.columns)
            reuse = plan_reuse(job, spec, request, reader.columns)
            outlook = job.sink.check(job, run, reader, spec.output_schema)
            known = None
            if reuse is not None and isinstance(job.sink, KeepsResults):
                known = 0 if reuse.is_fresh else job.sink.count_results(run, reuse)
        finally:
            reader.close(succeeded=True)
        num_bytes = reader.num_bytes
    return DryRunReport(
        job=request.job_name,
        target=outlook.target,
        source_columns=_shown(reader.columns),
        columns=None if spec.output_schema is None else _shown(spec.output_schema),
        passing=_passing(spec, reader.columns),
        changes=list(outlook.changes),
        calls=estimate_ahead(job, spec, request.limit),
        known=known,
        reuse=[] if reuse is None else [column.name for column in reuse.keys],
        bytes_processed=num_bytes,
        estimated_cost=None if num_bytes is None else round(num_bytes / TIB * price_per_tib, 6),
        seconds=round(time.monotonic() - started, 3),
    )


def _passing(spec: TransformSpec, source: tuple[Column, ...]) -> list[str]:
    decoded = {column.name for column in spec.decoded_columns(source)}
    there = {column.name for column in spec.output_schema or source}
    return [c.name for c in source if c.name not in decoded and c.name in there]


def _shown(columns: Sequence[Column]) -> list[str]:
    return [f"{column.name} {column.parameterized_ddl}" for column in columns]
