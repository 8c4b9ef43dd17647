"""Rehearsal: a sample from end to end into a throw-away table, and what it says of the whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etlkit.api.rehearsal_report import (
    Durations,
    Interval,
    Projection,
    RehearsalReport,
    RehearsalState,
)
from etlkit.api.report import PRICE_PER_TIB, Progress, RunReport
from etlkit.calls.limits import as_rate_limit
from etlkit.calls.times import Times
from etlkit.engine.dry_run import dry_run_transfer
from etlkit.engine.projection import Estimate, count_per_row, mean, quantile, wilson
from etlkit.engine.row_errors import DEFAULT_MAX_REJECTED
from etlkit.engine.transfer import run_transfer
from etlkit.engine.transform_spec import TransformSpec

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.report import DryRunReport
    from etlkit.api.run import Run, RunRequest
    from etlkit.api.sink import Findings
    from etlkit.api.source import Sampling


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What is rehearsed, and how.

    Attributes:
        job: As the user wrote it.
        stand_in: The same job with a sample for its source and a throw-away table for its target.
        sampling: Filled in when the source is frozen.
        findings: Filled in at the target.
        keep: Whether the table is kept.
    """

    job: TransferJob
    stand_in: TransferJob
    sampling: Sampling
    findings: Findings
    keep: bool = False


def rehearse_transfer(
    what: Rehearsed,
    request: RunRequest,
    *,
    on_start: Callable[[Run], None] | None = None,
    on_progress: Progress | None = None,
) -> RehearsalReport:
    """Run a sample from source to throw-away table.

    Results are kept for the job's real runs, if it has `reuse`.

    Args:
        what: The job and its stand-in.
        request: Of a run of the job.
        on_start: As in `run_transfer`; likewise `on_progress`.
        on_progress: See there.

    Raises:
        EtlkitError: A run would be refused, or the rehearsal failed; then `report` on it is a
            `RehearsalReport`.
        KeyboardInterrupt: It was interrupted; likewise.
    """
    times = Times()
    ahead = dry_run_transfer(what.job, request, PRICE_PER_TIB)
    rehearsal = replace(
        request,
        job_name=f"{request.job_name} (rehearsal)",
        results_of=request.job_name,
        times=times,
    )
    try:
        report = run_transfer(what.stand_in, rehearsal, on_start=on_start, on_progress=on_progress)
    except BaseException as error:
        failed = getattr(error, "report", None)
        if failed is not None:
            error.report = _Summary(what, request, ahead, failed, times).report()  # type: ignore[attr-defined]
        raise
    return _Summary(what, request, ahead, report, times).report()


