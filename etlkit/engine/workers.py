"""Worker threads: each has its own `Etl` instance and runs the four hooks on it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from etlkit.api.transform import EtlBase, overrides_arrow
from etlkit.api.user_errors import user_error_text, user_line
from etlkit.calls.clock import Stopped
from etlkit.calls.retry import Calls
from etlkit.engine.arrow_loop import ArrowLoop
from etlkit.engine.pace import Took
from etlkit.engine.row_loop import RowLoop
from etlkit.engine.task import Task
from etlkit.errors import ConfigError, EtlkitError, JobError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.engine.output_schema import OutputSchema

T = TypeVar("T")

_WAKE_BELOW = 2
"""The pipeline is woken when fewer tasks per worker wait. Waking it for every task would cost the
workers much of the interpreter's time. It polls for rows that finish in between."""

_SCHEMA_WAIT_S = 0.25

_TAKEN_POLL_S = 0.001
_READY_POLL_S = 0.05
"""How often a worker asks whether the sink is ready again."""


class _SchemaQuestion:
    """A worker asks for the output columns of results in Arrow."""

    def __init__(self, found: pa.Schema) -> None:
        self.found = found
        self.answer: OutputSchema | EtlkitError = JobError("it was not answered", stage="transform")
        self.is_answered = threading.Event()


