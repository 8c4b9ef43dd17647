"""The health of one service, shared by all threads of a run: the breaker and the retry budget."""

from __future__ import annotations

import logging
import math
import random
import threading
from collections.abc import Callable, Generator
from functools import cached_property

from etlkit.calls import clock
from etlkit.calls.waits import Pause
from etlkit.calls.wakers import ThreadWaker, Waker
from etlkit.errors import OutageError, RetryableError
from etlkit.telemetry.call_watch import CallWatch

log: logging.Logger = logging.getLogger("etlkit")

_OPEN_AFTER = 10
"""Failures in a row, of all threads together. If one call in five fails, ten in a row happen once in
ten million calls."""

_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 5.0
"""At most this many seconds pass until a service that is back is noticed."""

_TOLD_FROM_S = 2.0
"""A shorter pause is told only if the service still fails after it: or the messages would flap."""

_SERVICE_STATUS = frozenset({429, 503})
_SERVICE_CODES = frozenset({"unreachable", "unknown_host"})
"""These mean that the service is down or busy, even if only one call met them. Everything else (500, a
timeout, a reset) may be caused by one poisonous row."""

_THROTTLED = 429
"""This is said to a row, whose call is parked, or to all, whom the limiter slows down. Only when a call
has used up its attempts, and none was answered meanwhile, it means that the service is down."""

_CONTRADICTED = 2

_BUDGET_SHARE = 0.2
_BUDGET_FLOOR = 20.0
_BUDGET_MAX = 100.0
_BUDGET_PER_S = 2.0
_BUDGET_LOOK_S = 0.05


class CallState:
    """The state of one call over all its attempts.

    Attributes:
        units: Billing units of each attempt.
        made: Attempts made, including those that test whether the service is back.
        counted: Attempts that count towards `max_attempts`.
        spent_s: Seconds in attempts and in the waits between them; pauses do not count.
        begun_at: When the first attempt began, or when the last one failed.
        contradicted: Failures while other calls were answered.
        watch: Tells telemetry of it; None = nobody watches.
    """

    def __init__(
        self,
        units: int,
        make_waker: Callable[[], Waker] = ThreadWaker,
        watch: CallWatch | None = None,
    ) -> None:
        self.units = units
        self.watch = watch
        self._make_waker = make_waker
        self.made = 0
        self.counted = 0
        self.spent_s: float = 0.0
        self.begun_at: float = 0.0
        self.contradicted = 0

    @cached_property
    def waker(self) -> Waker:
        """Wakes the thread or task that makes the call; most calls need none."""
        return self._make_waker()

    @property
    def is_suspect(self) -> bool:
        """Whether the row is probably the cause. A single such failure may be chance."""
        return self.contradicted >= _CONTRADICTED


