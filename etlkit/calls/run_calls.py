"""`Calls`: what all calls of one run share; and `caller`, which finds the run's for a service."""

from __future__ import annotations

import threading
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

from etlkit.calls import clock
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.caller import Caller
from etlkit.calls.limits import Meter, RateLimit
from etlkit.calls.recording import Recording
from etlkit.calls.waits import Waits

if TYPE_CHECKING:
    from etlkit.calls.shared import SharedCalls
    from etlkit.calls.times import Times

_current: ContextVar[Calls | None] = ContextVar("etlkit_calls", default=None)


class Calls:
    """What all calls of one run share: caps, counts, limits, and the stop.

    Args:
        policy: The job's policy; None = it has none.
        rate_limit: For each service; None = not declared.
        meter: Counts and caps; None = only counts.
        shared: What the runs of one workflow share; None = nothing.
        waits: Where waits are recorded; None = a record of its own.
        times: Where durations are recorded; None = nobody asks for them.
        recording: Answers of another run of the same rows; None = every call is made.

    Attributes:
        meter: What was used so far.
        policy: As given.
        rate_limit: As given.
        stopping: Set when the run ends.
        shared: As given.
        waits: What calls wait for now.
        times: As given.
        recording: As given.
    """

    def __init__(
        self,
        policy: RetryPolicy | None = None,
        rate_limit: RateLimit | None = None,
        meter: Meter | None = None,
        shared: SharedCalls | None = None,
        waits: Waits | None = None,
        times: Times | None = None,
        recording: Recording | None = None,
    ) -> None:
        self.meter: Meter = meter or Meter()
        self.policy = policy
        self.rate_limit = rate_limit
        self.stopping: clock.Stop = clock.Stop()
        self.shared = shared
        self.waits: Waits = waits or Waits()
        self.times = times
        self.recording: Recording | None = recording
        self._lock = threading.Lock()
        self._callers: dict[str, Caller] = {}
        self._parts: list[Calls] = []

    def part(self, policy: RetryPolicy | None, rate_limit: RateLimit | None) -> Calls:
        """Calls of the same run with a policy and a rate of their own, past the job's caps.

        They end when these end, or by themselves, and are counted here, too.

        Args:
            policy: None = this one's.
            rate_limit: None = this one's.
        """
        meter = Meter(total=self.meter)
        made = Calls(
            policy or self.policy,
            rate_limit or self.rate_limit,
            meter,
            shared=self.shared,
            waits=self.waits,
            times=self.times,
            recording=self.recording,
        )
        with self._lock:
            self._parts.append(made)
        if self.stopping.is_set:
            made.stop()
        return made

    def caller(self, service: str, policy: RetryPolicy | None = None) -> Caller:
        """The caller of a service.

        Args:
            service: The service's name.
            policy: Used if the job has none and the caller does not exist yet; None = the defaults.
        """
        found = self._callers.get(service)
        if found is not None:
            return found
        with self._lock:
            if service not in self._callers:
                chosen = self.policy or policy or RetryPolicy()
                self._callers[service] = Caller(service, chosen, self)
            return self._callers[service]

    def stop(self) -> None:
        """End all waits, now and later: the run ends."""
        self.stopping.set()
        with self._lock:
            parts = list(self._parts)
        for part in parts:
            part.stop()

    def enter(self) -> Token[Calls | None]:
        """Make these the calls of the current thread or task, until `leave`."""
        return _current.set(self)

    @staticmethod
    def leave(token: Token[Calls | None]) -> None:
        """Restore what was current before `enter`."""
        _current.reset(token)


_process = Calls()


def caller(service: str, policy: RetryPolicy | None = None) -> Caller:
    """The current run's caller of a service, which its threads share.

    Outside of a run, the process has one caller per service.

    Args:
        service: The service's name.
        policy: Used if the job has none and the caller does not exist yet; None = the defaults.
    """
    return (_current.get() or _process).caller(service, policy)


def running_caller(service: str, policy: RetryPolicy | None = None) -> Caller | None:
    """The caller of the run that this thread works for; None = it works for no run."""
    calls = _current.get()
    return None if calls is None else calls.caller(service, policy)
