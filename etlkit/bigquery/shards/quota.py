"""What the workers of a shared run use together: rates, caps, retries, and what is known of services.

Rates and caps are leased part by part. Those that call have equal parts of the rates: a worker wants
one from its first call on, until it has no more rows.

As with claims, a worker tells first what it wants to use and reads the events then. Of two that tell at
the same time, the one whose INSERT came later sees what the other wants. So what all use together never
passes the whole, and who finds that it would takes less.

A worker whose breaker opens tells that the service is down, and goes on to test it. The others see it
at their next look, make one call to find out for themselves, and wait for its word then.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.shards.shard_map import BUDGET, DOWN, IDLE, SHARE, UP, USED_UP, ShardEvent
from etlkit.calls import clock
from etlkit.errors import RunTakenOverError

if TYPE_CHECKING:
    from etlkit.bigquery.shards.shard_log import LogState, ShardLog
    from etlkit.bigquery.shards.shard_map import ShardMap
    from etlkit.calls.leased import LeasedCalls

log: logging.Logger = logging.getLogger("etlkit.bigquery")

LOOK_S = 15.0
"""How often a worker looks who else is there, to take a larger or a smaller part of the rates."""

_FIRST_LOOK_S = 1.0
"""At first, after a change of its part, and while it lacks some; then after twice as long each time."""

_WORD_S = 5.0
"""While calls wait for the word of a worker that tests a service."""

DOWN_S = 45.0
"""That a service is down holds for this long unless it is told again: who tests it may be gone."""

_PART_OF_REST = 2
"""A worker is granted at most this part of its share of what is left: nobody starves at the end."""

_GIVE_BACK_S = LOOK_S + 5.0
"""How long a call waits for what others do not use of a cap: they look that often, and tell it."""

_TOLERANCE = 1e-9


class QuotaKeeper:
    """Leases one worker's part of rates and caps, and shares what is known of services, on a thread.

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
        self._lacks_rate = False
        self._short_since: float | None = None
        self._budget = 0, 0.0
        self._began_at = self._changed_at = self._heard_at = clock.now()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="etlkit-quota", daemon=True)
        calls.share_retries(1 / max(num_workers, 1))

    def start(self) -> None:
        """Begin to lease."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and give back what was not used: the next worker can have it."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._use_fraction(0.0)
            if self._calls.is_capped:
                self._give_back()

    def look(self) -> None:
        """Take the part of the rates that is this worker's now, and more of the caps if need be.

        Also tells and hears which services are down.
        """
        with self._lock:
            self._calls.news.clear()
            services = self._calls.services
            if services or self._calls.declares_rate or self._calls.is_capped:
                state = self._log.read()
                self._heard_at = clock.now()
                self._calls.share_retries(1 / self._count_workers(state.shards))
                self._share_health(state, services)
                if self._calls.declares_rate:
                    self._lease_fraction(state.shards)
                if self._calls.is_capped and self._is_missed(state.shards):
                    self._give_back()
                    return
            if self._calls.is_capped and self._calls.wants_more.is_set():
                self._lease_more()

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
                self._stop_waiting_for_others()
            until = clock.now() + self._pause_s()
            while clock.now() < until and not self._closed.wait(0.1):
                if self._calls.news.is_set():
                    break
                if self._short_since is None and self._calls.wants_more.is_set():
                    break

    def _pause_s(self) -> float:
        """Seconds until the next look."""
        if self._lacks_rate or self._short_since is not None:
            return _FIRST_LOOK_S
        if self._calls.waits_for_others:
            return _WORD_S
        if self._calls.declares_rate or self._calls.is_capped:
            # Others begin and end at about the same time.
            return min(max(clock.now() - self._changed_at, _FIRST_LOOK_S), LOOK_S)
        return LOOK_S

    def _stop_waiting_for_others(self) -> None:
        """Test services here when nothing was heard of the others for too long."""
        if clock.now() - self._heard_at > DOWN_S:
            for service in self._calls.services:
                self._calls.others_are_silent(service)

    def _count_workers(self, shards: ShardMap) -> int:
        workers = len(set(shards.workers) | {self._worker})
        if clock.now() - self._began_at < LOOK_S:
            return max(workers, self._num_workers)  # the others are about to join
        return workers

    def _share_health(self, state: LogState, services: Sequence[str]) -> None:
        """Tell which services are down or back here, and hear what others say of them.

        Who said first that a service is down tests it, and says so again at every look.
        """
        now = state.now.timestamp()
        events = []
        for service in services:
            told = state.shards.down.get(service, {})
            heard = {worker: at for worker, at in told.items() if now - at < DOWN_S}
            is_down = self._calls.is_down(service)
            if not is_down and self._worker in told:
                events.append(ShardEvent(UP, self._worker, service=service))
            elif next(iter(heard), self._worker) != self._worker:
                ago_s = 0.0 if is_down else now - max(heard.values())
                self._calls.others_say_down(service, ago_s)
                continue
            elif is_down:
                events.append(ShardEvent(DOWN, self._worker, service=service))
            self._calls.others_are_silent(service)
        self._log.tell(events)

    def _lease_fraction(self, shards: ShardMap) -> None:
        if not self._calls.wants_rate:
            if self._worker in shards.fractions:  # first use nothing, then say so
                self._use_fraction(0.0)
                self._log.tell([ShardEvent(IDLE, self._worker)])
            self._lacks_rate = False
            return
        wanted = 1.0 / len({*shards.fractions, self._worker})
        free = 1.0 - _others(shards, self._worker)
        new = min(wanted, max(free, 0.0))
        self._lacks_rate = new < wanted - _TOLERANCE
        if abs(new - shards.fractions.get(self._worker, -1.0)) < _TOLERANCE:
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
        if fraction != self._fraction:
            self._changed_at = clock.now()
        self._fraction = fraction
        self._calls.grant_fraction(fraction)

    def _is_missed(self, shards: ShardMap) -> bool:
        """Whether another worker has used up its budget and needs what this one does not use."""
        used_up = {worker for worker in shards.used_up if worker in shards.workers}
        return bool(used_up) and self._worker not in shards.used_up

    def _give_back(self) -> None:
        """Use no more than what is used, then say so."""
        self._budget = calls, cost = self._calls.give_back()
        self._log.tell([ShardEvent(USED_UP, self._worker, calls=calls, cost=cost)])

    def _may_come_back(self, shards: ShardMap) -> bool:
        """Whether others at work have been granted something that they may not use."""
        others = shards.workers.keys() & shards.budgets.keys() - {self._worker}
        return bool(others - shards.used_up)

    def _lease_more(self) -> None:
        """Lease more of the caps.

        If too little is left, others give back what they do not use. Calls that wait for it are refused
        when nothing came back, or nothing can.
        """
        shards = self._lease_budget()
        if shards is None:
            self._short_since = None
            return
        if not self._calls.waits_for_cap:
            self._calls.wants_more.clear()  # the next call that needs more asks again
            return
        self._short_since = self._short_since or clock.now()
        if not self._may_come_back(shards) or clock.now() - self._short_since > _GIVE_BACK_S:
            self._short_since = None
            self._calls.refuse()
        elif self._worker not in shards.used_up:
            self._give_back()  # a part of the price of a call: with those of others it may be one

    def _lease_budget(self) -> ShardMap | None:
        """Lease a part of what is left of the caps; what all have told if too little is left."""
        while not self._closed.is_set():
            shards = self._log.read().shards
            wanted = self._part(shards)
            if wanted is None:
                return shards
            event = ShardEvent(BUDGET, self._worker, calls=wanted[0], cost=wanted[1])
            self._log.tell([event])
            if self._fits(self._log.read().shards, wanted):
                self._budget = wanted
                self._calls.grant(*wanted)
                return None
            calls_before, cost_before = self._budget
            back = ShardEvent(BUDGET, self._worker, calls=calls_before, cost=cost_before)
            self._log.tell([back])
            self._closed.wait(random.random())  # noqa: S311 - no secret  # nosec B311
        return None

    def _part(self, shards: ShardMap) -> tuple[int, float] | None:
        """What to ask for: what was granted before, and a part of the rest; None = too little."""
        workers = max(len(shards.workers), self._num_workers, 1) * _PART_OF_REST
        own_calls, own_cost = self._budget
        (least_calls, least_cost), (all_calls, all_cost) = self._calls.wanted()
        used_calls, used_cost = self._used_by_others(shards)
        new_calls, new_cost = own_calls, own_cost
        if self._max_calls is not None:
            most = self._max_calls - used_calls
            if least_calls > most:
                return None
            new_calls = max(own_calls + (most - own_calls) // workers, min(all_calls, most))
        if self._max_cost is not None:
            up_to = (self._max_cost - used_cost) * (1 + _TOLERANCE)
            if least_cost > up_to:
                return None
            new_cost = max(own_cost + (up_to - own_cost) / workers, min(all_cost, up_to))
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