class Breaker:
    """Pauses all callers while a service is down, and lets one call at a time test whether it is back.

    A pause does not count as an attempt: an outage costs time, not rows.

    Of a run that several processes share, one process tests the service, and the others wait for its
    word.

    Args:
        service: The service's name, for messages.
        max_outage_s: The run ends when an outage takes longer.

    Attributes:
        on_change: Called when `is_down` may have changed, with a lock held.
    """

    def __init__(self, service: str, max_outage_s: float) -> None:
        self._service = service
        self._max_outage_s = max_outage_s
        self._lock = threading.Lock()
        self._waiting: dict[CallState, None] = {}
        self._failures = 0
        self._first_failing: CallState | None = None
        self._several_failing = False
        self._last_success = 0.0
        self._open_since: float | None = None
        self._last_error: RetryableError | None = None
        self._probing: CallState | None = None
        self._probe_at = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._is_told = False
        self._is_tested_elsewhere = False
        self.on_change: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        """Whether callers are paused."""
        return self._open_since is not None

    @property
    def is_down(self) -> bool:
        """Whether the service failed here also when it was tested, or asks for a long pause."""
        return self._open_since is not None and self._is_told

    @property
    def is_tested_elsewhere(self) -> bool:
        """Whether callers wait for the word of another process."""
        return self._is_tested_elsewhere

    def others_say_down(self, ago_s: float) -> None:
        """Wait for the word of another process, which tests the service, if it is down here, too.

        A call that was answered since that process said so tells more: its own network may be what is
        down. If none was, the next call here finds out; others wait for it.

        Args:
            ago_s: How long ago the other process said so, in seconds.
        """
        with self._lock:
            now = clock.now()
            if self._is_tested_elsewhere or self._last_success > now - ago_s:
                return
            self._is_tested_elsewhere = True
            if self._open_since is None:
                self._open_since, self._probe_at = now, now
            else:
                self._probe_at = math.inf

    def others_are_silent(self) -> None:
        """Test the service here: the other process says that it is back, or nothing any more."""
        with self._lock:
            if self._is_tested_elsewhere:
                self._is_tested_elsewhere = False
                self._pause_s, self._probe_at = _FIRST_PAUSE_S, clock.now()
                self._wake_first()

    def admit(self, call: CallState) -> Generator[Pause, None, bool]:
        """Wait until a call may be made. A pause ends early when `call.waker` is woken.

        Returns:
            Whether it is the call that tests whether the service is back.

        Raises:
            OutageError: The service was down for longer than `max_outage_s`.
        """
        with self._lock:
            self._waiting[call] = None
        try:
            while True:
                with self._lock:
                    if self._open_since is None:
                        return False
                    self._refuse_long_outage(self._open_since, call)
                    pause = Pause("down")
                    if self._probing is None and next(iter(self._waiting)) is call:
                        if clock.now() >= self._probe_at:
                            self._probing = call
                            return True
                        pause = Pause("down", self._probe_at)
                yield pause
        finally:
            with self._lock:
                del self._waiting[call]
                self._wake_first()

    def _wake_first(self) -> None:
        """Only the call that is next has something to do: thousands may wait."""
        for call in self._waiting:
            call.waker.wake()
            break

    def abandoned(self, call: CallState) -> None:
        """Record an attempt that says nothing about the service: another call may test it."""
        if self._probing is call:
            with self._lock:
                self._probing = None
                self._wake_first()

    def succeeded(self) -> None:
        """Record a call that was answered: the service works."""
        self._last_success = clock.now()
        if self._failures or self._open_since is not None:
            with self._lock:
                if self._is_told:
                    down_s = self._last_success - (self._open_since or self._last_success)
                    log.info("%s is back after %.0f s", self._service, max(down_s, 0.0))
                self._is_told = self._is_tested_elsewhere = False
                self._failures, self._first_failing, self._several_failing = 0, None, False
                self._open_since, self._probing, self._pause_s = None, None, _FIRST_PAUSE_S
                for call in self._waiting:
                    call.waker.wake()
                self.on_change()

    def failed(self, call: CallState, error: RetryableError, hint_s: float) -> None:
        """Record a failure that the service may have caused."""
        with self._lock:
            call.contradicted += self._last_success > call.begun_at
            call.begun_at = clock.now()
            if not call.is_suspect:
                self._failures += 1
                self._last_error = error
                self._first_failing = self._first_failing or call
                self._several_failing = self._several_failing or call is not self._first_failing
            if self._open_since is None:
                if (
                    self._failures >= _OPEN_AFTER
                    and error.status != _THROTTLED
                    and (self._several_failing or _means_the_service(error))
                ):
                    self._open(hint_s)
            elif self._probing is call:
                self._probing = None
                self._pause_s = min(self._pause_s * 2, _MAX_PAUSE_S)
                self._set_probe(hint_s)
                self._tell()
                self._wake_first()

    def blames_service(self, call: CallState, error: RetryableError, hint_s: float) -> bool:
        """Decide whether the service made a call use up its attempts; if so, open the breaker.

        If other calls were answered meanwhile, it was the row. If others failed as well, or the error
        says that the service is down, it was the service. If nothing else is known, it was the row,
        and the next one will show.
        """
        with self._lock:
            if call.is_suspect:
                return False
            if self._open_since is not None or not self._failures:
                return (
                    True  # paused; or another call was answered just now, which proves nothing yet
                )
            if not (self._several_failing or _means_the_service(error)):
                return False
            self._open(hint_s)
            return True

    def _open(self, hint_s: float) -> None:
        self._open_since = clock.now()
        self._set_probe(hint_s)
        if self._probe_at - self._open_since >= _TOLD_FROM_S:
            self._tell()

    def _tell(self) -> None:
        """Say once that calls pause. A pause that the first test ends is over before it is read."""
        if not self._is_told:
            self._is_told = True
            self.on_change()
            log.warning(
                "%s fails (%s): calls pause until it is back, for at most %.0f s",
                self._service,
                self._last_error,
                self._max_outage_s,
            )

    def _set_probe(self, hint_s: float) -> None:
        jitter = random.uniform(0.75, 1.0)  # noqa: S311 - no secret  # nosec B311
        self._probe_at = clock.now() + max(self._pause_s * jitter, hint_s)
        if self._is_tested_elsewhere:
            self._probe_at = math.inf

    def _refuse_long_outage(self, since: float, call: CallState) -> None:
        down_s, last = clock.now() - since, self._last_error
        if down_s > self._max_outage_s and last is not None:
            raise OutageError(
                f"{self._service} has failed for {down_s:,.0f} s, longer than max_outage_s="
                f"{self._max_outage_s:,.0f} of the job's retry policy. Last: {last}",
                retry_after_s=last.retry_after_s,
                status=last.status,
                code=last.code,
                attempts=call.made,
            )


