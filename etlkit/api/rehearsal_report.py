"""The report of a rehearsal: what a few rows did, and what that says of all rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

RehearsalState = Literal["rehearsed", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value, and the interval in which it is with a probability of 95 %, as far as chance goes.

    Attributes:
        value: What is most likely.
        low: The interval's lower end.
        high: Its upper end; None = the sample is too small to tell.
    """

    value: float
    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class Durations:
    """How long something took, in seconds.

    Attributes:
        p50: Half of them took less.
        p95: 95 % of them took less.
        num: How many were measured.
    """

    p50: float
    p95: float
    num: int


@dataclass(frozen=True, slots=True)
class Projection:
    """What a run of the whole source would take, less what is known.

    Attributes:
        rows: Source rows that it would transform.
        failed: How many of them would fail; None = not known, as for the others.
        calls: Calls, retries included.
        units: Billing units.
        cost: Their price; None = the job has no `price_per_unit`, or not known.
        seconds: The transform alone, without snapshot and publishing.
        rows_ended: The row at which a limit of the job would end the run; None = none would.
    """

    rows: int
    failed: Interval | None = None
    calls: Interval | None = None
    units: Interval | None = None
    cost: Interval | None = None
    seconds: Interval | None = None
    rows_ended: int | None = None


@dataclass(frozen=True, kw_only=True)
class RehearsalReport:
    """The outcome of a rehearsal. The job's target was not touched.

    Attributes:
        run_id: The rehearsal's run in the ledger.
        job: The job's name.
        state: `rehearsed`, `failed` or `interrupted`.
        target: The job's own target.
        table: The throw-away table, if it was kept; None = it is dropped.
        source_rows: Rows of the whole source; None = it was not read.
        seed: Which rows the sample has.
        read: Rows of the sample with a result; `read = written + skipped + rejected`. If the job has
            `reuse`, rows that are known were not chosen.
        reused: Those whose result is that of an earlier run; they made no call.
        written: Rows that became one or more target rows.
        skipped: Rows left out by the transform.
        rejected: Rows that failed, whatever the job's `on_row_error` is.
        rows_published: Target rows, counted after fan-out.
        error_rate: Share of the rows that were transformed which failed; None = there were none.
        error_classes: How many of them failed with which class of error.
        first_errors: The first few of them.
        calls: Calls that were made through etlkit, retries included. They were real.
        retries: How many of them were retries.
        units: Billing units of all of them.
        cost: Their cost at the job's `price_per_unit`; None = it has none.
        currency: That of all prices.
        calls_per_row: Calls for each row that was transformed; None = there were none.
        call_s: Duration of a call; None = none was made.
        row_s: Duration of the hook for a row, waits included; None = there were none.
        known: Rows of the whole source whose results a run would reuse now, those of this rehearsal
            included; None = the job has no `reuse`.
        kept: Always 0: a rehearsal is not resumed.
        results_kept: Results of this rehearsal that a run of the same code takes without a call.
        projection: Of a run of the whole source; None = nothing is known.
        limits: What the job's limits and rules would do, one sentence each.
        would_fail: Whether one of them would end the run.
        failed_checks: The job's checks that do not hold for the sample, one sentence each.
        changes: What a run would change in the target beside its rows, one sentence each.
        differences: What the rehearsal did in another way than a run, one sentence each.
        bytes_processed: Bytes that BigQuery bills for the source query, once; None = not known.
        seconds: Seconds by stage.
        error: Why it failed; None = it did not.
    """

    run_id: str
    job: str
    state: RehearsalState
    target: str
    table: str | None = None
    source_rows: int | None = None
    seed: int = 0
    read: int = 0
    reused: int = 0
    written: int = 0
    skipped: int = 0
    rejected: int = 0
    rows_published: int = 0
    error_rate: Interval | None = None
    error_classes: dict[str, int] = field(default_factory=dict)
    first_errors: list[str] = field(default_factory=list)
    calls: int = 0
    retries: int = 0
    units: int = 0
    cost: float | None = None
    currency: str = "USD"
    calls_per_row: float | None = None
    call_s: Durations | None = None
    row_s: Durations | None = None
    known: int | None = None
    kept: int = 0
    results_kept: int = 0
    projection: Projection | None = None
    limits: Sequence[str] = ()
    would_fail: bool = False
    failed_checks: Sequence[str] = ()
    changes: Sequence[str] = ()
    differences: Sequence[str] = ()
    bytes_processed: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def total_s(self) -> float:
        """Duration of the rehearsal, in seconds."""
        return sum(self.seconds.values())

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the attributes."""
        return json.dumps(asdict(self), ensure_ascii=False)
