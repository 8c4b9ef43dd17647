"""What a run tells about itself: the report at its end, and its progress on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

from etlkit.settle import Counts

State = Literal["published", "failed", "interrupted"]

Progress: TypeAlias = Callable[[str, Counts, int | None], None]
"""Called often with the stage, the counts so far and the rows expected; None = not known."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The outcome of one run. `read = written + skipped + rejected` when `state` is `published`.

    Attributes:
        run_id: How the run is found again, in the ledger and in BigQuery's job labels.
        job: The job's name.
        state: `published`, `failed` or `interrupted`.
        target: Where the rows went.
        resumed: Source rows that an earlier attempt at this run had settled already.
        read: Source rows read, by all attempts.
        written: Source rows that became one or more target rows.
        skipped: Source rows left out.
        rejected: Source rows put aside with their error.
        rows_published: Target rows, counted after fan-out.
        row_errors: Source rows that failed, whatever the policy made of them.
        first_errors: The first few of them.
        calls: Calls that this attempt made through etlkit's retry layer, retries included.
        retries: Those among them that were repeats.
        units: Billing units of all of them.
        cost: What they cost at the job's `price_per_unit`; None = it has none.
        rows_per_s: Source rows per second of the transform stage.
        seconds: Seconds by stage.
        error: Why the run failed; None = it did not.
    """

    run_id: str
    job: str
    state: State
    target: str
    resumed: int = 0
    read: int = 0
    written: int = 0
    skipped: int = 0
    rejected: int = 0
    rows_published: int = 0
    row_errors: int = 0
    first_errors: list[str] = field(default_factory=list)
    calls: int = 0
    retries: int = 0
    units: int = 0
    cost: float | None = None
    rows_per_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the attributes."""
        return json.dumps(asdict(self), ensure_ascii=False)
