"""Runs that are at work, as their guards tell it: metadata, which costs nothing to read.

A guard is renewed every `etlkit.bigquery.runs.lease.RENEW_S`, and says each time how far its run is.
Only the end of a run is asked for with a query.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.guard import LEASE_S, Holder, LeaseLabels, bigquery_time
from etlkit.bigquery.runs.history import open_ledger
from etlkit.bigquery.runs.progress_labels import COUNTS, PREFIX
from etlkit.errors import RunStateError, SourceError

if TYPE_CHECKING:
    from google.cloud import bigquery
    from google.cloud.bigquery.table import TableListItem

    from etlkit.api.run import Run

_GUARD = re.compile(r"run_(?P<run_id>\d{8}_\d{9}_[0-9a-f]{8})")
_WORKER = re.compile(r"wrk_(?P<run_id>\d{8}_\d{9}_[0-9a-f]{8})_[0-9a-f]{8}")
_MAX_RUNS = 50
"""More runs at work than these are not looked at: each is a request."""


@dataclass(frozen=True)
class LiveRun:
    """A run that is at work, or that was a moment ago.

    Attributes:
        run_id: Its id.
        job: Label of its job.
        state: `running`; `dead` = it gives no sign of life; later also how it ended.
        attempt: Number of the attempt.
        stage: Where it is; None = not known.
        read: Source rows with an outcome; None = not known, likewise the next four.
        written: Of them, those that became target rows.
        skipped: Those that were left out.
        rejected: Those that were rejected.
        expected: Source rows in all.
        workers: Processes that share it and are at work; None = none has shared it yet.
        where: Its process.
        error: Why it failed; None = it has not.
    """

    run_id: str
    job: str
    state: str
    attempt: int
    stage: str | None = None
    read: int | None = None
    written: int | None = None
    skipped: int | None = None
    rejected: int | None = None
    expected: int | None = None
    workers: int | None = None
    where: str = ""
    error: str | None = None


class Follower:
    """Looks at the runs of a work dataset again and again.

    Args:
        run: For its settings and clients.
        dataset: The work dataset.
        clock: Seconds.

    Raises:
        SourceError: BigQuery cannot be asked.
    """

    def __init__(
        self, run: Run, dataset: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._signs: dict[str, tuple[str, float]] = {}
        self._connection, self._ledger = open_ledger(run, dataset)
        self._place = (self._ledger.runs.project, self._ledger.runs.dataset)
        with errors_as(SourceError, "ledger", "asking BigQuery for the time failed"):
            self._now_at_start = bigquery_time(self._connection)  # free: it reads no table
        self._started = clock()

    @property
    def _now(self) -> datetime:
        return self._now_at_start + timedelta(seconds=self._clock() - self._started)

    def look(self) -> dict[str, LiveRun]:
        """The runs that have a guard, oldest first, by id. Costs nothing.

        Raises:
            SourceError: The work dataset cannot be listed.
        """
        with errors_as(SourceError, "ledger", f"listing {'.'.join(self._place)} failed"):
            if self._connection.find_dataset(".".join(self._place)) is None:
                return {}
            place = ".".join(self._place)
            tables = list(self._connection.client.list_tables(place, timeout=60.0))
            found = sorted(t.table_id for t in tables if _GUARD.fullmatch(t.table_id))
            guards = [
                self._connection.find_table(TableName(*self._place, each))
                for each in found[-_MAX_RUNS:]
            ]
        workers = self._workers(tables)
        live = [_live(guard, self._now, workers) for guard in guards if guard is not None]
        return {each.run_id: each for each in live}

    def _workers(self, tables: Sequence[TableListItem]) -> dict[str, Counter[int]]:
        """How many workers are at work, by run and attempt."""
        at_work: dict[str, Counter[int]] = {}
        for table in tables:
            match = _WORKER.fullmatch(table.table_id)
            if match is None:
                continue
            lease = LeaseLabels.of(table.labels)
            of_run = at_work.setdefault(match["run_id"], Counter())
            of_run[lease.attempt] += lease.state == "running" and self._renews(
                table.table_id, lease
            )
        return at_work

    def _renews(self, guard: str, lease: LeaseLabels) -> bool:
        """Whether a worker has given a sign of life lately. One that was killed cannot say so."""
        renewals, seen_at = self._signs.get(guard, ("", 0.0))
        if renewals != lease.renewals:
            seen_at = self._clock()
            self._signs[guard] = lease.renewals, seen_at
        return self._clock() - seen_at < LEASE_S

    def no_run(self, run_id: str) -> RunStateError:
        """What to raise for a run that is neither at work nor in the ledger."""
        return self._ledger.no_run(run_id)

    def ended(self, runs: Iterable[LiveRun]) -> list[LiveRun]:
        """How runs have ended: one query.

        Args:
            runs: As they were when they were last seen.

        Raises:
            SourceError: The ledger cannot be read.
        """
        known = {each.run_id: each for each in runs}
        with errors_as(SourceError, "ledger", f"reading {self._ledger.runs} failed"):
            if not self._ledger.is_made():
                return []
            rows = self._ledger.find("run_id IN UNNEST(@value)", sorted(known))
        return [_ended(row, known[row["run_id"]]) for row in rows]


def _live(guard: bigquery.Table, now: datetime, workers: Mapping[str, Counter[int]]) -> LiveRun:
    holder, labels = Holder.of(guard), guard.labels
    run_id = guard.table_id.removeprefix("run_")
    numbers: dict[str, Any] = {
        name: int(labels[PREFIX + name])
        for name in (*COUNTS, "expected")
        if labels.get(PREFIX + name, "").isdigit()
    }
    state = "ended" if holder.ended else "running" if holder.is_alive(now) else "dead"
    return LiveRun(
        run_id,
        labels.get("etlkit_job", ""),
        state,
        holder.attempt,
        stage=labels.get(PREFIX + "stage"),
        workers=workers[run_id][holder.attempt] if run_id in workers else None,
        where="" if holder.process is None else str(holder.process),
        **numbers,
    )


def _ended(row: Mapping[str, Any], last: LiveRun) -> LiveRun:
    state = "dead" if row["state"] == "running" else row["state"]
    numbers = {name: row[name] for name in COUNTS}
    return LiveRun(
        last.run_id,
        row["job"] or last.job,
        state,
        row["attempt"] or last.attempt,
        where=last.where,
        error=row["error"],
        **numbers,
    )
