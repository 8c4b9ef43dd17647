"""The calls of a run: their limits, and an estimate of their number, duration and cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from etlkit.api.quantities import number_of
from etlkit.calls.limits import Meter, as_rate_limit
from etlkit.calls.run_calls import Calls

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.calls.recording import Recording
    from etlkit.calls.shared import SharedCalls
    from etlkit.calls.times import Times
    from etlkit.engine.transform_spec import TransformSpec


def make_calls(
    job: TransferJob,
    shared: SharedCalls | None = None,
    times: Times | None = None,
    recording: Recording | None = None,
) -> Calls:
    """Make the calls of one run: the job's retry policy, limits and caps, nothing used yet.

    Args:
        job: What is run.
        shared: What the runs of one workflow share; None = the run stands for itself.
        times: Where durations are recorded; None = nobody asks for them.
        recording: Answers of another run over the same rows; None = every call is made.
    """
    meter = Meter(job.max_calls, job.max_cost, job.price_per_unit, job.currency, shared=shared)
    limit = as_rate_limit(job.rate_limit)
    return Calls(job.retry, limit, meter, shared=shared, times=times, recording=recording)


def estimate(
    job: TransferJob,
    spec: TransformSpec,
    num_rows: int | None,
    *,
    resumed: int,
    reused: int = 0,
) -> str:
    """Estimate the rest of a run, in one sentence.

    Args:
        job: For limits and prices; nothing is guessed that the job does not declare.
        spec: For rows per call and units per row.
        num_rows: Rows left; None = unknown.
        resumed: Rows that have a result from an earlier attempt.
        reused: Rows that have one from an earlier run.
    """
    if num_rows is None:
        return "to transform: an unknown number of rows"
    known = (
        [f"{reused:,} {'is' if reused == 1 else 'are'} known from earlier runs"] if reused else []
    )
    known += (
        [f"{resumed:,} {'has' if resumed == 1 else 'have'} a result already"] if resumed else []
    )
    more = f" ({', '.join(known)})" if known else ""
    text = f"to transform: {number_of(num_rows, 'row')}{more}"
    limit = as_rate_limit(job.rate_limit)
    if limit is None and job.price_per_unit is None and job.max_calls is None:
        return text
    calls = math.ceil(num_rows / spec.batch_size) if spec.batched else num_rows
    units = num_rows * spec.units_per_row
    parts = [text, f"about {number_of(calls, 'call')}, {number_of(units, 'unit')}"]
    if limit is not None:
        parts.append(f"at least {_duration(limit.seconds(calls, units))} at {limit}")
    if job.price_per_unit is not None:
        parts.append(f"about {_amount(units * job.price_per_unit)} {job.currency}")
    return "; ".join(parts + _exceeded_caps(job, calls, units))


def estimate_ahead(job: TransferJob, spec: TransformSpec, limit: int | None) -> str:
    """Estimate a run before its rows are counted, in one sentence.

    Args:
        job: See `estimate`.
        spec: See there.
        limit: Rows to read at most; None = all, which is said for each 1,000 of them.
    """
    if limit is not None:
        return f"at most: {estimate(job, spec, limit, resumed=0)}"
    return f"for each 1,000 rows: {estimate(job, spec, 1_000, resumed=0)}"


def _exceeded_caps(job: TransferJob, calls: int, units: int) -> list[str]:
    """The caps that will end the run early."""
    short = []
    if job.max_calls is not None and calls > job.max_calls:
        short.append(f"max_calls={job.max_calls:,} will end the run early")
    if job.max_cost is not None and units * (job.price_per_unit or 0.0) > job.max_cost:
        short.append(f"max_cost={job.max_cost:,} will end the run early")
    return short


def _amount(cost: float) -> str:
    """Two decimals, or two significant digits for small amounts."""
    return f"{cost:,.2f}" if cost >= 1 or not cost else f"{cost:.2g}"


def _duration(seconds: float) -> str:
    """`45 s`, `8 min 53 s`, `2 h 5 min`."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
