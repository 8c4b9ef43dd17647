"""`Caller`: the calls to one service, each of which is retried by the one retry rule."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from etlkit.calls import clock
from etlkit.calls.backoff import RetryPolicy, is_repeated
from etlkit.calls.breaker import Breaker, CallState, RetryBudget
from etlkit.calls.classify import is_transient
from etlkit.calls.limits import Limiter
from etlkit.calls.recording import Recording
from etlkit.calls.times import count_call
from etlkit.calls.waits import PARKED, Pause
from etlkit.calls.wakers import TaskWaker, ThreadWaker
from etlkit.calls.worker import Worker, current_worker
from etlkit.errors import (
    ApiError,
    CallFailedError,
    RetryableError,
    RowError,
)
from etlkit.telemetry.call_watch import CallSpans, end_watch, watch_call

if TYPE_CHECKING:
    from etlkit.calls.limits import Meter, RateLimit
    from etlkit.calls.shared import SharedCalls
    from etlkit.calls.times import Times
    from etlkit.calls.waits import Waits

T = TypeVar("T")

_THROTTLED = 429


class _Due(Enum):
    """What a call does next, beside a `Pause`."""

    SLOT = auto()
    """Take a slot again, if it was given to another row during a pause."""

    ATTEMPT = auto()


_SLOT: Final = _Due.SLOT
_ATTEMPT: Final = _Due.ATTEMPT

_NOBODY: Final = Worker()


class InCommon(Protocol):
    """What the callers of a run have in common; see `etlkit.calls.run_calls.Calls`."""

    meter: Meter
    rate_limit: RateLimit | None
    stopping: clock.Stop
    shared: SharedCalls | None
    waits: Waits
    times: Times | None
    recording: Recording | None


class Caller:
    """Makes the calls to one service. All threads of a run share it. Get it from `caller`.

    Every attempt waits until the rate limit allows it and, while the service is down, until it is back.
    It is counted and has a deadline. It is repeated after a transient error.

    What happens between attempts is written once, in `_steps`: `call` and `call_async` differ only in
    how they wait.

    Args:
        service: The service's name, for messages.
        policy: How often and how long to try.
        calls: What the callers of a run share.

    Attributes:
        service: As given.
        policy: As given.
        recording: Answers of another run over the same rows; None = every call is made.
    """

    def __init__(self, service: str, policy: RetryPolicy, calls: InCommon) -> None:
        self.service = service
        self.policy = policy
        self._meter = calls.meter
        self._stop = calls.stopping
        self._limiter = Limiter(calls.rate_limit, self._stop)
        self._waits = calls.waits
        self._times = calls.times
        self.recording: Recording | None = calls.recording
        self._shared = calls.shared
        if self._shared is not None and calls.rate_limit is not None:
            self._shared.declare(service, calls.rate_limit)
        self._breaker = Breaker(service, policy.max_outage_s)
        self._budget = RetryBudget()
        if self._shared is not None:
            self._shared.join(service, self._breaker, self._budget)
        self._spans = CallSpans()

    def call(self, attempt: Callable[[float], T], *, units: int = 1) -> T:
        """Make one call, with as many attempts as it takes.

        Args:
            attempt: Makes one attempt, given the seconds it may take. It raises `RetryableError` if a
                later attempt may work; everything else it raises is passed on at once.
            units: Billing units of the call; 0 = it is not billed and not rate-limited.

        Returns:
            What `attempt` returned.

        Raises:
            CallFailedError: It kept failing while the service works: the row is the cause.
            OutageError: The service was down for too long.
            CapReachedError: The job may not make more calls.
            Stopped: The run is ending.
        """
        watched = watch_call(self.service, self._spans)
        if watched is None:
            return self._call(attempt, CallState(units, ThreadWaker))
        failed: BaseException | None = None
        try:
            return self._call(attempt, CallState(units, ThreadWaker, watched[0]))
        except BaseException as error:
            failed = error
            raise
        finally:
            end_watch(watched, failed)

    def _call(self, attempt: Callable[[float], T], call: CallState) -> T:
        worker = current_worker() or _NOBODY
        steps = self._steps(call, worker)
        worker.begin_call()
        self._budget.begin()
        try:
            step = next(steps)
            while True:
                try:
                    answer = None
                    if step is _ATTEMPT:
                        answer = attempt(self.policy.attempt_timeout_s)
                    elif step is not _SLOT:
                        self._pause(step, call, worker)
                    else:
                        while not worker.resume(call):
                            self._wait(Pause("retry"), call)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            worker.num_calls -= 1
            self._budget.end()

    async def call_async(self, attempt: Callable[[float], Awaitable[T]], *, units: int = 1) -> T:
        """As `call`, for an attempt that is awaited: other tasks of the event loop go on meanwhile."""
        watched = watch_call(self.service, self._spans)
        if watched is None:
            return await self._call_async(attempt, CallState(units, TaskWaker))
        failed: BaseException | None = None
        try:
            return await self._call_async(attempt, CallState(units, TaskWaker, watched[0]))
        except BaseException as error:
            failed = error
            raise
        finally:
            end_watch(watched, failed)

    async def _call_async(self, attempt: Callable[[float], Awaitable[T]], call: CallState) -> T:
        worker = current_worker() or _NOBODY
        steps = self._steps(call, worker)
        worker.begin_call()
        self._budget.begin()
        try:
            step = next(steps)
            while True:
                try:
                    answer = None
                    if step is _ATTEMPT:
                        answer = await attempt(self.policy.attempt_timeout_s)
                    elif step is not _SLOT:
                        await self._pause_async(step, call, worker)
                    else:
                        while not worker.resume(call):
                            await self._wait_async(Pause("retry"), call)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            worker.num_calls -= 1
            self._budget.end()

    @contextmanager
    def parked(self, until: float, *, gives_slot: bool = True) -> Iterator[None]:
        """Park this thread's row while inside; for those who wait for a retry by themselves.

        No lock may be held at the end: the thread waits for a slot there.

        Args:
            until: When the wait ends, as `clock.now` counts; infinity = not known.
            gives_slot: False = the row waits and keeps its slot.
        """
        call, worker = CallState(0, ThreadWaker), current_worker() or _NOBODY
        worker.begin_call()
        try:
            with self._waits.during(self.service, "retry", until):
                if gives_slot:
                    worker.park()
                yield
            while not worker.resume(call):
                self._wait(Pause("retry"), call)
        finally:
            worker.num_calls -= 1

    @property
    def stopping(self) -> clock.Stop:
        """Set when the run ends; waits between calls should end then."""
        return self._stop

    def _steps(self, call: CallState, worker: Worker) -> Generator[Pause | _Due, Any, Any]:
        """The rule of one call: yields what is due, a pause or one of `_Due`.

        After an attempt it is sent what that returned, or thrown what it raised. It returns the answer.
        """
        while True:
            if call.made:
                yield from self._budget.spend()
            # Before the breaker lets the call test the service: the workers with slots wait for that.
            yield _SLOT
            probes = yield from self._turn(call)
            started = clock.now()
            if not call.made:
                call.begun_at = started
            try:
                if call.units:
                    worker.count_call(call.units)
                    count_call(call.units)
                self._budget.earn()
                call.made += 1
                result = yield from _attempted(call)
            except RetryableError as error:
                self._record_failure(call, error, started, counts=not probes)
                pause = self._pause_before_next(call, error)
            except (ApiError, RowError):  # refused, but the service answers
                self._breaker.succeeded()
                self._record_time(call, started)
                raise
            except BaseException:
                self._breaker.abandoned(call)
                raise
            else:
                self._breaker.succeeded()
                self._record_time(call, started)
                return result
            yield pause

    def _turn(self, call: CallState) -> Generator[Pause, None, bool]:
        """Wait for breaker, rate limit and cap, and count the attempt.

        Returns:
            Whether the attempt tests if the service is back.
        """
        while True:
            probes = False
            if self._breaker.is_open:
                probes = yield from self._breaker.admit(call)
            try:
                if call.units:
                    yield from self._pauses_for_rate(call)
                if self._breaker.is_open and not probes:  # it has opened during the wait
                    continue
                if not call.units or self._meter.take(call.units, is_retry=call.made > 0):
                    return probes
                if self._shared is not None:  # afterwards another turn is taken: this one is past
                    yield from self._shared.wait_for_cap(call, self._meter.cost_of(call.units))
            except BaseException:
                self._breaker.abandoned(call)
                raise
            if probes:  # another call may test it meanwhile
                self._breaker.abandoned(call)

    def _pauses_for_rate(self, call: CallState) -> Iterable[Pause]:
        at = self._limiter.reserve(call.units)
        if self._shared is not None:
            return self._shared.turn(call, self.service, at)
        return (Pause("rate", at),) if at else ()

    def _record_time(self, call: CallState, started: float) -> None:
        if self._times is not None and call.units:
            self._times.calls.append(clock.now() - started)

    def _record_failure(
        self, call: CallState, error: RetryableError, started: float, *, counts: bool
    ) -> None:
        if counts:
            call.counted += 1
            call.spent_s += clock.now() - started
        error.attempts = call.made
        if error.status == _THROTTLED:
            self._limiter.throttled(call.units)
            if self._shared is not None:
                self._shared.throttled(self.service, call.units)
        self._breaker.failed(call, error, self._hint_s(error))

    def _pause_before_next(self, call: CallState, error: RetryableError) -> Pause:
        """The pause after a failed attempt.

        Raises:
            EtlkitError: No other attempt follows.
        """
        if not is_repeated(is_transient, error):
            raise error
        is_asked = error.retry_after_s is not None
        wait_s = 0.0  # the breaker decides when
        if not self._breaker.is_open:
            wait_s = self.policy.wait_s(call.counted, error.retry_after_s)
        if not self.policy.allows(
            call.counted, call.spent_s + wait_s
        ) and not self._breaker.blames_service(call, error, self._hint_s(error)):
            word = error.code or (None if error.status is None else str(error.status))
            raise CallFailedError(
                f"{error.message}, after {call.made} attempts", code=word, attempts=call.made
            ) from error
        call.spent_s += wait_s
        return Pause("asked" if is_asked else "retry", clock.now() + wait_s)

    def _pause(self, pause: Pause, call: CallState, worker: Worker) -> None:
        self._stop.check()
        if not _is_over(pause):
            if pause.reason in PARKED:
                worker.park()
            with _parked(pause, call):
                self._wait(pause, call)

    async def _pause_async(self, pause: Pause, call: CallState, worker: Worker) -> None:
        self._stop.check()
        if not _is_over(pause):
            if pause.reason in PARKED:
                worker.park()
            with _parked(pause, call):
                await self._wait_async(pause, call)

    def _wait(self, pause: Pause, call: CallState) -> None:
        waker = cast("ThreadWaker", call.waker)
        with self._waits.during(self.service, *pause), self._stop.waking(waker):
            waker.wait(pause.rest_s)
        self._stop.check()

    async def _wait_async(self, pause: Pause, call: CallState) -> None:
        waker = cast("TaskWaker", call.waker)
        with self._waits.during(self.service, *pause), self._stop.waking(waker):
            await waker.wait(pause.rest_s)
        self._stop.check()

    def _hint_s(self, error: RetryableError) -> float:
        return self.policy.bounded(error.retry_after_s)


def _attempted(call: CallState) -> Generator[_Due, Any, Any]:
    """One attempt, of which telemetry is told."""
    if call.watch is None:
        return (yield _ATTEMPT)
    call.watch.begin_attempt(call.units)
    try:
        result = yield _ATTEMPT
    except BaseException as error:
        call.watch.end_attempt(error)
        raise
    call.watch.end_attempt(None)
    return result


@contextmanager
def _parked(pause: Pause, call: CallState) -> Iterator[None]:
    """Tell telemetry of a row that waits."""
    if call.watch is None or pause.reason not in PARKED:
        yield
        return
    call.watch.park(1)
    try:
        yield
    finally:
        call.watch.park(-1)


def _is_over(pause: Pause) -> bool:
    return clock.now() >= pause.until or (pause.until < math.inf and clock.skip_to(pause.until))
