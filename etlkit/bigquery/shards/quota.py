"""Rates and caps of a shared run, leased by its workers part by part.

As with claims, a worker tells first what it wants to use and reads the events then. Of two that tell at
the same time, the one whose INSERT came later sees what the other wants. So what all use together never
passes the whole, and who finds that it would takes less.
"""

from __future__ import annotations

import logging
import random
import threading
from typing import TYPE_CHECKING

from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.shards.shard_map import BUDGET, SHARE, ShardEvent
from etlkit.calls import clock
from etlkit.errors import RunTakenOverError

if TYPE_CHECKING:
    from etlkit.bigquery.shards.shard_log import ShardLog
    from etlkit.bigquery.shards.shard_map import ShardMap
    from etlkit.calls.leased import LeasedCalls

log = logging.getLogger("etlkit.bigquery")

LOOK_S = 15.0
"""How often a worker looks who else is there, to take a larger or a smaller part of the rates."""

_FIRST_LOOK_S = 1.0
"""At first, and while it has no part yet."""

_PART_OF_REST = 2
"""A worker is granted at most this part of its share of what is left: nobody starves at the end."""

_TOLERANCE = 1e-9


class QuotaKeeper:
    """Leases one worker's part of the rates and caps, on a thread of its own.

    Args:
        shard_log: The events of the run. Its own: it is used beside that of the claims.
        worker: Id of the worker.
        num_workers: How many workers there are meant to be.
        calls: Takes what is leased.
        max_calls: Of all workers together; None = no limit.
        max_cost: Likewise.
    """

    def __init__(
        self,
        shard_log: ShardLog,
        worker: str,
        num_workers: int,
        calls: LeasedCalls,
        max_calls: int | None,
        max_cost: float | None,
    ) -> None:
        self._log = shard_log
        self._worker = worker
        self._num_workers = num_workers
        self._calls = calls
        self._max_calls = max_calls
        self._max_cost = max_cost
        self._fraction = 0.0
        self._budget = 0, 0.0
        self._began_at = clock.now()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="etlkit-quota", daemon=True)
        calls.lease = self.lease

    def start(self) -> None:
        """Begin to lease."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and give back what was not used: the next worker can have it."""
        self._closed.set()
        self._calls.end()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._fraction = 0.0
            self._calls.grant_fraction(0.0)
            calls, cost = self._calls.used
            if self._calls.is_capped:
                self._calls.grant(calls, cost)
                self._log.tell([ShardEvent(BUDGET, self._worker, calls=calls, cost=cost)])

    def lease(self, calls: int, cost: float) -> None:
        """Lease calls and money, as many in all as these at least, if that many are left.

        Args:
            calls: In all, since the worker began.
            cost: Likewise.
        """
        with self._lock:
            granted_calls, granted_cost = self._budget
            if calls <= granted_calls and cost <= granted_cost * (1 + _TOLERANCE):
                return  # another thread has asked meanwhile
            self._lease_budget(calls, cost)

    def look(self) -> None:
        """Take the part of the rates that is this worker's now, and more of the caps if need be."""
        with self._lock:
            if self._calls.declares_rate:
                self._lease_fraction()
            if self._calls.is_capped and self._calls.wants_more.is_set():
                calls, cost = self._calls.used
                self._lease_budget(calls + 1, cost)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self.look()
            except RunTakenOverError:
                return  # the worker itself finds out, and ends
            except Exception as error:
                log.info(
                    "the worker's part of the rates was not renewed: %s", google_message(error)
                )
            is_new = clock.now() - self._began_at < LOOK_S or not self._fraction
            until = clock.now() + (_FIRST_LOOK_S if is_new else LOOK_S)
            while clock.now() < until and not self._closed.wait(0.1):
                if self._calls.is_capped and self._calls.wants_more.is_set():
                    break

    def _lease_fraction(self) -> None:
        shards = self._log.read().shards
        workers = len(set(shards.workers) | {self._worker})
        if clock.now() - self._began_at < LOOK_S:
            workers = max(workers, self._num_workers)  # the others are about to join
        wanted = 1.0 / workers
        free = 1.0 - _others(shards, self._worker)
        new = min(wanted, max(free, 0.0))
        if abs(new - self._fraction) < _TOLERANCE:
            return
        if new < self._fraction:  # first use less, then say so
            self._use_fraction(new)
            self._log.tell([ShardEvent(SHARE, self._worker, fraction=new)])
            return
        self._log.tell([ShardEvent(SHARE, self._worker, fraction=new)])
        if new + _others(self._log.read().shards, self._worker) <= 1.0 + _TOLERANCE:
            self._use_fraction(new)
            return
        self._log.tell([ShardEvent(SHARE, self._worker, fraction=self._fraction)])
        self._closed.wait(random.random())  # noqa: S311 - no secret  # nosec B311

    def _use_fraction(self, fraction: float) -> None:
        self._fraction = fraction
        self._calls.grant_fraction(fraction)

    def _lease_budget(self, calls: int, cost: float) -> None:
        """Lease a part of what is left of the caps; nothing is leased when too little is left."""
        while not self._closed.is_set():
            shards = self._log.read().shards
            wanted = self._part(shards, calls, cost)
            if wanted is None:
                return
            event = ShardEvent(BUDGET, self._worker, calls=wanted[0], cost=wanted[1])
            self._log.tell([event])
            if self._fits(self._log.read().shards, wanted):
                self._budget = wanted
                self._calls.grant(*wanted)
                return
            calls_before, cost_before = self._budget
            back = ShardEvent(BUDGET, self._worker, calls=calls_before, cost=cost_before)
            self._log.tell([back])
            self._closed.wait(random.random())  # noqa: S311 - no secret  # nosec B311

    def _part(self, shards: ShardMap, calls: int, cost: float) -> tuple[int, float] | None:
        """What to ask for: what was granted before, and a part of the rest; None = too little."""
        workers = max(len(shards.workers), self._num_workers, 1) * _PART_OF_REST
        own_calls, own_cost = self._budget
        used_calls, used_cost = self._used_by_others(shards)
        new_calls, new_cost = own_calls, own_cost
        if self._max_calls is not None:
            rest = self._max_calls - used_calls - own_calls
            new_calls = max(own_calls + rest // workers, calls)
            if new_calls > own_calls + rest:
                return None
        if self._max_cost is not None:
            left = self._max_cost - used_cost - own_cost
            new_cost = max(own_cost + left / workers, cost)
            if new_cost > (own_cost + left) * (1 + _TOLERANCE):
                return None
        return new_calls, new_cost

    def _fits(self, shards: ShardMap, wanted: tuple[int, float]) -> bool:
        calls, cost = self._used_by_others(shards)
        if self._max_calls is not None and calls + wanted[0] > self._max_calls:
            return False
        return self._max_cost is None or cost + wanted[1] <= self._max_cost * (1 + _TOLERANCE)

    def _used_by_others(self, shards: ShardMap) -> tuple[int, float]:
        others = [used for worker, used in shards.budgets.items() if worker != self._worker]
        return sum(calls for calls, _ in others), sum(cost for _, cost in others)


def _others(shards: ShardMap, worker: str) -> float:
    """What the others use of the rates."""
    return sum(part for other, part in shards.fractions.items() if other != worker)
