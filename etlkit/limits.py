"""What a run may use: calls a minute, calls in all, money. Shared by all threads, retries included."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Literal, get_args

from etlkit import clock
from etlkit.errors import CapReachedError, ConfigError

Per = Literal["call", "unit"]

_PERIODS_S = {"s": 1, "min": 60, "h": 3600, "day": 86_400}
_DECREASE = 0.8
_INCREASE = 0.1
_LEAST_PACE = 0.05
_STEP_S = 1.0
"""One second is one step of adapting: many calls in flight learn of one and the same overload."""


@dataclass(frozen=True)
class RateLimit:
    """A quota, e.g. `RateLimit("1800/min")`. Calls are spaced evenly; there are no bursts.

    Attributes:
        rate: A number, `/` and one of `s`, `min`, `h`, `day`.
        per: What is counted: every `call`, or the billing `unit`s of a call.
    """

    rate: str
    per: Per = "call"
    per_s: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what is no rate."""
        found = re.fullmatch(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*/\s*([a-z]+)\s*", str(self.rate))
        number = float(found[1].replace(",", "").replace("_", "")) if found else 0.0
        if found is None or found[2] not in _PERIODS_S or number <= 0:
            raise ConfigError(
                f"rate limit {self.rate!r}: write a number, '/' and one of "
                f"{', '.join(_PERIODS_S)}, e.g. '1800/min'"
            )
        if self.per not in get_args(Per):
            raise ConfigError(f"RateLimit(per={self.per!r}): it is 'call' or 'unit'")
        object.__setattr__(self, "per_s", number / _PERIODS_S[found[2]])

    def seconds(self, calls: float, units: float) -> float:
        """How long so much takes at this rate, at least."""
        return (calls if self.per == "call" else units) / self.per_s

    def __str__(self) -> str:
        return self.rate if self.per == "call" else f"{self.rate} units"


def as_rate_limit(limit: RateLimit | str | None) -> RateLimit | None:
    """A bare text is a limit on calls."""
    return RateLimit(limit) if isinstance(limit, str) else limit


class Limiter:
    """Gives calls their turn, first come first served; slows down when a server says 429.

    Without a declared limit it does nothing until the first 429; then it takes the pace so far for
    the limit, until it has been at full pace again.

    Args:
        limit: The declared rate; None = none is.
        stop: Ends the waits.
    """

    def __init__(self, limit: RateLimit | None, stop: clock.Stop) -> None:
        self._limit = limit
        self._stop = stop
        self._per_s = limit.per_s if limit else 0.0
        self._lock = threading.Lock()
        self._next = 0.0
        self._pace = 1.0
        self._adapted_at = 0.0
        self._first_at: float | None = None
        self._seen = 0

    @property
    def pace(self) -> float:
        """Share of the full rate that is used now, 0 to 1."""
        return self._pace

    def wait(self, units: int) -> None:
        """Wait for the turn of a call.

        Raises:
            Stopped: The run ended first.
        """
        if not self._per_s:
            self._seen += 1
            if self._first_at is None:
                self._first_at = clock.now()
            return
        weight = units if self._limit is not None and self._limit.per == "unit" else 1
        with self._lock:
            now = clock.now()
            self._recover(now)
            at = max(now, self._next)
            if self._per_s:
                self._next = at + weight / (self._per_s * self._pace)
        self._stop.wait_until(at)

    def throttled(self) -> None:
        """Learn that the server found it too much."""
        with self._lock:
            now = clock.now()
            if not self._per_s and self._first_at is not None:
                self._per_s = self._seen / max(now - self._first_at, _STEP_S)
            if self._pace == 1.0 or now - self._adapted_at >= _STEP_S:
                self._pace = max(self._pace * _DECREASE, _LEAST_PACE)
                self._adapted_at = now

    def _recover(self, now: float) -> None:
        steps = (now - self._adapted_at) / _STEP_S
        if self._pace == 1.0 or steps < 1:
            return
        self._pace = min(1.0, self._pace + _INCREASE * steps)
        self._adapted_at = now
        if self._pace == 1.0 and self._limit is None:
            self._per_s, self._seen, self._first_at = 0.0, 0, now


class Meter:
    """Counts what a run's calls use, and stops it before it uses more than it may.

    Args:
        max_calls: Calls, retries included; None = no bound.
        max_cost: Money, in the currency of the price; None = no bound.
        price_per_unit: Money a unit; None = not known.
        currency: For messages.

    Attributes:
        calls: Calls made so far, retries included.
        retries: Those among them that were repeats.
        units: Billing units of all of them.
    """

    def __init__(
        self,
        max_calls: int | None = None,
        max_cost: float | None = None,
        price_per_unit: float | None = None,
        currency: str = "USD",
    ) -> None:
        self._max_calls = max_calls
        self._max_cost = max_cost
        self._price = price_per_unit
        self._currency = currency
        self._lock = threading.Lock()
        self.calls = 0
        self.retries = 0
        self.units = 0

    @property
    def cost(self) -> float | None:
        """What the units cost at the declared price; None = none is declared."""
        return None if self._price is None else round(self.units * self._price, 6)

    def take(self, units: int, *, is_retry: bool) -> None:
        """Count a call that is about to be made.

        Raises:
            CapReachedError: It would be one too many. Nothing is counted then.
        """
        with self._lock:
            if self._max_calls is not None and self.calls >= self._max_calls:
                raise CapReachedError(
                    f"max_calls={self._max_calls:,} is reached: the run stops before its next "
                    "call. What is settled is kept; raise the cap, or go on with --resume"
                )
            if self._max_cost is not None and self._price is not None:
                cost = (self.units + units) * self._price
                if cost > self._max_cost * (1 + 1e-9):  # 3 units at 0.1 are 0.30000000000000004
                    raise CapReachedError(
                        f"max_cost={self._max_cost:,} {self._currency} would be passed: "
                        f"{self.units:,} units are used, the next call takes {units:,} more at "
                        f"{self._price} {self._currency}. The run stops before it. What is settled "
                        "is kept; raise the cap, or go on with --resume"
                    )
            self.calls += 1
            self.units += units
            self.retries += is_retry