class _Summary:
    """Makes the report.

    Args:
        what: The rehearsal.
        request: Of a run of the job.
        ahead: The dry run of the job.
        ran: The run of the stand-in.
        times: What was measured.
    """

    def __init__(
        self,
        what: Rehearsed,
        request: RunRequest,
        ahead: DryRunReport,
        ran: RunReport,
        times: Times,
    ) -> None:
        self._what = what
        self._job = what.job
        self._request = request
        self._ahead = ahead
        self._ran = ran
        self._times = times
        self._spec = TransformSpec(what.job)
        self._num = max(0, ran.read - ran.reused)

    def report(self) -> RehearsalReport:
        ran, findings = self._ran, self._what.findings
        is_done = ran.error is None
        projection = self._projection() if is_done else None
        limits = self._limits(projection) if projection is not None else []
        if projection is not None:
            projection = replace(projection, rows_ended=self._rows_ended(projection))
        return RehearsalReport(
            run_id=ran.run_id,
            job=self._request.job_name,
            state="rehearsed" if is_done else _end_state(ran),
            target=self._ahead.target,
            table=findings.table if self._what.keep and findings.table else None,
            source_rows=self._what.sampling.num_source_rows,
            seed=self._what.sampling.seed,
            read=ran.read,
            reused=ran.reused,
            written=ran.written,
            skipped=ran.skipped,
            rejected=ran.rejected,
            rows_published=ran.rows_published,
            error_rate=_interval(wilson(ran.row_errors, self._num)),
            error_classes=ran.error_classes,
            first_errors=ran.first_errors,
            calls=ran.calls,
            retries=ran.retries,
            units=ran.units,
            cost=ran.cost,
            currency=ran.currency,
            calls_per_row=round(ran.calls / self._num, 4) if self._num else None,
            call_s=_durations(self._times.calls),
            row_s=_durations([row.seconds / max(1, row.num_rows) for row in self._times.rows]),
            known=findings.num_known,
            results_kept=self._results_kept() if is_done else 0,
            projection=projection,
            limits=[text for text, _ in limits],
            would_fail=any(ends for _, ends in limits),
            failed_checks=findings.failed_checks,
            changes=self._ahead.changes,
            differences=findings.differences,
            bytes_processed=self._ahead.bytes_processed,
            seconds=ran.seconds,
            error=ran.error,
        )

    def _results_kept(self) -> int:
        """Results that a run takes over: those of rows that did not fail."""
        return self._num - self._ran.rejected if self._job.reuse else 0

    def _projection(self) -> Projection | None:
        total = self._what.sampling.num_source_rows
        if total is None:
            return None
        rest = total - (self._what.findings.num_known or 0)
        if not self._num:
            return Projection(rest)
        calls, units = self._per_row()
        failed = wilson(self._ran.row_errors, self._num)
        price = self._job.price_per_unit
        seconds = self._seconds(rest, calls, units)
        return Projection(
            rows=rest,
            failed=_interval(None if failed is None else failed.times(rest)),
            calls=_interval(calls.times(rest)),
            units=_interval(units.times(rest)),
            cost=None if price is None else _interval(units.times(rest * price)),
            seconds=_interval(seconds),
        )

    def _per_row(self) -> tuple[Estimate, Estimate]:
        """Calls and units for each row."""
        ran, rows = self._ran, self._times.rows
        found = []
        for total, own in (
            (ran.calls, [float(row.calls) for row in rows]),
            (ran.units, [float(row.units) for row in rows]),
        ):
            weights = [row.num_rows for row in rows]
            # Calls of a thread that the transform started belong to no row that we know.
            is_known = sum(own) == total and sum(weights) == self._num
            estimate = mean(own, weights) if is_known else count_per_row(total, self._num)
            found.append(estimate or Estimate(0.0, 0.0, 0.0))
        return found[0], found[1]

    def _seconds(self, rest: int, calls: Estimate, units: Estimate) -> Estimate | None:
        """How long the transform takes: rows side by side, and no faster than the limit allows."""
        rows = self._times.rows
        of_row = mean([row.seconds for row in rows], [row.num_rows for row in rows])
        if of_row is None:
            return None
        seconds = of_row.times(rest / self._spec.max_concurrency)
        limit = as_rate_limit(self._job.rate_limit)
        if limit is None:
            return seconds
        least = [
            limit.seconds(getattr(calls, end) * rest, getattr(units, end) * rest)
            for end in ("value", "low", "high")
        ]
        ends = (seconds.value, seconds.low, seconds.high)
        return Estimate(*map(max, ends, least))

    def _limits(self, projection: Projection) -> list[tuple[str, bool]]:
        """What the job's rules would do, and whether that ends the run."""
        job, found = self._job, list[tuple[str, bool]]()
        failed, rate = self._ran.row_errors, wilson(self._ran.row_errors, self._num)
        if failed and job.on_row_error == "fail":
            found.append(("on_row_error='fail' would end the run at its first failed row", True))
        elif job.max_rejected is not None and job.on_row_error != "fail" and rate is not None:
            shown, share = self._max_rejected(projection.rows)
            found += _verdict(f"max_rejected={shown}", _interval(rate), share)
        if job.max_calls is not None:
            found += _verdict(f"max_calls={job.max_calls:,}", projection.calls, job.max_calls)
        if job.max_cost is not None:
            text = f"max_cost={job.max_cost:,} {job.currency}"
            found += _verdict(text, projection.cost, job.max_cost)
        if 0 < len(self._times.rows) < self._spec.max_concurrency:
            text = f"the sample has fewer rows than max_concurrency={self._spec.max_concurrency:,}"
            found.append((f"{text}: under full load calls may take longer", False))
        return found

    def _max_rejected(self, num_rows: int) -> tuple[str, float]:
        """How the job writes it, and which share of all rows it is."""
        bound = self._job.max_rejected
        if bound is None or isinstance(bound, str):
            return "5 % (the default)", DEFAULT_MAX_REJECTED
        if isinstance(bound, float):
            return f"{bound}", bound
        return f"{bound:,}", bound / max(1, num_rows)

    def _rows_ended(self, projection: Projection) -> int | None:
        """The row at which the caps would end the run."""
        job, shares = self._job, []
        for cap, used in ((job.max_calls, projection.calls), (job.max_cost, projection.cost)):
            if cap is not None and used is not None and used.value > cap:
                shares.append(cap / used.value)
        return int(projection.rows * min(shares)) if shares else None


def _verdict(limit: str, used: Interval | None, bound: float) -> list[tuple[str, bool]]:
    if used is None:
        return []
    if used.low > bound:
        return [(f"{limit} would end the run early", True)]
    if used.value > bound:
        return [(f"{limit} would probably end the run early", True)]
    if used.high is None or used.high > bound:
        return [(f"{limit} may end the run early", False)]
    return [(f"{limit} would not be reached", False)]


def _end_state(ran: RunReport) -> RehearsalState:
    return "interrupted" if ran.state == "interrupted" else "failed"


def _interval(estimate: Estimate | None) -> Interval | None:
    if estimate is None:
        return None
    high = None if math.isinf(estimate.high) else _rounded(estimate.high)
    return Interval(_rounded(estimate.value), _rounded(estimate.low), high)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _durations(seconds: list[float]) -> Durations | None:
    half, most = quantile(seconds, 0.5), quantile(seconds, 0.95)
    if half is None or most is None:
        return None
    return Durations(_rounded(half), _rounded(most), len(seconds))
