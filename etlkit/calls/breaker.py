"""One service's health as all threads of a run see it: the breaker and the retry budget."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque

from etlkit.calls import clock
from etlkit.errors import OutageError, RetryableError

log = logging.getLogger("etlkit")

_OPEN_AFTER = 10
"""Failures in a row, of all threads together. At one failed call in five, ten in a row come once in
ten million calls."""

_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 5.0
"""A service that is back is noticed so many seconds later, at most."""

_LONE_STATUS = frozenset({429, 503})
_LONE_CODES = frozenset({"unreachable", "unknown_host"})
"""These say that the service is down or busy, even if only one call has met them. Everything else
(500, a timeout, a reset) may as well be the fault of one poisonous row."""

_CONTRADICTED = 2

_BUDGET_SHARE = 0.2
_BUDGET_FLOOR = 20.0
_BUDGET_MAX = 100.0
_BUDGET_PER_S = 2.0
_BUDGET_LOOK_S = 0.05


class Attempts:
    """What one call has used so far.

    Attributes:
        units: Billing units of each attempt.
        made: Attempts made, those of pauses included.
        counted: Attempts that count against the policy's bound.
        spent_s: Seconds in attempts and waits between them; pauses do not count.
        begun_at: When the first attempt began, or the last one failed.
        contradicted: Failures while other calls were answered.
    """

    __slots__ = ("begun_at", "contradicted", "counted", "made", "spent_s", "units")

    def __init__(self, units: int) -> None:
        self.units = units
        self.made = 0
        self.counted = 0
        self.spent_s = 0.0
        self.begun_at = 0.0
        self.contradicted = 0

    @property
    def is_suspect(self) -> bool:
        """Likely the row's own fault; one such failure may be chance, or an outage's begin."""
        return self.contradicted >= _CONTRADICTED


class Breaker:
    """Pauses all callers while a service is down, and lets one call at a time try whether it is back.

    A pause is no attempt: an outage costs time, not rows.

    Args:
        service: Its name, for messages.
        max_outage_s: A longer outage ends the run.
        stop: Ends the waits.
    """

    def __init__(self, service: str, max_outage_s: float, stop: clock.Stop) -> None:
        self._service = service
        self._max_outage_s = max_outage_s
        self._stop = stop
        self._turn = threading.Condition()
        self._waiting: deque[Attempts] = deque()
        self._failures = 0
        self._first: Attempts | None = None
        self._several = False
        self._last_success = 0.0
        self._open_since: float | None = None
        self._last_error: RetryableError | None = None
        self._probing: Attempts | None = None
        self._probe_at = 0.0
        self._pause_s = _FIRST_PAUSE_S

    @property
    def is_open(self) -> bool:
        """Whether callers are paused."""
        return self._open_since is not None

    def admit(self, call: Attempts) -> bool:
        """Wait until a call may be made.

        Returns:
            Whether it tries for all whether the service is back.

        Raises:
            OutageError: The service was down for longer than `max_outage_s`.
            Stopped: The run ended first.
        """
        if self._open_since is None:
            return False
        with self._turn:
            self._waiting.append(call)
            try:
                while (since := self._open_since) is not None:
                    self._stop.check()
                    self._refuse_long_outage(since, call)
                    if self._probing is None and self._waiting[0] is call:
                        if clock.now() >= self._probe_at or clock.skip_to(self._probe_at):
                            self._probing = call
                            return True
                        self._turn.wait(self._probe_at - clock.now())
                    else:
                        self._turn.wait()
                return False
            finally:
                self._waiting.remove(call)
                self._turn.notify_all()

    def wake(self) -> None:
        """Let the waiting look whether the run is ending."""
        with self._turn:
            self._turn.notify_all()

    def left(self, call: Attempts) -> None:
        """An attempt ended without saying anything of the service: another one may try."""
        if self._probing is call:
            with self._turn:
                self._probing = None
                self._turn.notify_all()

    def succeeded(self) -> None:
        """A call was answered: the service is well."""
        self._last_success = clock.now()
        if self._failures or self._open_since is not None:
            with self._turn:
                if self._open_since is not None:
                    down_s = self._last_success - self._open_since
                    log.info("%s is back after %.0f s", self._service, down_s)
                self._failures, self._first, self._several = 0, None, False
                self._open_since, self._probing, self._pause_s = None, None, _FIRST_PAUSE_S
                self._turn.notify_all()

    def failed(self, call: Attempts, error: RetryableError, hint_s: float) -> None:
        """A call failed in a way that may be the service's fault."""
        with self._turn:
            call.contradicted += self._last_success > call.begun_at
            call.begun_at = clock.now()
            if not call.is_suspect:
                self._failures += 1
                self._last_error = error
                self._first = self._first or call
                self._several = self._several or call is not self._first
            if self._open_since is None:
                if self._failures >= _OPEN_AFTER and (self._several or _speaks_for_all(error)):
                    self._open(hint_s)
            elif self._probing is call:
                self._probing = None
                self._pause_s = min(self._pause_s * 2, _MAX_PAUSE_S)
                self._set_probe(hint_s)
                self._turn.notify_all()

    def blames_service(self, call: Attempts, error: RetryableError, hint_s: float) -> bool:
        """Judge a call whose attempts are used up; opens the breaker if the service is to blame.

        Others were answered meanwhile: it is the row. Others failed as well, or the error speaks for
        all: it is the service. Nothing else is known: it is the row, and the next one will tell.
        """
        with self._turn:
            if call.is_suspect:
                return False
            if self._open_since is not None or not self._failures:
                return True  # it pauses; or somebody was answered just now, which is no proof yet
            if not (self._several or _speaks_for_all(error)):
                return False
            self._open(hint_s)
            return True

    def _open(self, hint_s: float) -> None:
        self._open_since = clock.now()
        self._set_probe(hint_s)
        log.warning(
            "%s fails (%s): calls pause until it is back, for %.0f s at most",
            self._service,
            self._last_error,
            self._max_outage_s,
        )

    def _set_probe(self, hint_s: float) -> None:
        jitter = random.uniform(0.75, 1.0)  # noqa: S311 - no secret
        self._probe_at = clock.now() + max(self._pause_s * jitter, hint_s)

    def _refuse_long_outage(self, since: float, call: Attempts) -> None:
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
    """Keeps retries at one in five recent calls, beyond a floor: a sick service is not beaten down.

    Args:
        stop: Ends the waits.
    """

    def __init__(self, stop: clock.Stop) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self._tokens = _BUDGET_FLOOR
        self._at = clock.now()

    def earn(self) -> None:
        """A call was made."""
        with self._lock:
            self._tokens = min(self._tokens + _BUDGET_SHARE, _BUDGET_MAX)

    def spend(self) -> None:
        """Wait until a retry may be made.

        Raises:
            Stopped: The run ended first.
        """
        while not self._take():
            self._stop.wait_until(clock.now() + _BUDGET_LOOK_S)

    def _take(self) -> bool:
        with self._lock:
            now = clock.now()
            earned = (now - self._at) * _BUDGET_PER_S
            self._at = now
            # Time refills the floor alone: an idle hour is no licence for a storm of retries.
            self._tokens = max(self._tokens, min(self._tokens + earned, _BUDGET_FLOOR))
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def _speaks_for_all(error: RetryableError) -> bool:
    return error.status in _LONE_STATUS or error.code in _LONE_CODES