class RetryBudget:
    """Limits retries to one in five recent calls, beyond a floor: they must not add to an overload.

    The floor is one retry for each call that is under way, and at least 20: where thousands of calls
    fail at the same moment, they would wait for minutes otherwise when there are no more new ones.

    Processes that share a run have a part of the floor each, one retry at least.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._part = 1.0
        self._floor = self._tokens = _BUDGET_FLOOR
        self._num_calls = 0
        self._at = clock.now()
        self._num_waiting = 0

    def set_part(self, part: float) -> None:
        """Set the part of all processes' retries that this one may make, from 0 to 1."""
        with self._lock:
            self._part = part
            self._floor = max(_BUDGET_FLOOR * part, 1.0, float(self._num_calls))
            self._tokens = min(self._tokens, self._floor)

    def begin(self) -> None:
        """Record a call that begins, with all its attempts."""
        self._num_calls += 1
        if self._num_calls > self._floor:
            with self._lock:
                self._floor += 1
                self._tokens += 1

    def end(self) -> None:
        """Record that a call is over."""
        self._num_calls -= 1

    def earn(self) -> None:
        """Record an attempt."""
        with self._lock:
            most = max(_BUDGET_MAX * self._part, self._floor)
            self._tokens = min(self._tokens + _BUDGET_SHARE, most)

    def spend(self) -> Generator[Pause, None, None]:
        """Wait until a retry may be made."""
        if self._take():
            return
        self._num_waiting += 1
        try:
            while not self._take():
                # Thousands of tasks that all look every 50 ms would do nothing else.
                look_s = _BUDGET_LOOK_S * max(1.0, self._num_waiting / _BUDGET_FLOOR)
                yield Pause("retry", clock.now() + look_s)
        finally:
            self._num_waiting -= 1

    def _take(self) -> bool:
        with self._lock:
            now = clock.now()
            earned = (now - self._at) * _BUDGET_PER_S * self._part
            self._at = now
            # Time refills only up to the floor: an idle hour does not allow a storm of retries.
            self._tokens = max(self._tokens, min(self._tokens + earned, self._floor))
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def _means_the_service(error: RetryableError) -> bool:
    return error.status in _SERVICE_STATUS or error.code in _SERVICE_CODES