class WorkerPool:
    """Up to `size` threads that take tasks in order. `close` joins all of them.

    Args:
        make: Makes the instance of one worker; called on the worker's thread.
        size: Calls in flight.
        wake: Called from any thread when rows are finished and few tasks wait.
        calls: The run's calls to services, which wait for each other and end with the pool.
        is_ready: Whether the next row may be transformed, see `SinkWriter.is_ready`.
        ends_at_error: Whether a row that fails ends the run: then no later row is begun.

    Attributes:
        schema: The output columns; None = not known yet.
        running: The task that each worker is at, by the ident of its thread.
    """

    def __init__(
        self,
        make: Callable[[], EtlBase],
        size: int,
        wake: Callable[[], None],
        calls: Calls,
        is_ready: Callable[[], bool],
        *,
        ends_at_error: bool = False,
    ) -> None:
        self._make = make
        self._size = size
        self._wake = wake
        self._calls = calls
        self._is_ready = is_ready
        self._ends_at_error = ends_at_error
        self.schema: OutputSchema | None = None
        self._has_schema = threading.Event()
        self._questions: SimpleQueue[_SchemaQuestion] = SimpleQueue()
        self.running: dict[int, Task] = {}
        self._tasks: SimpleQueue[tuple[int, Task] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._num_submitted = 0
        self._failed_at = math.inf
        self._errors: list[BaseException] = []

    @property
    def error(self) -> BaseException | None:
        """The first error that ends the run; None = there is none so far."""
        return self._errors[0] if self._errors else None

    @property
    def num_waiting(self) -> int:
        """Tasks that no worker has started."""
        return self._tasks.qsize()

    def set_schema(self, schema: OutputSchema) -> None:
        """Say what the output columns are from now on."""
        self.schema = schema
        self._has_schema.set()

    def wait_for_schema(self) -> None:
        """Called by a worker that has enough rows to decide the columns: returns when they are."""
        self._wake()
        self._has_schema.wait(_SCHEMA_WAIT_S)

    def schema_for(self, found: pa.Schema) -> OutputSchema:
        """Called by a worker: the output columns for results with these columns.

        Raises:
            EtlkitError: There are none.
            Stopped: The run ends.
        """
        question = _SchemaQuestion(found)
        self._questions.put(question)
        self._wake()
        if not self._idle_until(question.is_answered.is_set, _TAKEN_POLL_S):
            raise Stopped
        if isinstance(question.answer, EtlkitError):
            raise question.answer
        return question.answer

    def answer(self, schema_for: Callable[[pa.Schema], OutputSchema]) -> None:
        """Answer what workers have asked; called on the pipeline's thread."""
        while not self._questions.empty():
            question = self._questions.get()
            try:
                self.schema = question.answer = schema_for(question.found)
            except EtlkitError as error:
                question.answer = error
            question.is_answered.set()

    def submit(self, task: Task) -> None:
        """Queue a task. Starts one more thread until there are `size`: few rows need few threads."""
        self._num_submitted += 1
        self._tasks.put((self._num_submitted, task))
        if len(self._threads) < self._size:
            # Daemon: a call that never returns must not outlive a second Ctrl-C.
            name = f"etlkit-worker-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, *, abandon: bool, timeout_s: float) -> None:
        """Stop the workers and wait for them; `after_action` has run on each of them then.

        Args:
            abandon: Drop queued tasks and the rest of running ones; only calls in flight finish.
            timeout_s: How long to wait in total if `abandon` is set.
        """
        if abandon:
            self._stop_all()
        for _ in self._threads:
            self._tasks.put(None)
        give_up_at = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(timeout=max(0.0, give_up_at - time.monotonic()) if abandon else None)

    def _work(self) -> None:
        etl = None
        self._calls.enter()
        try:
            etl = _guard("the transform's constructor", self._make)
            _guard("before_action", etl.before_action)
            self._take_tasks(etl)
        except Stopped:
            pass  # another worker failed, or a stop was requested: that is reported elsewhere
        except BaseException as error:
            self._fail(error)
        finally:
            if etl is not None:
                try:
                    _guard("after_action", etl.after_action)
                except Stopped:
                    pass
                except BaseException as error:
                    self._fail(error)

    def _loop(self, etl: EtlBase) -> RowLoop | ArrowLoop:
        if overrides_arrow(type(etl)):
            return ArrowLoop(etl, self, self._wait_until_ready, self._ends_at_error)
        meter = self._calls.meter
        return RowLoop(etl, self, self._wait_until_ready, self._stop, meter, self._ends_at_error)

    def _take_tasks(self, etl: EtlBase) -> None:
        loop = self._loop(etl)
        thread = threading.get_ident()
        while (entry := self._tasks.get()) is not None and not self._stop.is_set():
            number, task = entry
            if number > self._failed_at:
                break
            self.running[thread] = task
            took = Took()
            try:
                loop.run(task)
            except BaseException as error:
                task.error = error
                raise
            finally:
                took.end()
                task.took = took
                task.is_done = True
                del self.running[thread]
            if task.has_failed:
                self._failed_at = number  # tasks are taken in order: those before it have begun
                self._wake()
                break
            if self._tasks.qsize() < _WAKE_BELOW * self._size:
                self._wake()

    def wait_until_taken(self, task: Task) -> None:
        """Called by a worker that has encoded much: return when the pipeline has taken it."""
        if task.num_taken < task.num_made:
            self._wake()
            self._idle_until(lambda: task.num_taken >= task.num_made, _TAKEN_POLL_S)

    def _wait_until_ready(self) -> bool:
        """Return when the sink is ready for another row; False = the run ends."""
        return self._is_ready() or self._idle_until(self._is_ready, _READY_POLL_S)

    def _idle_until(self, is_over: Callable[[], bool], poll_s: float) -> bool:
        """Wait on a worker's thread; False = the run ends."""
        thread = threading.get_ident()
        task = self.running.pop(thread, None)  # no row of it is at work meanwhile
        try:
            while not is_over():
                if self._stop.wait(poll_s):
                    return False
            return True
        finally:
            if task is not None:
                self.running[thread] = task

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, SystemExit):  # it would end the process with a status of its own
            error = JobError(f"the transform called sys.exit({error.code!r})", stage="transform")
        if not self._errors:
            self._errors.append(error)
        elif str(error) != str(self._errors[0]):  # a cap stops all workers with the same message
            self._errors[0].add_note(f"also: {type(error).__name__}: {error}")
        self._stop_all()
        self._wake()

    def _stop_all(self) -> None:
        self._stop.set()
        self._calls.stop()


def _guard(what: str, call: Callable[[], T]) -> T:
    """Call user code outside of a row; its errors end the run."""
    try:
        return call()
    except ConfigError as error:
        raise ConfigError(f"{what} failed: {error} ({user_line(error)})") from error
    except EtlkitError:
        raise
    except Exception as error:
        message = f"{what} failed: {user_error_text(error)}"
        raise JobError(message, stage="transform") from error
