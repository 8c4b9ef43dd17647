"""What the calls of a run wait for, for those who watch it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from etlkit.calls import clock

Reason = Literal["asked", "retry", "down", "rate"]

_TOLD_FROM_S = 1.0
"""Shorter waits are no news."""


@dataclass(frozen=True, slots=True)
class _Wait:
    """One thread's wait; `until` is infinity where nobody knows."""

    service: str
    reason: Reason
    since: float
    until: float


class Waits:
    """The waits of all threads of a run. A thread has one at a time."""

    def __init__(self) -> None:
        self._by_thread: dict[int, _Wait] = {}

    @contextmanager
    def during(self, service: str, reason: Reason, until: float = math.inf) -> Iterator[None]:
        """Record that this thread waits while inside.

        Args:
            service: The service that it wants to call.
            reason: `asked` by the service, before a `retry`, while it is `down`, or for its `rate`.
            until: When it ends, as `clock.now` counts; infinity = not known.
        """
        thread = threading.get_ident()
        self._by_thread[thread] = _Wait(service, reason, clock.now(), until)
        try:
            yield
        finally:
            self._by_thread.pop(thread, None)

    def is_waiting(self, thread: int) -> bool:
        """Whether the thread with this ident waits."""
        return thread in self._by_thread

    def texts(self) -> list[str]:
        """What calls wait for, e.g. `vision asks to wait 30 s: 16 calls wait`; the longest first."""
        now = clock.now()
        groups: dict[tuple[str, Reason], list[_Wait]] = {}
        for wait in list(self._by_thread.values()):
            if max(now, wait.until) - wait.since >= _TOLD_FROM_S:
                groups.setdefault((wait.service, wait.reason), []).append(wait)
        last = {key: max(each.until for each in waits) for key, waits in groups.items()}
        return [
            _text(*key, len(groups[key]), math.ceil(max(0.0, min(last[key] - now, 86_400))))
            for key in sorted(groups, key=lambda key: -last[key])
        ]


def _text(service: str, reason: Reason, number: int, rest_s: int) -> str:
    calls = "1 call waits" if number == 1 else f"{number:,} calls wait"
    return {
        "asked": f"{service} asks to wait {rest_s} s: {calls}",
        "retry": f"{service} failed: {calls} up to {rest_s} s for another attempt",
        "down": f"{service} is down: {calls} until it is back",
        "rate": f"{service}: {calls} for the rate limit",
    }[reason]
