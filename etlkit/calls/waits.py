"""What the calls of a run wait for, for those who watch it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

from etlkit.calls import clock
from etlkit.calls.worker import Worker, WorkerKey, worker_key

Reason = Literal["asked", "retry", "down", "rate", "cap"]

_TOLD_FROM_S = 1.0
"""Shorter waits are no news."""


PARKED: frozenset[Reason] = frozenset({"asked", "retry"})
"""Such a wait is about one row: it gives its slot to another one. A service that is down, a rate and a
cap stop the calls of all rows alike, so that another row would only wait, too."""


class Pause(NamedTuple):
    """A wait that a call needs.

    Attributes:
        reason: Why.
        until: When it ends, as `clock.now` counts; infinity = when the call is woken.
    """

    reason: Reason
    until: float = math.inf

    @property
    def rest_s(self) -> float | None:
        """Seconds that are left; None = unknown."""
        return None if self.until == math.inf else max(0.0, self.until - clock.now())


@dataclass(frozen=True, slots=True, eq=False)
class _Wait:
    """One wait of a worker; `until` is infinity where it is unknown."""

    worker: WorkerKey
    service: str
    reason: Reason
    since: float
    until: float

    @property
    def is_parked(self) -> bool:
        return isinstance(self.worker, Worker) and self.worker.is_parked


class Waits:
    """The waits of all calls of a run."""

    def __init__(self) -> None:
        self._all: dict[_Wait, None] = {}
        self._of_worker: dict[WorkerKey, int] = {}

    @contextmanager
    def during(self, service: str, reason: Reason, until: float = math.inf) -> Iterator[None]:
        """Record that a call of this thread or task waits while inside.

        Args:
            service: The service that it wants to call.
            reason: `asked` by the service, before a `retry`, while it is `down`, for its `rate`, or for
                what other workers do not use of a `cap`.
            until: When it ends, as `clock.now` counts; infinity = not known.
        """
        worker = worker_key()
        wait = _Wait(worker, service, reason, clock.now(), until)
        self._all[wait] = None
        self._of_worker[worker] = self._of_worker.get(worker, 0) + 1
        try:
            yield
        finally:
            del self._all[wait]
            if (left := self._of_worker.pop(worker) - 1) > 0:
                self._of_worker[worker] = left

    def is_waiting(self, worker: WorkerKey) -> bool:
        """Whether a call of this worker waits."""
        return worker in self._of_worker

    def texts(self) -> list[str]:
        """What calls wait for, e.g. `geo asks to wait 30 s: 16 rows are parked`; the longest first."""
        now = clock.now()
        groups: dict[tuple[str, Reason], list[_Wait]] = {}
        for wait in list(self._all):
            if max(now, wait.until) - wait.since >= _TOLD_FROM_S:
                groups.setdefault((wait.service, wait.reason), []).append(wait)
        last = {key: max(each.until for each in waits) for key, waits in groups.items()}
        return [
            _text(*key, groups[key], math.ceil(max(0.0, min(last[key] - now, 86_400))))
            for key in sorted(groups, key=lambda key: -last[key])
        ]


def _text(service: str, reason: Reason, waits: list[_Wait], rest_s: int) -> str:
    parked = sum(each.is_parked for each in waits)
    holding = len(waits) - parked
    rows = "1 row is parked" if parked == 1 else f"{parked:,} rows are parked"
    calls = "1 call waits" if holding == 1 else f"{holding:,} calls wait"
    who = " and ".join([rows] * (parked > 0) + [calls] * (holding > 0))
    return {
        "asked": f"{service} asks to wait {rest_s} s: {who}",
        "retry": f"{service} failed: {who} up to {rest_s} s for another attempt",
        "down": f"{service} is down: {who} until it is back",
        "rate": f"{service}: {who} for the rate limit",
        "cap": f"{service}: {who} for what other workers do not use of max_calls or max_cost",
    }[reason]
