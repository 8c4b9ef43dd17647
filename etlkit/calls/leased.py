"""A worker's part of what the workers of a run share: rates, caps, retries, services that are down."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING

from etlkit.calls import clock
from etlkit.calls.breaker import Breaker, RetryBudget
from etlkit.calls.limits import Limiter, Per, RateLimit
from etlkit.calls.shared import SharedCalls
from etlkit.calls.waits import Pause
from etlkit.errors import CapReachedError

if TYPE_CHECKING:
    from etlkit.calls.breaker import CallState
    from etlkit.calls.wakers import Waker

_REFILL_AT = 0.5
"""More is asked for when this part of what was granted is used, so that no call has to wait for it."""


class LeasedCalls(SharedCalls):
    """As `SharedCalls`, with the part of all workers' rates and caps that this one has been granted.

    Nothing is granted at first: calls wait until somebody has called `grant_fraction`, and `grant` or
    `refuse`. From the first call on, and until `rest`, a part of the rates is wanted.

    Args:
        max_calls: Of all workers together; None = no limit.
        max_cost: Likewise.

    Attributes:
        wants_more: Set when little is left of what was granted, or calls wait for more.
        declares_rate: Whether a rate is declared at all.
        wants_rate: Whether this worker has made a call for which there is a rate, since it rested.
        news: Set when others are to hear something of this worker soon: a service may be down, or back,
            or it wants a part of the rates, or needs none any more.
    """

    def __init__(
        self,
        max_calls: int | None = None,
        max_cost: float | None = None,
    ) -> None:
        super().__init__(max_calls, max_cost)
        self.wants_more: threading.Event = threading.Event()
        self.declares_rate: bool = False
        self.wants_rate: bool = False
        self.news: threading.Event = threading.Event()
        self._health: dict[str, list[tuple[Breaker, RetryBudget]]] = {}
        self._part_of_retries = 1.0
        self._fraction = 0.0
        self._granted_calls = 0
        self._granted_cost = 0.0
        self._is_refused = False
        self._waiting_for_cap: dict[Waker, float] = {}
        self._declared: dict[tuple[str, Per], float] = {}

    @property
    def waits_for_cap(self) -> bool:
        """Whether calls wait for `grant` or `refuse`."""
        return bool(self._waiting_for_cap)

    def wanted(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """Calls and money since the worker began: with the next call, and with all that wait."""
        with self._lock:
            costs = list(self._waiting_for_cap.values()) or [0.0]
            next_one = self._calls + 1, self._cost + costs[0]
            return next_one, (self._calls + len(costs), self._cost + sum(costs))

    def declare(self, service: str, limit: RateLimit) -> None:
        """See `SharedCalls.declare`."""
        with self._lock:
            self.declares_rate = True
            key = service, limit.per
            self._declared[key] = max(limit.per_s, self._declared.get(key, 0.0))
            if key not in self._limiters:
                self._limiters[key] = Limiter(limit, clock.Stop())
            self._set_rates()

    def join(self, service: str, breaker: Breaker, budget: RetryBudget) -> None:
        """See `SharedCalls.join`: the workers of a run find it out together."""
        with self._lock:
            self._health.setdefault(service, []).append((breaker, budget))
            budget.set_part(self._part_of_retries)
        breaker.on_change = self.news.set

    @property
    def services(self) -> list[str]:
        """The services that this worker calls."""
        with self._lock:
            return list(self._health)

    @property
    def waits_for_others(self) -> bool:
        """Whether calls wait for the word of a worker that tests a service."""
        return any(
            each.is_tested_elsewhere for name in self.services for each in self._breakers(name)
        )

    def share_retries(self, part: float) -> None:
        """Set the part of all workers' retries that this one may make, from 0 to 1."""
        with self._lock:
            self._part_of_retries = part
            for _, budget in itertools.chain.from_iterable(self._health.values()):
                budget.set_part(part)

    def is_down(self, service: str) -> bool:
        """Whether a service is down, as this worker sees it."""
        return any(each.is_down for each in self._breakers(service))

    def others_say_down(self, service: str, ago_s: float) -> None:
        """Hear that another worker tests a service; see `Breaker.others_say_down`."""
        for each in self._breakers(service):
            each.others_say_down(ago_s)

    def others_are_silent(self, service: str) -> None:
        """Test a service here from now on; see `Breaker.others_are_silent`."""
        for each in self._breakers(service):
            each.others_are_silent()

    def _breakers(self, service: str) -> list[Breaker]:
        with self._lock:
            return [breaker for breaker, _ in self._health.get(service, ())]

    def turn(self, call: CallState, service: str, at: float) -> Generator[Pause, None, None]:
        """See `SharedCalls.turn`. Before anything is granted, it waits for that."""
        if not self.wants_rate and self._of(service):
            self.wants_rate = True
            self.news.set()
        yield from super().turn(call, service, at)

    def rest(self) -> None:
        """Say that this worker has no rows for now: others can have its part of the rates."""
        if self.wants_rate:
            self.wants_rate = False
            self.news.set()

    def grant_fraction(self, fraction: float) -> None:
        """Set the part of every declared rate that this worker may use, from 0 to 1."""
        with self._lock:
            self._fraction = fraction
            self._set_rates()

    def _set_rates(self) -> None:
        """Set what has changed, and let calls that wait take other turns. The lock is held."""
        has_changed = False
        for key, limiter in self._limiters.items():
            per_s = self._declared[key] * self._fraction
            if per_s != limiter.full_per_s:
                limiter.set_rate(per_s)
                has_changed = True
        if has_changed:
            self._rates_have_changed()

    def grant(self, calls: int, cost: float) -> None:
        """Set how many calls this worker may make in all, and what they may cost."""
        with self._lock:
            self._granted_calls, self._granted_cost = calls, cost
            self._decided()

    def refuse(self) -> None:
        """Say that there is no more than what was granted: calls that need more raise."""
        with self._lock:
            self._is_refused = True
            self._decided()

    def give_back(self) -> tuple[int, float]:
        """Give up what was granted and is not used.

        Returns:
            Calls made so far, and what they cost.
        """
        with self._lock:
            self._granted_calls, self._granted_cost = self._calls, self._cost
            if not self._waiting_for_cap:
                self.wants_more.clear()
            return self._calls, self._cost

    def take(self, cost: float) -> bool:
        """See `SharedCalls.take`."""
        if not self.is_capped:
            return True
        with self._lock:
            if self._is_granted(cost):
                self._use(cost)
                return True
            if self._is_refused:
                raise CapReachedError(self._cap_text(cost))
            return False

    def wait_for_cap(self, call: CallState, cost: float, /) -> Generator[Pause, None, None]:
        """See `SharedCalls.wait_for_cap`."""
        with self._among(self._waiting_for_cap, call.waker, cost):
            while not self._is_refused and not self._is_granted(cost):
                self.wants_more.set()
                yield Pause("cap")

    def _decided(self) -> None:
        """Wake the calls that wait. The lock is held."""
        self.wants_more.clear()
        for waker in self._waiting_for_cap:
            waker.wake()

    def _use(self, cost: float) -> None:
        self._calls += 1
        self._cost += cost
        few_calls = self._calls >= self._granted_calls * _REFILL_AT
        little_money = self._cost >= self._granted_cost * _REFILL_AT
        if (self._max_calls is not None and few_calls) or (
            self._max_cost is not None and little_money
        ):
            self.wants_more.set()

    def _is_granted(self, cost: float) -> bool:
        calls = math.inf if self._max_calls is None else self._granted_calls
        money = math.inf if self._max_cost is None else self._granted_cost
        return self._calls < calls and self._cost + cost <= money * (1 + 1e-9)

    def _cap_text(self, cost: float) -> str:
        if self._max_calls is not None and self._calls >= self._granted_calls:
            what = f"max_calls={self._max_calls:,} is reached by all workers together"
        else:
            what = (
                f"max_cost={self._max_cost:,} would be exceeded by all workers together; the next call "
                f"costs {cost:,.6g}"
            )
        return (
            f"{what}: the run stops before it. Finished rows are kept; raise the cap and continue with "
            "--resume"
        )
