"""What several runs share that call the same services at the same time: rates and caps."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from etlkit.calls import clock
from etlkit.calls.limits import Limiter, Per, RateLimit
from etlkit.errors import CapReachedError

if TYPE_CHECKING:
    from etlkit.calls.breaker import Breaker, RetryBudget


class SharedCalls:
    """The rates of services, and caps on all calls together. Safe for threads.

    Every run keeps its own rate. Together, the runs that call a service keep the highest rate that one
    of them has declared for it, so that a quota which two jobs declare is not used twice. Rates of
    calls and of units are kept apart.

    Args:
        max_calls: Calls of all runs, retries included; None = no limit.
        max_cost: What these may cost, at each job's price; None = no limit.
    """

    def __init__(self, max_calls: int | None = None, max_cost: float | None = None) -> None:
        self._max_calls = max_calls
        self._max_cost = max_cost
        self._lock = threading.Lock()
        self._calls = 0
        self._cost = 0.0
        self._limiters: dict[tuple[str, Per], Limiter] = {}

    @property
    def is_capped(self) -> bool:
        """Whether there is a cap at all."""
        return self._max_calls is not None or self._max_cost is not None

    def declare(self, service: str, limit: RateLimit) -> None:
        """Say that a run calls a service at this rate at most."""
        with self._lock:
            limiter = self._limiters.get((service, limit.per))
            if limiter is None:
                self._limiters[service, limit.per] = Limiter(limit, clock.Stop())
            else:
                limiter.allow(limit.per_s)

    def join(self, service: str, breaker: Breaker, budget: RetryBudget) -> None:
        """Share the health of a service; the runs of one process each find it out for themselves."""

    def wait(self, service: str, units: int, stop: clock.Stop) -> None:
        """Wait until a call may be made.

        Args:
            service: Who is called.
            units: Of the call.
            stop: Ends the wait.

        Raises:
            Stopped: The run ended first.
        """
        stop.wait_until(self.reserve(service, units))

    def reserve(self, service: str, units: int) -> float:
        """Take the next turn for a call; see `Limiter.reserve`."""
        return max((limiter.reserve(units) for limiter in self._of(service)), default=0.0)

    def throttled(self, service: str, units: int) -> None:
        """Record that the service answered 429."""
        for limiter in self._of(service):
            limiter.throttled(units)

    def take(self, cost: float) -> None:
        """Count a call that is about to be made.

        Args:
            cost: What it costs; 0 = it has no price.

        Raises:
            CapReachedError: The call would exceed a cap. It is not counted then.
        """
        with self._lock:
            if self._max_calls is not None and self._calls >= self._max_calls:
                raise CapReachedError(
                    f"the workflow's max_calls={self._max_calls:,} is reached: the run stops before "
                    "its next call. Finished rows are kept; raise the cap and continue with --resume"
                )
            total = self._cost + cost
            if self._max_cost is not None and total > self._max_cost * (1 + 1e-9):
                raise CapReachedError(
                    f"the workflow's max_cost={self._max_cost:,} would be exceeded: {self._cost:,.6g} "
                    f"is spent, the next call costs {cost:,.6g} more. The run stops before it. "
                    "Finished rows are kept; raise the cap and continue with --resume"
                )
            self._calls += 1
            self._cost = total

    def _of(self, service: str) -> list[Limiter]:
        with self._lock:
            return [limiter for (name, _), limiter in self._limiters.items() if name == service]
