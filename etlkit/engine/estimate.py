"""What a job's calls may use, and what they will: told before the first of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from etlkit.calls.limits import Meter, as_rate_limit
from etlkit.calls.retry import Calls

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.engine.transform_spec import TransformSpec


def calls_for(job: TransferJob) -> Calls:
    """The calls of one run of a job: its policy, limits and caps, nothing used yet."""
    meter = Meter(job.max_calls, job.max_cost, job.price_per_unit, job.currency)
    return Calls(job.retry, as_rate_limit(job.rate_limit), meter)


def estimate(job: TransferJob, etl: TransformSpec, num_rows: int | None, *, resumed: int) -> str:
    """What the rest of a run takes, in a sentence.

    Args:
        job: For limits and prices; what is not declared is not guessed.
        etl: For rows a call and units a row.
        num_rows: Rows to go; None = not known.
        resumed: Rows that an earlier attempt settled.
    """
    if num_rows is None:
        return "to transform: a number of rows that is not known yet"
    more = f" ({resumed:,} are settled already)" if resumed else ""
    text = f"to transform: {num_rows:,} rows{more}"
    limit = as_rate_limit(job.rate_limit)
    if limit is None and job.price_per_unit is None and job.max_calls is None:
        return text
    calls = math.ceil(num_rows / etl.batch_size) if etl.batched else num_rows
    units = num_rows * etl.units_per_row
    parts = [text, f"about {calls:,} calls, {units:,} units"]
    if limit is not None:
        parts.append(f"at least {_duration(limit.seconds(calls, units))} at {limit}")
    if job.price_per_unit is not None:
        parts.append(f"about {_amount(units * job.price_per_unit)} {job.currency}")
    return "; ".join(parts + _short_of(job, calls, units))


def _short_of(job: TransferJob, calls: int, units: int) -> list[str]:
    """The caps that will end the run early."""
    short = []
    if job.max_calls is not None and calls > job.max_calls:
        short.append(f"max_calls={job.max_calls:,} will stop it")
    if job.max_cost is not None and units * (job.price_per_unit or 0.0) > job.max_cost:
        short.append(f"max_cost={job.max_cost:,} will stop it")
    return short


def _amount(cost: float) -> str:
    """Two digits after the point, or as many as a small amount needs to be seen."""
    return f"{cost:,.2f}" if cost >= 1 or not cost else f"{cost:.2g}"


def _duration(seconds: float) -> str:
    """`45 s`, `8 min 53 s`, `2 h 5 min`."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
