"""Async hooks: one event loop on one thread, with one `Etl` instance for all rows."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable
from functools import partial
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from etlkit.api.outcomes import Outcome, classify, is_clean
from etlkit.api.transform import EtlBase, overrides_batch
from etlkit.api.user_errors import Place, innermost_of_user, user_error_text, users_frame
from etlkit.calls.clock import Stopped
from etlkit.calls.wakers import TaskWaker
from etlkit.engine.dispatcher import Dispatcher, SlotWorker
from etlkit.engine.worker_group import (
    CALL_S,
    LOOK_INTERVAL_S,
    READY_POLL_S,
    WorkerGroup,
    classified,
    guard,
    guard_async,
)
from etlkit.errors import JobError, TransformError
from etlkit.rows.frozen import frozen_row

if TYPE_CHECKING:
    from etlkit.engine.task import Task
    from etlkit.rows.row import Row

log: logging.Logger = logging.getLogger("etlkit")

_WAKE_AFTER_S = 0.002
"""The pipeline is woken at most this often: at thousands of rows a second, each wake-up would cost more
than the row."""

_BEAT_S = 0.1
_BLOCKED_S = 0.5
"""A loop that has not come round for so long is blocked."""

_CANCEL_S = 5.0
"""Cancelled rows have this long to clean up."""


class TaskWorker(SlotWorker):
    """A task of the event loop that works on one row after the other."""

    __slots__ = ("of_loop", "task_waker")

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.task_waker: TaskWaker = TaskWaker()
        self.of_loop: asyncio.Task[Any] | None = asyncio.current_task()
        super().__init__(dispatcher, self.task_waker)

    @property
    def is_cancellable(self) -> bool:
        """See `Worker.is_cancellable`."""
        return True

    def place(self) -> str | None:
        """See `Worker.place`."""
        places: list[Place] = []
        awaited: Any = None if self.of_loop is None else self.of_loop.get_coro()
        while awaited is not None:
            for kind in ("cr", "ag", "gi"):
                frame = getattr(awaited, f"{kind}_frame", None)
                if frame is not None:
                    places.append((frame.f_code.co_filename, frame.f_lineno))
                    break
            awaited = _awaited_by(awaited)
        return users_frame(places)


class AsyncWorkers(WorkerGroup):
    """Tasks of one event loop, on one thread, with one instance for all rows. See `WorkerGroup`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._etl = EtlBase()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starts: deque[None] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = threading.Event()
        self._close_at = float("inf")
        self._is_wake_planned = False
        self._look_at = 0.0
        self._beat_at = float("inf")
        self._to_keep: list[tuple[str, Outcome]] = []
        self._suspect: FrameType | None = None
        self._has_warned = False

    def close(self, *, abandon: bool, timeout_s: float) -> None:
        """See `WorkerGroup.close`. Calls that are in flight after `timeout_s` are cancelled."""
        if abandon:
            self._stop_all()
            self._close_at = time.monotonic() + timeout_s
        self._dispatcher.close(abandon=abandon)
        self._closing.set()
        self._on_loop(self._start_tasks)
        if self._thread is not None:
            # A coroutine that blocks the loop cannot be cancelled: then the thread is left behind.
            self._thread.join(timeout_s + 2 * _CANCEL_S if abandon else None)

    def give_up(self, task: Task) -> None:
        """See `WorkerGroup.give_up`."""
        for worker, its in dict(self.running).items():
            if its is task and isinstance(worker, TaskWorker) and worker.of_loop is not None:
                self._on_loop(worker.of_loop.cancel)

    def check_blocked(self) -> None:
        """See `WorkerGroup.check_blocked`."""
        before, self._suspect = self._suspect, None
        blocked_s = time.monotonic() - self._beat_at
        if self._has_warned or blocked_s < _BLOCKED_S or self._thread is None:
            return
        frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001 - no other way
        self._suspect = frame = innermost_of_user(frame, AsyncWorkers._run.__code__)
        # Thousands of rows that are due at the same time make a loop late, too: only a row that is
        # still there at the next look blocks it.
        if frame is None or frame is not before:
            return
        self._has_warned, self._suspect = True, None
        log.warning(
            "the event loop has been blocked for %.1f s at %s: no other call goes on meanwhile. Await "
            "what waits (AsyncHttpClient, asyncio.sleep), and give what computes or cannot be awaited "
            "to asyncio.to_thread",
            blocked_s,
            users_frame([(frame.f_code.co_filename, frame.f_lineno)]),
        )

    def _on_loop(self, call: Any) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(call)
            except RuntimeError:
                return  # it is closed

    def _start_worker(self) -> None:
        self._starts.append(None)
        if self._thread is None:
            # Daemon: a call that never returns must not outlive a second Ctrl-C.
            self._thread = threading.Thread(
                target=partial(self._context.copy().run, self._run),
                name="etlkit-worker-1",
                daemon=True,
            )
            self._thread.start()
        else:
            self._on_loop(self._start_tasks)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._fail(error)

    async def _serve(self) -> None:
        self._calls.enter()  # for the hooks that are about no row
        etl = None
        try:
            etl = self._etl = guard("the transform's constructor", self._make)
            await guard_async("before_action", etl.before_action)
            self._check(etl)
            self._all_ended = asyncio.Event()
            self._loop = asyncio.get_running_loop()
            self._beat()
            self._start_tasks()
            await self._wait_for_tasks()
        except Stopped:
            pass  # a stop was requested: that is reported elsewhere
        except BaseException as error:
            self._fail(error)
        finally:
            self._beat_at = float("inf")
            if etl is not None:
                try:
                    await guard_async("after_action", etl.after_action)
                except Stopped:
                    pass
                except BaseException as error:
                    self._fail(error)

    def _start_tasks(self) -> None:
        """Start the workers that are wanted. Also called when the group closes."""
        while self._starts:
            self._starts.popleft()
            work, context = self._work(), self._context.copy()
            task = asyncio.get_running_loop().create_task(work, context=context)
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        self._ended(None)

    def _ended(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            self._tasks.discard(task)
        if self._closing.is_set():
            self._all_ended.set()

    async def _wait_for_tasks(self) -> None:
        """Return when the group is closed and all rows are done, or cancelled."""
        while not self._closing.is_set() or self._tasks:
            self._all_ended.clear()
            rest_s = self._close_at - time.monotonic()
            try:
                await asyncio.wait_for(
                    self._all_ended.wait(), None if rest_s == float("inf") else max(0.0, rest_s)
                )
            except TimeoutError:
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(self._tasks, timeout=_CANCEL_S)
                return

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        if not self._closing.is_set():
            asyncio.get_running_loop().call_later(_BEAT_S, self._beat)

    async def _work(self) -> None:
        worker = TaskWorker(self._dispatcher)
        worker.enter()
        self._calls.enter()
        try:
            await self._take_tasks(worker)
        except Stopped:
            pass  # another row failed, or a stop was requested: that is reported elsewhere
        except asyncio.CancelledError:
            pass  # the run ends
        except BaseException as error:
            self._fail(error)
        finally:
            self._dispatcher.left(worker)

    async def _take_tasks(self, worker: TaskWorker) -> None:
        run = self._run_batch if overrides_batch(type(self._etl)) else self._run_rows
        while (task := await self._next_task(worker)) is not None and not self._stop.is_set():
            self.running[worker] = task
            try:
                await run(task, worker)
            except BaseException as error:
                task.error = error
                raise
            finally:
                task.is_done = True
                self.running.pop(worker, None)
            if task.has_failed:
                self._dispatcher.end_after(task)  # those before it have begun
                self._wake()
                break
            if self.num_waiting < self._few and not self._is_wake_planned:
                self._is_wake_planned = True
                asyncio.get_running_loop().call_later(_WAKE_AFTER_S, self._wake_now)

    def _wake_now(self) -> None:
        self._is_wake_planned = False
        self._wake()

    async def _next_task(self, worker: TaskWorker) -> Task | None:
        """The worker's next task; None = there will be none."""
        while (task := self._dispatcher.next_task(worker)) is None:
            if self._dispatcher.is_over:
                break
            await worker.task_waker.wait(None)
        return task

    async def _run_rows(self, task: Task, worker: TaskWorker) -> None:
        meter = self._calls.meter
        for row in task.rows:
            began = time.monotonic()
            if began >= self._look_at:
                if not await self._may_go_on(worker):
                    break
                began = time.monotonic()
            outcome = await self._outcome(row)
            if meter.is_capped:
                meter.check()
            task.outcomes.append(outcome)
            if time.monotonic() - began >= CALL_S:
                self._keep_soon(task, len(task.outcomes) - 1)
            if self._ends_at_error and not is_clean(outcome):
                task.has_failed = True
                break

    async def _outcome(self, row: Row) -> Outcome:
        """The outcome of one row; an async generator gives several target rows."""
        result: Any
        try:
            made: Any = self._etl.transform_row(row)
            if type(made) is CoroutineType:  # the usual case
                result = await made
            elif inspect.isasyncgen(made):
                result = [frozen_row(each) if type(each) is dict else each async for each in made]
            elif isinstance(made, Awaitable):
                result = await made
            else:
                self._refuse("transform_row", made)
        except asyncio.CancelledError as error:
            result = _not_ours(error)
        except Exception as error:
            result = error
        schema = self.schema
        if schema is None:
            return classify(result)
        if type(result) is dict and schema.keys.names.issuperset(result):
            return schema.keys.copy(result)
        return classify(result, schema.keys)

    async def _run_batch(self, task: Task, worker: TaskWorker) -> None:
        if time.monotonic() >= self._look_at and not await self._may_go_on(worker):
            return
        began = time.monotonic()
        given = list(task.rows)  # the transform may sort its list; the positions in ours stay
        try:
            made: Any = self._etl.transform_batch(given)
            if not isinstance(made, Awaitable):
                self._refuse("transform_batch", made)
            results = list(await made)
        except asyncio.CancelledError as error:
            results = [_not_ours(error)] * len(task.rows)
        except Exception as error:
            results = [error] * len(task.rows)
        self._calls.meter.check()
        task.outcomes.extend(classified(type(self._etl).__name__, task.rows, results))
        if time.monotonic() - began >= CALL_S:
            self._keep_soon(task, 0)
        task.has_failed = self._ends_at_error and not all(map(is_clean, task.outcomes))

    def _keep_soon(self, task: Task, first: int) -> None:
        """As `keep`, together with all rows whose answers the loop has at the same time."""
        if self._journal is None or task.chunk is None:
            return
        if not self._to_keep:
            asyncio.get_running_loop().call_soon(self._keep_now)
        # Taken now: the pipeline may change the list as soon as another thread runs.
        rows = enumerate(task.outcomes[first:], task.start + first)
        self._to_keep += [(task.chunk.row_id(index), outcome) for index, outcome in rows]

    def _keep_now(self) -> None:
        kept, self._to_keep = self._to_keep, []
        self._keep_rows(kept)

    def _refuse(self, hook: str, made: Any) -> NoReturn:
        raise JobError(
            f"{type(self._etl).__name__}.{hook} is async, but a call of it gave a "
            f"{type(made).__name__} that cannot be awaited: is there a decorator around it?",
            stage="transform",
        )

    async def _may_go_on(self, worker: TaskWorker) -> bool:
        """Return when the sink is ready for another row; False = the run ends."""
        if self._stop.is_set():
            return False
        task = self.running.pop(worker, None)  # no row of it is at work meanwhile
        try:
            while not self._is_ready():
                await asyncio.sleep(READY_POLL_S)
                if self._stop.is_set():
                    return False
        finally:
            if task is not None:
                self.running[worker] = task
        self._look_at = time.monotonic() + LOOK_INTERVAL_S
        return True


def _not_ours(error: asyncio.CancelledError) -> TransformError:
    """The row's error for a cancellation within the transform; one from outside is raised on."""
    current = asyncio.current_task()
    if current is not None and current.cancelling():
        raise error
    made = TransformError(user_error_text(error))
    made.__cause__ = error
    return made


def _awaited_by(awaited: Any) -> Any:
    """What a coroutine, an async generator or a generator waits for."""
    for name in ("cr_await", "ag_await", "gi_yieldfrom"):
        if hasattr(awaited, name):
            return getattr(awaited, name)
    return None
