"""What the workers of a run have in common, be they threads or tasks of an event loop."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from etlkit.api.outcomes import Outcome, classify
from etlkit.api.transform import EtlBase
from etlkit.api.user_errors import user_error_text, user_line
from etlkit.calls.run_calls import Calls
from etlkit.calls.worker import WorkerKey
from etlkit.engine.chunk_outcomes import MADE
from etlkit.engine.dispatcher import Dispatcher
from etlkit.engine.task import Task
from etlkit.engine.task_window import window_limit
from etlkit.errors import ConfigError, EtlkitError, JobError
from etlkit.rows.row import Row

if TYPE_CHECKING:
    from collections import deque

    import pyarrow as pa

    from etlkit.engine.journal.journal import Journal
    from etlkit.engine.output_schema import OutputSchema

T = TypeVar("T")

READY_POLL_S = 0.05
"""How often a worker asks whether the sink is ready again."""

_SCHEMA_WAIT_S = 0.25

LOOK_INTERVAL_S = 0.0005
"""A row that begins later than this after the last look at the sink is preceded by another look. So
each paid call is, and rows that take microseconds share one: a look would cost a good part of them."""

CALL_S = 0.0005
"""A row that took this long has perhaps cost a call, whoever made it: if it has waited, its outcome
goes into the journal. Rows that take microseconds never come there."""


class SchemaQuestion:
    """A worker asks the pipeline for the output columns of results in Arrow.

    Args:
        found: The columns that the results have.
    """

    def __init__(self, found: pa.Schema) -> None:
        self._found = found
        self._answer: OutputSchema | EtlkitError | None = None
        self.is_answered = threading.Event()

    def decide(self, schema_for: Callable[[pa.Schema], OutputSchema]) -> None:
        """Answer; called on the pipeline's thread."""
        try:
            self._answer = schema_for(self._found)
        except EtlkitError as error:
            self._answer = error
        self.is_answered.set()

    def answer(self) -> OutputSchema:
        """The columns.

        Raises:
            EtlkitError: There are none.
        """
        if isinstance(self._answer, EtlkitError):
            raise self._answer
        if self._answer is None:
            raise AssertionError("ask when it is answered")
        return self._answer


