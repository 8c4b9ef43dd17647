"""How much a run may use: calls per minute, calls in all, money. Retries count, too."""

from __future__ import annotations

import math
import re
import threading
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from etlkit.calls import clock
from etlkit.calls.worker import WorkerKey, worker_key
from etlkit.errors import CapReachedError, ConfigError

Per = Literal["call", "unit"]

_PERIODS_S = {"s": 1, "min": 60, "h": 3600, "day": 86_400}
_STEP_S = 1.0
"""The rate adapts at most once a second: many calls in flight report the same overload."""

_MEASURED_S = 10.0
_FEW = 10
_TOLERATED = 0.3
"""Services refuse single calls for their own reasons, below every quota. Slowing all calls down for
each of them would make a run crawl, and just as many would be refused."""

_INCREASE = 0.1
_LEAST_PER_S = 0.1


@dataclass(frozen=True)
class RateLimit:
    """A quota, e.g. `RateLimit("1800/min")`. Calls are spaced evenly, without bursts.

    Attributes:
        rate: A number, `/` and one of `s`, `min`, `h`, `day`.
        per: What is counted: each `call`, or the billing `unit`s of a call.
    """

    rate: str
    per: Per = "call"
    per_s: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise if the rate cannot be read.

        Raises:
            ConfigError: With an example.
        """
        found = re.fullmatch(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*/\s*([a-z]+)\s*", str(self.rate))
        number = float(found[1].replace(",", "").replace("_", "")) if found else 0.0
        if found is None or found[2] not in _PERIODS_S or number <= 0:
            raise ConfigError(
                f"rate limit {self.rate!r}: write a number, '/' and one of "
                f"{', '.join(_PERIODS_S)}, e.g. '1800/min'"
            )
        if self.per not in get_args(Per):
            raise ConfigError(f"RateLimit(per={self.per!r}): use 'call' or 'unit'")
        object.__setattr__(self, "per_s", number / _PERIODS_S[found[2]])

    def seconds(self, calls: float, units: float) -> float:
        """The least seconds that this many calls or units take."""
        return (calls if self.per == "call" else units) / self.per_s

    def __str__(self) -> str:
        return self.rate if self.per == "call" else f"{self.rate} units"


def as_rate_limit(limit: RateLimit | str | None) -> RateLimit | None:
    """Convert the text form, which limits calls."""
    return RateLimit(limit) if isinstance(limit, str) else limit


class Limiter:
    """Lets calls through, first come first served; slows down when the service answers 429 often.

    A few 429s only delay the calls that met them. If more than the share `_TOLERATED` of the calls is
    refused, the rate of all calls drops to what the server accepted, and then grows again by
    `_INCREASE` per second.

    Args:
        limit: The declared rate; None = unlimited until the service answers 429 often.
        stop: Ends the waits.
    """

    def __init__(self, limit: RateLimit | None, stop: clock.Stop) -> None:
        self._weighs_units = limit is not None and limit.per == "unit"
        self._stop = stop
        self._full_per_s = limit.per_s if limit else math.inf
        self._per_s = self._full_per_s
        self._lock = threading.Lock()
        self._next = 0.0
        self._weight = 1.0
        self._rest = 0.0
        self._grown_at = 0.0
        self._since = clock.now()
        self._sent = 0.0
        self._refused = 0.0

    @property
    def per_s(self) -> float:
        """Calls or units per second; infinity = unlimited."""
        return self._per_s

    @property
    def full_per_s(self) -> float:
        """The declared rate, as it is now; infinity = none is declared."""
        return self._full_per_s

    def set_rate(self, per_s: float) -> None:
        """Change the declared rate. Turns that have not come yet are void: who waits takes another.

        What the service has refused lately goes on to count.

        Args:
            per_s: Calls or units per second; 0 = no call comes through for now.
        """
        with self._lock:
            now = clock.now()
            if self._per_s:  # what the first turn still lacks; those behind it are a weight apart
                self._rest = max(0.0, (self._next - now) * self._per_s) % self._weight
            was_full = self._per_s >= self._full_per_s
            self._full_per_s = per_s
            self._per_s = per_s if was_full else min(self._per_s, per_s)
            if self._per_s:
                self._next = now + self._rest / self._per_s

    def wait(self, units: int, stop: clock.Stop | None = None) -> None:
        """Wait until a call may be made.

        Args:
            units: Of the call.
            stop: Ends the wait; None = the limiter's own.

        Raises:
            Stopped: The run ended first.
        """
        (stop or self._stop).wait_until(self.reserve(units))

    def reserve(self, units: int) -> float:
        """Take the next turn for a call.

        Args:
            units: Of the call.

        Returns:
            When it comes, as `clock.now` counts; 0 = at once, infinity = not before the rate changes.
        """
        weight = units if self._weighs_units else 1
        with self._lock:
            if not self._per_s:
                return math.inf
            now = clock.now()
            if self._per_s != self._full_per_s:
                self._grow(now)
            if now - self._since > _MEASURED_S:
                self._forget(now)
            self._sent += weight
            if self._per_s == math.inf:
                return 0.0
            at = max(now, self._next)
            self._next = at + weight / self._per_s
            self._weight = weight
            return at

    def throttled(self, units: int) -> None:
        """Record that the server answered 429."""
        with self._lock:
            now = clock.now()
            self._refused += units if self._weighs_units else 1
            if not self._per_s:
                return
            measured_s = now - self._since
            if (
                measured_s < _STEP_S
                or self._sent < _FEW
                or self._refused <= self._sent * _TOLERATED
            ):
                return
            taken_per_s = max(self._sent - self._refused, 0.0) / measured_s
            at_most = min(self._per_s, self._sent / measured_s)
            slower = max(min(taken_per_s or at_most / 2, at_most), _LEAST_PER_S)
            self._per_s = min(slower, self._full_per_s)
            self._grown_at = self._since = now
            self._sent = self._refused = 0.0

    def _grow(self, now: float) -> None:
        steps = (now - self._grown_at) // _STEP_S
        if steps < 1:
            return
        self._per_s = min(self._full_per_s, self._per_s * (1 + _INCREASE) ** steps)
        self._grown_at = now
        is_idle = self._sent * 2 < self._per_s * max(now - self._since, _STEP_S)
        if self._full_per_s == math.inf and is_idle and now - self._since >= _STEP_S:
            self._per_s = math.inf  # there are far fewer calls than the rate allows

    def _forget(self, now: float) -> None:
        """Forget most of what is older than ten seconds."""
        self._since = now - _MEASURED_S / 2
        self._sent /= 2
        self._refused /= 2


class SharedCaps(Protocol):
    """Caps on the calls of several runs. See `etlkit.calls.shared.SharedCalls`."""

    @property
    def is_capped(self) -> bool:
        """Whether there is a cap at all."""

    def take(self, cost: float, /) -> bool:
        """Count a call that is about to be made, or raise `CapReachedError`; False = not known yet."""


class Meter:
    """Counts what a run's calls use, and stops the run before it uses more than it may.

    Args:
        max_calls: Calls, retries included; None = no limit.
        max_cost: Money, in the currency of the price; None = no limit.
        price_per_unit: Money per unit; None = not known.
        currency: For messages.
        total: Counts the calls as well, but not their units, and without its caps; None = nobody.

    Attributes:
        calls: Calls made so far, retries included.
        retries: How many of them were retries.
        units: Billing units of all of them.
    """

    def __init__(
        self,
        max_calls: int | None = None,
        max_cost: float | None = None,
        price_per_unit: float | None = None,
        currency: str = "USD",
        total: Meter | None = None,
        shared: SharedCaps | None = None,
    ) -> None:
        self._total = total
        self._shared = shared
        self._max_calls = max_calls
        self._max_cost = max_cost
        self._price = price_per_unit
        self._currency = currency
        self._lock = threading.Lock()
        self.calls: int = 0
        self.retries: int = 0
        self.units: int = 0
        self._refused: dict[WorkerKey, CapReachedError] = {}

    @property
    def cost(self) -> float | None:
        """What the units cost at the declared price; None = no price is declared."""
        return None if self._price is None else round(self.units * self._price, 6)

    def take(self, units: int, *, is_retry: bool) -> bool:
        """Count a call that is about to be made.

        Returns:
            Whether it is counted. If not, it is not known yet whether it may be made.

        Raises:
            CapReachedError: The call would exceed a cap. It is not counted then.
        """
        with self._lock:
            try:
                self._check_caps(units)
                if self._shared is not None and not self._shared.take(self.cost_of(units)):
                    return False
            except CapReachedError as error:
                self._refused[worker_key()] = error
                raise
            self.calls += 1
            self.units += units
            self.retries += is_retry
        if self._total is not None:
            self._total.add(is_retry=is_retry)
        return True

    def cost_of(self, units: int) -> float:
        """What units cost at the declared price; 0 if none is declared."""
        return units * (self._price or 0.0)

    def add(self, *, is_retry: bool) -> None:
        """Count a call that no cap concerns."""
        with self._lock:
            self.calls += 1
            self.retries += is_retry

    def add_many(self, calls: int, retries: int, units: int) -> None:
        """Count calls that another process has made."""
        with self._lock:
            self.calls += calls
            self.retries += retries
            self.units += units

    @property
    def is_capped(self) -> bool:
        """Whether there is a cap at all."""
        is_shared = self._shared is not None and self._shared.is_capped
        return is_shared or self._max_calls is not None or self._max_cost is not None

    def check(self) -> None:
        """Raise the current worker's `CapReachedError` again: a transform may have caught it.

        Raises:
            CapReachedError: A call of this worker was refused.
        """
        if self._refused and (error := self._refused.get(worker_key())) is not None:
            raise error

    def _check_caps(self, units: int) -> None:
        if self._max_calls is not None and self.calls >= self._max_calls:
            raise CapReachedError(
                f"max_calls={self._max_calls:,} is reached: the run stops before its next call. "
                "Finished rows are kept; raise the cap and continue with --resume"
            )
        if self._max_cost is None or self._price is None:
            return
        cost = (self.units + units) * self._price
        if cost <= self._max_cost * (1 + 1e-9):  # 3 units at 0.1 are 0.30000000000000004
            return
        raise CapReachedError(
            f"max_cost={self._max_cost:,} {self._currency} would be exceeded: {self.units:,} units "
            f"are used, the next call takes {units:,} more at {self._price} {self._currency}. The "
            "run stops before it. Finished rows are kept; raise the cap and continue with --resume"
        )
