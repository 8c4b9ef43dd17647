"""Counts the calls of a `FaultServer` and decides what happens to each: outage, quota, then plan."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from etlkit.calls import clock
from etlkit.errors import ConfigError
from etlkit.testing.fault_plan import Fault, FaultPlan

_PERIODS_S: Final = {"s": 1, "min": 60, "h": 3600, "day": 86_400}

_ANSWERED: Final = frozenset({"ok", "drip", "item_error"})
_DOWN: Final = Fault("status", status=503)


@dataclass(frozen=True)
class Decision:
    """What happens to one call.

    Attributes:
        call: The fault of the whole call.
        items: Faults of single items by their position in the call.
    """

    call: Fault
    items: dict[int, Fault] = field(default_factory=dict)


class Quota:
    """A number of calls per window. A window begins with the first call after the last one's end."""

    def __init__(self, rate: str) -> None:
        found = re.fullmatch(r"\s*(\d+)\s*/\s*([a-z]+)\s*", rate)
        if found is None or found[2] not in _PERIODS_S or not int(found[1]):
            raise ConfigError(
                f"quota {rate!r}: write a number, '/' and one of {', '.join(_PERIODS_S)}, "
                "e.g. '1800/min'"
            )
        self._most, self._period_s = int(found[1]), _PERIODS_S[found[2]]
        self._begin, self._used = -math.inf, 0

    def wait_s(self, now: float) -> float:
        """Count a call. 0.0 = it is within the quota; else seconds until the next window."""
        if now >= self._begin + self._period_s:
            self._begin, self._used = now, 0
        if self._used >= self._most:
            return self._begin + self._period_s - now
        self._used += 1
        return 0.0


class FaultHandler:
    """Decides and counts for both protocols, behind one lock.

    Args:
        plan: What goes wrong.
        quota: Calls per window, e.g. `1800/min`; None = no quota.
        outage_after: How many calls come before the outage.
        outage_s: How long the outage takes; None = there is none.
    """

    def __init__(
        self, plan: FaultPlan, quota: str | None, outage_after: int, outage_s: float | None
    ) -> None:
        self._plan = plan
        self._quota = None if quota is None else Quota(quota)
        self._outage_after, self._outage_s = outage_after, outage_s
        self._down_until = -math.inf
        self._lock = Lock()
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._in_flight = 0
        self.calls: int = 0
        self.max_in_flight: int = 0
        self.calls_by_item: Counter[str] = Counter()
        self.answers_by_item: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def snapshot(self, counts: Counter[str]) -> Counter[str]:
        """A copy that no thread changes."""
        with self._lock:
            return counts.copy()

    def go_down(self, seconds: float) -> None:
        """Answer every call with 503 from now on."""
        with self._lock:
            self._down_until = clock.now() + seconds

    def come_up(self) -> None:
        """End an outage."""
        with self._lock:
            self._down_until = -math.inf

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a call as being in flight."""
        with self._lock:
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def decide(self, keys: Sequence[str]) -> Decision:
        """Count a call and decide what happens to it.

        A call that an outage or a quota refuses does not count as an attempt in the plan. Otherwise a
        plan could not be repeated, because they depend on the clock.

        Args:
            keys: Of the items in it, in order.
        """
        with self._lock:
            self.calls += 1
            self.calls_by_item.update(keys)
            decision = self._refused() or self._planned(keys)
            if decision.call.kind in _ANSWERED:
                self.answers_by_item.update(
                    key for at, key in enumerate(keys) if at not in decision.items
                )
            return decision

    def _refused(self) -> Decision | None:
        now = clock.now()
        if self._outage_s is not None and self.calls > self._outage_after:
            self._down_until, self._outage_s = now + self._outage_s, None
        if now < self._down_until:
            self.faults["outage"] += 1
            return Decision(_DOWN)
        wait_s = 0.0 if self._quota is None else self._quota.wait_s(now)
        if wait_s:
            self.faults["quota"] += 1
            return Decision(
                Fault("status", status=429, retry_after_s=wait_s, retry_info_s=round(wait_s, 3))
            )
        return None

    def _planned(self, keys: Sequence[str]) -> Decision:
        # The same images in another pack are another call.
        joined = hashlib.blake2b("\n".join(keys).encode(), digest_size=16).hexdigest()
        attempt = self._attempt("call", joined)
        items = [(key, self._attempt("item", key)) for key in keys]
        call = self._plan.for_call(self.calls, (joined, attempt), items)
        failing: dict[int, Fault] = {}
        if call.kind in _ANSWERED:
            hits = ((at, self._plan.for_item(*item)) for at, item in enumerate(items))
            failing = {at: fault for at, fault in hits if fault is not None}
            if call.kind == "item_error" and call.at < len(keys):
                failing[call.at] = call
        if call.kind not in {"ok", "item_error"}:
            self.faults[call.name] += 1
        if failing:
            self.faults["item_error"] += len(failing)
        return Decision(call, failing)

    def _attempt(self, what: str, key: str) -> int:
        self._attempts[what, key] += 1
        return self._attempts[what, key]