class WorkerGroup:
    """Workers that take tasks in order, up to `size` of them at the same time.

    Args:
        make: Makes an instance; called on the thread where it is used.
        size: Rows or batches at work at the same time.
        wake: Called from any thread when rows are finished and few tasks wait.
        calls: The run's calls to services, which wait for each other and end with the workers.
        is_ready: Whether the next row may be transformed, see `SinkWriter.is_ready`.
        ends_at_error: Whether a row that fails ends the run: then no later row is begun.
        max_parked: Rows that may wait beside those at work.
        journal: Keeps the outcomes of rows that took a call; None = nobody does.
        counts_calls: Whether calls are counted by row.
        takes_many: Whether one call of the transform gets many rows.
        check: Called with each instance after its `before_action`; raises if it may get no rows.

    Attributes:
        schema: The output columns; None = not known yet.
        running: The task that each worker is at.
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
        max_parked: int = 0,
        journal: Journal | None = None,
        counts_calls: bool = False,
        takes_many: bool = False,
        check: Callable[[EtlBase], None] = lambda _: None,
    ) -> None:
        self._make = make
        self._check = check
        self._size = size
        self._wake = wake
        self._calls = calls
        self._is_ready = is_ready
        self._ends_at_error = ends_at_error
        self._journal = journal
        self.schema: OutputSchema | None = None
        self._has_schema = threading.Event()
        self._context = copy_context()  # the workers belong to the run whose thread this is
        self._questions: SimpleQueue[SchemaQuestion] = SimpleQueue()
        self.running: dict[WorkerKey, Task] = {}
        self._dispatcher = Dispatcher(
            size,
            max_parked,
            self._start_worker,
            counts_calls=counts_calls,
            takes_many=takes_many,
        )
        # The pipeline is woken when fewer tasks wait. Waking it for each of them would cost the workers
        # much of the interpreter's time. It polls for rows that finish in between.
        self._few = 2 * (window_limit(size) - size) / 3
        self._stop = threading.Event()
        self._errors: list[BaseException] = []

    @property
    def error(self) -> BaseException | None:
        """The first error that ends the run; None = there is none so far."""
        return self._errors[0] if self._errors else None

    @property
    def num_waiting(self) -> int:
        """Tasks that no worker has started."""
        return self._dispatcher.num_waiting

    @property
    def num_parked(self) -> int:
        """Tasks whose worker waits without a slot."""
        return self._dispatcher.num_parked

    @property
    def finished(self) -> deque[Task]:
        """Tasks that came to their end, in that order; whoever looks at them removes them."""
        return self._dispatcher.finished

    def set_schema(self, schema: OutputSchema) -> None:
        """Say what the output columns are from now on."""
        self.schema = schema
        self._has_schema.set()

    def wait_for_schema(self) -> None:
        """Called by a worker that has enough rows to decide the columns: returns when they are."""
        self._wake()
        self._has_schema.wait(_SCHEMA_WAIT_S)

    def answer(self, schema_for: Callable[[pa.Schema], OutputSchema]) -> None:
        """Answer what workers have asked."""
        while not self._questions.empty():
            self._questions.get().decide(schema_for)

    def submit(self, tasks: Iterable[Task]) -> None:
        """Queue tasks. Starts workers until there are enough: few rows need few of them."""
        self._dispatcher.submit(tasks)

    def close(self, *, abandon: bool, timeout_s: float) -> None:
        """Stop the workers and wait for them; `after_action` has run on each instance then.

        Args:
            abandon: Drop queued tasks and the rest of running ones; only calls in flight finish.
            timeout_s: How long to wait in total if `abandon` is set.
        """
        raise NotImplementedError

    def keep(self, task: Task, first: int) -> None:
        """Put the outcomes of a task's rows from `first` on into the journal; none = nothing to do."""
        if self._journal is None or task.chunk is None or first < 0:
            return
        begin, outcomes = task.start + first, task.outcomes_between(first, len(task.outcomes))
        self._keep_rows(
            [
                (task.chunk.row_id(index), outcome)
                for index, outcome in enumerate(outcomes, begin)
                if outcome is not MADE  # it holds no rows, and looks like a skipped row
            ]
        )

    def _keep_rows(self, kept: Sequence[tuple[str, Outcome]]) -> None:
        if self._journal is not None:
            self._journal.keep([row_id for row_id, _ in kept], [outcome for _, outcome in kept])

    def give_up(self, task: Task) -> None:
        """End the work at a task that takes too long, where that is possible."""

    def check_blocked(self) -> None:
        """Warn if the workers keep each other from working."""

    def _start_worker(self) -> None:
        raise NotImplementedError

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


def classified(name: str, rows: Sequence[Row], results: list[Any]) -> list[Outcome]:
    """The outcomes of a batch.

    Args:
        name: Of the Etl's class, for messages.
        rows: What the transform was given, in their order.
        results: What it returned.

    Raises:
        JobError: It is not one result per row, in their order.
    """
    if len(results) != len(rows):
        raise JobError(
            f"{name}.transform_batch returned {len(results)} results for "
            f"{len(rows)} rows: it must return one per row, in their order",
            stage="transform",
        )
    _refuse_other_order(name, rows, results)
    return list(map(classify, results))


def _refuse_other_order(name: str, rows: Sequence[Row], results: list[Any]) -> None:
    """Raise if a result is one of the rows, but not the one at its position."""
    positions = {id(row): position for position, row in enumerate(rows)}
    for position, result in enumerate(results):
        if positions.get(id(result), position) != position:
            raise JobError(
                f"{name}.transform_batch returned its rows in another order: result {position} is "
                f"row {positions[id(result)]}. It must return one result per row, in the order in "
                "which it got them",
                stage="transform",
            )


def guard(what: str, call: Callable[[], T]) -> T:
    """Call user code outside of a row; its errors end the run."""
    try:
        return call()
    except Exception as error:
        _raise_outside_of_rows(what, error)


async def guard_async(what: str, call: Callable[[], Awaitable[T] | T]) -> T:
    """As `guard`, for a hook that may be async."""
    try:
        result = call()
        return await result if isinstance(result, Awaitable) else result
    except Exception as error:
        _raise_outside_of_rows(what, error)


def _raise_outside_of_rows(what: str, error: Exception) -> NoReturn:
    if isinstance(error, ConfigError):
        raise ConfigError(f"{what} failed: {error} ({user_line(error)})") from error
    if isinstance(error, EtlkitError):
        raise error
    message = f"{what} failed: {user_error_text(error)}"
    raise JobError(message, stage="transform") from error
