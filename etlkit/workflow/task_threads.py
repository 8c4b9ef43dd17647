"""Threads that run tasks: one attempt after the other, with time limits, until told to stop."""

from __future__ import annotations

import heapq
import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal

from etlkit.api.report import error_text
from etlkit.api.run import Interrupted
from etlkit.api.workflow_report import FailedAttempt, TaskReport
from etlkit.api.workflow_state import Path, task_text, value_text
from etlkit.calls import clock
from etlkit.errors import ConfigError, JobError, TaskTimeoutError, TransformCodeError
from etlkit.telemetry.spans import span
from etlkit.workflow.run_scope import RunScope
from etlkit.workflow.slots import Slots, Ticket
from etlkit.workflow.task_kind import Runnable, Stopping, TaskContext

log: logging.Logger = logging.getLogger("etlkit.workflow")

STOP_GRACE_S = 90.0
"""How long a task that was asked to stop may take. A call in flight has its own deadline of a minute,
and a transfer gives its calls half a minute."""

_HOPELESS: Final = (ConfigError, TransformCodeError)
"""The same code and description would fail again."""

_LONGEST_WAIT_S = 1.0
"""A signal that comes just before a wait begins is handled when it is over."""


@dataclass(eq=False, kw_only=True)
class Work:
    """One thing to run: a task, or an iteration of its loop.

    Attributes:
        path: Names from the outermost workflow's task down to this one.
        report: Is filled in.
        runnable: What runs.
        make_context: Makes what an attempt is given; called on its thread.
        retry_limit: As in `Task`, likewise the next two.
        min_retry_interval_s: See there.
        timeout_s: See there.
        error: Why it ended; None = it succeeded, or did not begin.
        kept: See `TaskContext.kept`.
        stopping: The request to stop the attempt.
        phase: Where it is: waiting for a slot, running, waiting for its next attempt, or over.
        ticket: What it waits for a slot with.
        is_late: Whether the attempt ran out of time.
        is_given_up: Whether it did not stop, and nobody waits for it any more.
        lock: Held when the report says how an attempt ended.
    """

    path: Path
    report: TaskReport
    runnable: Runnable
    make_context: Callable[[Work], TaskContext]
    retry_limit: int = 0
    min_retry_interval_s: float = 0.0
    timeout_s: float | None = None
    error: BaseException | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    stopping: Stopping = field(default_factory=Stopping)
    phase: Literal["queued", "running", "resting", "over"] = "queued"
    ticket: Ticket | None = None
    is_late: bool = False
    is_given_up: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class TaskThreads:
    """Runs works side by side. One thread drives it and calls all methods but `request_stop`.

    A work that waits for a slot or for its next attempt has no thread.

    Args:
        scope: The run.
        slots: What works wait for that take a slot.
        on_start: Called with each work whose attempt has begun.
    """

    def __init__(
        self,
        scope: RunScope,
        slots: Slots,
        *,
        on_start: Callable[[Work], None] | None = None,
    ) -> None:
        self._scope = scope
        self._slots = slots
        self._on_start = on_start
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._num_timers = 0
        self._context = copy_context()  # the tasks belong to the run whose thread this is
        self._active: list[Work] = []
        self._ended: list[Work] = []
        self.stop_signal: int | None = None

    @property
    def num_active(self) -> int:
        """Works that have not ended."""
        return len(self._active) + len(self._ended)

    def request_stop(self, signum: int) -> None:
        """Stop all works cleanly, and begin no attempt. Safe on every thread and in signal handlers."""
        self._events.put(partial(self._stop_all, signum))

    def start(self, work: Work) -> None:
        """Run a work. `wait` hands it over when it has ended."""
        self._active.append(work)
        self._queue(work)

    def at(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call a function after this many seconds, in `wait`."""
        self._num_timers += 1
        heapq.heappush(self._timers, (clock.now() + seconds, self._num_timers, callback))

    def wait(self, handle: Callable[[Work], None]) -> None:
        """Wait until works have ended, and hand them over.

        Others are told, and slots are given back, when it is decided what follows.
        """
        while self._active and not self._ended:
            due_in_s = self._run_timers()
            if self._ended:  # by one of the timers
                break
            with suppress(Empty):
                self._events.get(timeout=due_in_s)()
        with suppress(Empty):
            while True:
                self._events.get_nowait()()
        ended, self._ended = self._ended, []
        for work in ended:
            handle(work)
            self._scope.changed(work.path, work.report)
        for work in ended:
            self._release(work)

    def drop_queued(self) -> None:
        """End the works that have not begun: they wait for a slot."""
        for work in list(self._active):
            if not work.report.attempts and self._has_left_queue(work):
                self._cut_short(work)

    def _run_timers(self) -> float:
        """Call what is due; gives the seconds until the next one."""
        while self._timers and self._timers[0][0] <= clock.now():
            heapq.heappop(self._timers)[2]()
        if not self._timers:
            return _LONGEST_WAIT_S
        at = self._timers[0][0]
        only_rests = all(work.phase == "resting" for work in self._active)
        if only_rests and clock.skip_to(at):
            return 0.0
        return min(max(at - clock.now(), 0.0), _LONGEST_WAIT_S)

    def _queue(self, work: Work) -> None:
        work.phase, work.stopping, work.is_late = "queued", Stopping(), False
        if work.runnable.takes_slot:
            work.ticket = self._slots.request(partial(self._spawn, work))
        else:
            self._spawn(work, None)

    def _spawn(self, work: Work, ticket: Ticket | None) -> None:
        name = f"etlkit-{task_text(work.path)}"
        # A second Ctrl-C has to end the process, whatever its threads do.
        attempt = partial(self._context.copy().run, self._attempt, work, ticket)
        threading.Thread(target=attempt, name=name, daemon=True).start()

    def _attempt(self, work: Work, ticket: Ticket | None) -> None:
        """One attempt, on a thread of its own."""
        stopping, began = work.stopping, time.monotonic()
        _begin(work.report)
        self._scope.changed(work.path, work.report)
        self._events.put(partial(self._started, work, stopping))
        with span("task", task=task_text(work.path), kind_of_task=work.report.kind) as told:
            error = self._run(work)
            if error is not None:
                told.fail(error)
        with work.lock:
            given_up, follows = work.is_given_up, False
            if not given_up:
                work.report.seconds = round(time.monotonic() - began, 3)
                follows, error = self._settle(work, error)
        if given_up:
            log.warning("task %s has ended at last", task_text(work.path))
            if ticket is not None:
                self._slots.release(ticket)
        elif follows:
            self._events.put(partial(self._rest, work))
        else:
            self._events.put(partial(self._end, work, error))

    def _run(self, work: Work) -> BaseException | None:
        try:
            context = work.make_context(work)
            context.on_stop(lambda _signum: context.calls.stop())
            context.check_stop()
            token = context.calls.enter()
            try:
                work.runnable.run(context)
            finally:
                context.calls.leave(token)
        except SystemExit as error:  # it would end this thread in silence
            return JobError(f"the task called sys.exit({error.code!r})")
        except (Exception, Interrupted) as error:
            return error
        except BaseException as error:  # e.g. asyncio.CancelledError: nobody asked the task to stop
            return JobError(f"the task raised {type(error).__name__}: {error}".rstrip(": "))
        return None

    def _keep_value(self, work: Work) -> JobError | None:
        """Make the value what a resumed run would read; one that cannot be kept is dropped.

        A loop or a child workflow does not fail by that: its parts keep their values.
        """
        report = work.report
        try:
            report.value = json.loads(value_text(report.value))
        except JobError as error:
            report.value = None
            if work.runnable.takes_slot:
                return error
            self._scope.warn(f"task {task_text(work.path)} has no value for other tasks: {error}")
        return None

    def _settle(self, work: Work, error: BaseException | None) -> tuple[bool, BaseException | None]:
        """Say how an attempt ended; whether another one follows, and why it failed."""
        report = work.report
        report.finished_at = _now()
        unkept = self._keep_value(work)
        error = error or unkept
        if error is None:
            report.state = "succeeded"
        elif work.is_late:
            error = _timeout(work, error)
            report.state, report.error = "failed", error_text(error)
        elif not isinstance(error, Exception) or work.stopping.signum is not None:
            report.state, report.error = "interrupted", error_text(error)
        else:
            report.state, report.error = "failed", error_text(error)
        if report.state == "failed" and self._may_retry(work, error):
            report.failed_attempts.append(
                FailedAttempt(
                    started_at=str(report.started_at),
                    finished_at=report.finished_at,
                    error=str(report.error),
                )
            )
            report.state = "waiting"
            return True, error
        try:
            self._scope.record(work.path, report)
        except BaseException as second:
            if error is None:
                report.state, report.error = "failed", error_text(second)
            return False, second
        return False, error

    def _may_retry(self, work: Work, error: BaseException | None) -> bool:
        return (
            self.stop_signal is None
            and len(work.report.failed_attempts) < work.retry_limit
            and not isinstance(error, _HOPELESS)
        )

    def _started(self, work: Work, stopping: Stopping) -> None:
        if work.stopping is not stopping or work.phase == "over":
            return
        work.phase = "running"
        if self.stop_signal is not None:  # its slot was given a moment before
            self._ask_to_stop(work, self.stop_signal)
        if work.timeout_s is not None:
            self.at(work.timeout_s, partial(self._time_out, work, stopping))
        if self._on_start is not None:
            self._on_start(work)

    def _time_out(self, work: Work, stopping: Stopping) -> None:
        if work.stopping is not stopping or work.phase != "running":
            return
        with work.lock:
            if work.report.state != "running":
                return
            work.is_late = True
        log.warning("task %s takes longer than %g s: stopping it", *_named(work), work.timeout_s)
        self._ask_to_stop(work, signal.SIGTERM)

    def _ask_to_stop(self, work: Work, signum: int) -> None:
        # On a thread: to cancel a job in BigQuery takes a request.
        threading.Thread(target=work.stopping.request, args=(signum,), daemon=True).start()
        if work.runnable.takes_slot:  # what waits for others ends when they do
            self.at(STOP_GRACE_S, partial(self._give_up, work, work.stopping))

    def _give_up(self, work: Work, stopping: Stopping) -> None:
        """Go on without a work that does not stop. Its thread still runs, and keeps its slot."""
        if work.stopping is not stopping or work.phase != "running":
            return
        with work.lock:
            if work.report.state != "running":
                return
            work.is_given_up = True
            work.report = replace(work.report)  # the thread may still write into the other one
        text = (
            f"it was asked to stop and has not within {STOP_GRACE_S:g} s. Its thread still runs; a "
            "function should call check_stop() or wait() of its TaskContext"
        )
        log.error("task %s: %s", *_named(work), text)
        error: BaseException = TaskTimeoutError(text)
        work.ticket = None
        work.report.state = "failed" if work.is_late else "interrupted"
        work.report.error, work.report.finished_at = text, _now()
        try:
            self._scope.record(work.path, work.report)
        except BaseException as second:
            error = second
        self._end(work, error)

    def _release(self, work: Work) -> None:
        """Give the slot of a work back, if it has one."""
        ticket, work.ticket = work.ticket, None
        if ticket is not None and ticket.is_granted:
            self._slots.release(ticket)

    def _rest(self, work: Work) -> None:
        """Wait for the next attempt, without a slot."""
        work.phase = "resting"
        self._release(work)
        if self.stop_signal is not None:
            self._cut_short(work)
            return
        log.warning(
            "task %s failed (attempt %d of %d), next attempt in %g s: %s",
            *_named(work),
            len(work.report.failed_attempts),
            work.retry_limit + 1,
            work.min_retry_interval_s,
            work.report.error,
        )
        self._scope.changed(work.path, work.report)
        self.at(work.min_retry_interval_s, partial(self._again, work))

    def _again(self, work: Work) -> None:
        if work.phase == "resting":
            self._queue(work)

    def _end(self, work: Work, error: BaseException | None) -> None:
        work.phase, work.error = "over", error
        self._active.remove(work)
        self._ended.append(work)

    def _stop_all(self, signum: int) -> None:
        if self.stop_signal is not None:
            return
        self.stop_signal = signum
        for work in list(self._active):
            if work.phase == "running":
                self._ask_to_stop(work, signum)
            elif work.phase == "resting" or self._has_left_queue(work):
                self._cut_short(work)

    def _has_left_queue(self, work: Work) -> bool:
        """Whether there was time to give up the place in the queue; else it starts any moment."""
        return work.ticket is not None and self._slots.withdraw(work.ticket)

    def _cut_short(self, work: Work) -> None:
        """End a work that waits for its first or next attempt."""
        begun = work.report.attempts > 0
        work.report.state = "interrupted" if begun else "not_run"
        self._end(work, None if self.stop_signal is None else Interrupted(self.stop_signal))


def _begin(report: TaskReport) -> None:
    """Let a report be that of a new attempt. The run of a job stays: it may be gone on with."""
    report.state, report.error, report.value = "running", None, None
    report.started_at, report.finished_at = _now(), None
    report.attempts += 1
    report.statements, report.details, report.first_errors, report.rejects = [], {}, [], {}


def _timeout(work: Work, error: BaseException) -> TaskTimeoutError:
    late = TaskTimeoutError(f"it took longer than timeout_s={work.timeout_s:g} and was stopped")
    late.__cause__ = error
    return late


def _named(work: Work) -> tuple[str]:
    return (task_text(work.path),)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
