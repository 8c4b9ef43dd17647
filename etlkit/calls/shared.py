"""What several runs share that call the same services at the same time: rates and caps."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from etlkit.calls import clock
from etlkit.calls.limits import Limiter, Per, RateLimit
from etlkit.calls.waits import Pause
from etlkit.errors import CapReachedError

if TYPE_CHECKING:
    from etlkit.calls.breaker import Breaker, CallState, RetryBudget
    from etlkit.calls.wakers import Waker

T = TypeVar("T")


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
        self._waiting: dict[Waker, None] = {}  # as they asked
        self._num_changes = 0
        self._changed_at = 0.0

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
            elif limit.per_s > limiter.full_per_s:
                limiter.set_rate(limit.per_s)
                self._rates_have_changed()

    def join(self, service: str, breaker: Breaker, budget: RetryBudget) -> None:
        """Share the health of a service; the runs of one process each find it out for themselves."""

    def turn(self, call: CallState, service: str, at: float) -> Generator[Pause, None, None]:
        """Wait until a call may be made. If a rate changes meanwhile, it takes another turn.

        Args:
            call: The call; it is woken by a change.
            service: Who is called.
            at: Not before this time, as `clock.now` counts.

        Yields:
            The waits.
        """
        is_due = False
        while not is_due:
            changes = self._num_changes
            until = max([at, *(limiter.reserve(call.units) for limiter in self._of(service))])
            is_due = until <= clock.now()
            if not is_due:
                with self._among(self._waiting, call.waker, None):
                    while clock.now() < until and changes == self._num_changes:
                        yield Pause("rate", until)
                # A turn that came before the change is one of the old rate, and was used.
                is_due = changes == self._num_changes or until <= self._changed_at

    def throttled(self, service: str, units: int) -> None:
        """Record that the service answered 429."""
        for limiter in self._of(service):
            limiter.throttled(units)

    def take(self, cost: float) -> bool:
        """Count a call that is about to be made.

        Args:
            cost: What it costs; 0 = it has no price.

        Returns:
            Whether it is counted. If not, `wait_for_cap` comes first.

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
            return True

    def wait_for_cap(self, _call: CallState, _cost: float, /) -> Generator[Pause, None, None]:
        """Wait until it is known whether a call of some cost may be made.

        The runs of one process know it at once.

        Yields:
            The waits.
        """
        yield from ()

    @contextmanager
    def _among(self, waiting: dict[Waker, T], waker: Waker, what: T) -> Iterator[None]:
        """Keep a waker among those that are woken, while inside."""
        with self._lock:
            waiting[waker] = what
        try:
            yield
        finally:
            with self._lock:
                del waiting[waker]
            waker.forget()  # its next wait is another one

    def _rates_have_changed(self) -> None:
        """Wake the calls that wait for a turn. The lock is held."""
        self._changed_at = clock.now()
        self._num_changes += 1
        for waker in self._waiting:
            waker.wake()

    def _of(self, service: str) -> list[Limiter]:
        with self._lock:
            return [limiter for (name, _), limiter in self._limiters.items() if name == service]
