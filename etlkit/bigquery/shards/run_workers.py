"""The workers of a run, as its events and their leases tell: for people, not for workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from etlkit.api.worker_report import WorkerReport
from etlkit.bigquery.runs.guard import Holder
from etlkit.bigquery.runs.progress_labels import ROWS_LABEL
from etlkit.bigquery.shards.shard_log import LogState, ShardLog
from etlkit.bigquery.shards.shard_map import IDLE, JOINED, LEFT, LOST, SETTLED, SHARE
from etlkit.bigquery.shards.shard_worker import worker_guard
from etlkit.bigquery.sql.shards import NUM_SHARDS

if TYPE_CHECKING:
    from google.cloud import bigquery

    from etlkit.bigquery.client import Connection


@dataclass(frozen=True)
class RunWorkers:
    """The workers of a run.

    Attributes:
        workers: Each process, in the order in which they joined, of all attempts.
        shards_settled: Of the run's `NUM_SHARDS` shards, those that have no row without an outcome.
    """

    workers: Sequence[WorkerReport]
    shards_settled: int = NUM_SHARDS

    def to_dict(self) -> dict[str, Any]:
        """`workers`, and `all_workers`: what they have done together."""
        at_work = [each for each in self.workers if each.state == "at work"]
        parts = [w.part_of_rates for w in at_work if w.part_of_rates is not None]
        together = {
            "at_work": len(at_work),
            "shards": NUM_SHARDS,
            "shards_settled": self.shards_settled,
            "shards_claimed": sum(each.shards_claimed for each in self.workers),
            "rows": sum(each.rows for each in self.workers),
            "rows_per_s": round(sum(each.rows_per_s for each in at_work or self.workers), 1),
            "part_of_rates": round(sum(parts), 6) if parts else None,
        }
        return {"workers": [asdict(each) for each in self.workers], "all_workers": together}


def find_workers(
    connection: Connection, dataset: tuple[str, str], run_id: str
) -> RunWorkers | None:
    """Look who works on a run, or has: one query, and the lease of each that has not ended.

    Args:
        connection: To ask with.
        dataset: Project and dataset of the work tables.
        run_id: The run.

    Returns:
        None = no worker's events are there: nobody shared the run, or it is published.
    """
    log = ShardLog(connection, dataset, run_id, 0, "look")
    if connection.find_table(log.name) is None:
        return None
    state = log.read(every_attempt=True)
    told = {row["worker"]: row for row in state.rows if row["worker"]}
    over = {row["worker"] for row in state.rows if row["kind"] in {LEFT, LOST}}
    guards = {worker: worker_guard(dataset, run_id, worker) for worker in told.keys() - over}
    connection.look_ahead((), guards.values())
    leases = {worker: connection.find_table(name) for worker, name in guards.items()}
    workers = workers_of(state, leases)
    return RunWorkers(workers, NUM_SHARDS - state.shards.num_left) if workers else None


def workers_of(state: LogState, leases: Mapping[str, bigquery.Table | None]) -> list[WorkerReport]:
    """Workers as the events tell them.

    Args:
        state: What the events tell.
        leases: The guards of workers that have not told their end; None, or none = it has none.
    """
    events: dict[str, list[dict[str, Any]]] = {}
    for row in state.rows:
        if row["worker"]:
            events.setdefault(row["worker"], []).append(row)
    return [_worker(worker, told, state, leases.get(worker)) for worker, told in events.items()]


def _worker(
    worker: str, told: list[dict[str, Any]], state: LogState, lease: bigquery.Table | None
) -> WorkerReport:
    attempt = told[0]["attempt"]
    settled = [row for row in told if row["kind"] == SETTLED]
    end = next((row for row in reversed(told) if row["kind"] in {LEFT, LOST}), None)
    holder = None if lease is None else Holder.of(lease)
    is_alive = (
        end is None
        and attempt == state.attempt
        and holder is not None
        and holder.is_alive(state.now)
    )
    rows = max(sum(row["rows"] or 0 for row in settled), _rows_told(lease))
    until = state.now
    if end is not None:
        until = end["event_at"]
    elif holder is not None and rows:  # that many as of its last sign of life
        until = max(holder.renewed_at, told[-1]["event_at"])
    claims = [claim for claim in state.shards.claims if claim.worker == worker]
    return WorkerReport(
        worker=worker,
        attempt=attempt,
        state="at work" if is_alive else "left" if _has_left(end) else "lost",
        host=next((row["host"] or "" for row in told if row["kind"] == JOINED), ""),
        joined_at=told[0]["event_at"].isoformat(timespec="seconds"),
        ended_at=None if end is None else end["event_at"].isoformat(timespec="seconds"),
        shards_settled=sum(row["last"] - row["first"] + 1 for row in settled),
        shards_claimed=sum(claim.num_shards for claim in claims) if is_alive else 0,
        rows=rows,
        rows_per_s=_per_s(rows, told[0]["event_at"], until),
        part_of_rates=_part_of_rates(told, is_alive=is_alive),
    )


def _part_of_rates(told: list[dict[str, Any]], *, is_alive: bool) -> float | None:
    """The part that it has now, or the last one it had; None = it has not made a call with a rate."""
    shares = [row for row in told if row["kind"] in {SHARE, IDLE}]
    if not is_alive:
        shares = [row for row in shares if row["fraction"]]
    return round(shares[-1]["fraction"] or 0.0, 6) if shares else None


def _has_left(end: Mapping[str, Any] | None) -> bool:
    return end is not None and end["kind"] == LEFT


def _rows_told(lease: bigquery.Table | None) -> int:
    """What it said at its last sign of life: a claim may take a long time to be settled."""
    told = "" if lease is None else lease.labels.get(ROWS_LABEL, "")
    return int(told) if told.isdigit() else 0


def _per_s(rows: int, since: datetime, until: datetime) -> float:
    seconds = (until - since).total_seconds()
    return round(rows / seconds, 1) if seconds > 0 else 0.0
