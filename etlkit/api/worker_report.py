"""What one worker of a shared run has done, for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WorkerState = Literal["at work", "left", "lost"]


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """One worker of a run that many share.

    Attributes:
        worker: Its id; each process has one of its own.
        attempt: The attempt at the run that it belonged to.
        state: `at work`; `left`: it has ended; `lost`: it died, or gave no sign of life for too long.
        host: Where it runs; empty = not known.
        joined_at: When it joined, in ISO 8601, by BigQuery's clock.
        ended_at: When it left or was found lost; None = it is at work, or nobody has missed it yet.
        shards_settled: Shards all of whose rows got their outcome from it, or from one before it.
        shards_claimed: Shards that it works on now.
        rows: Source rows that got their outcome from it. Of a worker that is at work, as of its last
            sign of life.
        rows_per_s: These rows per second since it joined.
        part_of_rates: The part of every declared rate that it may use, or had last, from 0 to 1; None =
            it has asked for none.
    """

    worker: str
    attempt: int = 1
    state: WorkerState = "left"
    host: str = ""
    joined_at: str = ""
    ended_at: str | None = None
    shards_settled: int = 0
    shards_claimed: int = 0
    rows: int = 0
    rows_per_s: float = 0.0
    part_of_rates: float | None = None
