"""The engine's workers, for rows that come one request at a time and have no end.

A run ends at an error that is no row's fault. A service does not: such an error is the reply to its
row, and the next row is tried. So the workers get an Etl around the user's that hands each row's
outcome over at once, and tells them only that the row is done.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from etlkit.api.outcomes import Outcome, classify
from etlkit.api.transform import EtlBase, overrides_batch
from etlkit.api.user_errors import cut_earlier_raises, user_error_text
from etlkit.calls.limits import Meter, as_rate_limit
from etlkit.calls.run_calls import Calls
from etlkit.engine.async_workers import AsyncWorkers
from etlkit.engine.task import Task
from etlkit.engine.worker_group import WorkerGroup, classified
from etlkit.engine.workers import WorkerPool
from etlkit.errors import CapReachedError, ConfigError, JobError, RetryableError, TransformError
from etlkit.rows.frozen import frozen_row
from etlkit.serving.envelope import message_of

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.engine.transform_spec import TransformSpec
    from etlkit.rows.row import Row
    from etlkit.serving.answers import Pending

log: logging.Logger = logging.getLogger("etlkit.serving")

_RETIRE_S = 30.0
"""How long workers that have failed may clean up."""


class Board(Protocol):
    """Where workers find out whether a row is wanted, and leave what it became."""

    def begin(self, pending: Pending) -> bool:
        """Take a row; False = nobody wants it any more."""

    def settle(self, pending: Pending, outcome: Outcome | BaseException) -> None:
        """Leave what a row became."""


class RowWorkers:
    """Runs rows on the engine's workers: parallel, with the job's retries, limits and caps.

    The workers are started with the first row. If they fail as a whole, as `before_action` may, each
    row that waits gets that error, and the next row starts new ones.

    Args:
        job: For its retries, limits and caps.
        spec: The job's transform.
        board: Where outcomes go.
    """

    def __init__(self, job: TransferJob, spec: TransformSpec, board: Board) -> None:
        self._job = job
        self._spec = spec
        self._board = board
        self._lock = threading.Lock()
        self._group: WorkerGroup | None = None
        self._open: set[Pending] = set()
        self._is_closed = False
        self._capped: CapReachedError | None = None
        self._said = ""
        self.meter: Meter = Meter(job.max_calls, job.max_cost, job.price_per_unit, job.currency)

    def submit(self, rows: Sequence[Pending]) -> None:
        """Queue rows. Rows of one call of `transform_batch` are of one request."""
        if not rows:
            return
        with self._lock:
            refused = self._capped or (_ended() if self._is_closed else None)
            if refused is None:
                group = self._group = self._group or self._started()
                self._open.update(rows)
                size = self._spec.batch_size if self._spec.batched else 1
                for start in range(0, len(rows), size):
                    given = cast("Sequence[Row]", rows[start : start + size])
                    group.submit([Task(given)])
        if refused is not None:
            for pending in rows:
                self._board.settle(pending, refused)
            return
        self._look()

    def close(self, timeout_s: float) -> None:
        """Let the rows at work finish, then end the workers; `after_action` has run on each then.

        Args:
            timeout_s: How long they may take. Rows that no worker has taken are not begun.
        """
        with self._lock:
            group, self._group, self._is_closed = self._group, None, True
            rest = self._take_open()
        for pending in rest:
            if not pending.has_begun:
                self._board.settle(pending, _ended())
        if group is not None:
            # Without stopping their calls first: those that are paid for may come to their end.
            ending = threading.Thread(
                target=lambda: group.close(abandon=False, timeout_s=timeout_s), daemon=True
            )
            ending.start()
            ending.join(timeout_s)
            if ending.is_alive():
                group.close(abandon=True, timeout_s=1.0)

    def _started(self) -> WorkerGroup:
        spec, meter = self._spec, self.meter
        calls = Calls(self._job.retry, as_rate_limit(self._job.rate_limit), meter)
        kind = AsyncWorkers if spec.is_async else WorkerPool
        return kind(
            self._make,
            spec.max_concurrency,
            self._look,
            calls,
            lambda: True,
            max_parked=spec.max_parked,
        )

    def _make(self) -> EtlBase:
        etl = self._spec.make()
        batched = overrides_batch(type(etl))
        if self._spec.is_async:
            return (_AsyncBatches if batched else _AsyncRows)(etl, self._begin, self._settle)
        return (_Batches if batched else _Rows)(etl, self._begin, self._settle)

    def _begin(self, pending: Pending) -> bool:
        is_wanted = self._board.begin(pending)
        if not is_wanted:
            with self._lock:
                self._open.discard(pending)
        return is_wanted

    def _settle(self, pending: Pending, outcome: Outcome | BaseException) -> None:
        if isinstance(outcome, CapReachedError):
            self._capped = outcome
        elif isinstance(outcome, (ConfigError, JobError, RetryableError)):
            self._say(f"a row failed, and others may fail likewise: {message_of(outcome)}")
        with self._lock:
            self._open.discard(pending)
        self._board.settle(pending, outcome)

    def _look(self) -> None:
        """Called after rows: see whether the workers failed as a whole."""
        group = self._group
        if group is not None:
            group.finished.clear()  # a pipeline would look at them; here they would become ever more
        if group is None or group.error is None:
            return
        with self._lock:
            if self._group is not group:
                return
            self._group = None
            rest = self._take_open()
        error = self._capped or group.error
        if not isinstance(error, CapReachedError):
            self._say(f"the workers ended, the next row starts new ones: {message_of(error)}")
        for pending in rest:
            if not pending.has_begun:
                self._board.settle(pending, error)
        # On another thread: this one may be a worker's, which cannot wait for itself.
        threading.Thread(
            target=lambda: group.close(abandon=True, timeout_s=_RETIRE_S), daemon=True
        ).start()

    def _say(self, message: str) -> None:
        """Log an error, once until there is another: thousands of rows may meet the same."""
        if message != self._said:
            self._said = message
            log.error("%s", message)

    def _take_open(self) -> list[Pending]:
        rest, self._open = list(self._open), set()
        return rest


class _Served(EtlBase, abstract=True):
    """An Etl around the user's. The rows that it gets are `Pending`, and it returns nothing."""

    def __init__(
        self,
        etl: EtlBase,
        begin: Callable[[Pending], bool],
        settle: Callable[[Pending, Any], None],
    ) -> None:
        self._etl = etl
        self._begin = begin
        self._settle = settle

    def before_action(self) -> Awaitable[None] | None:
        return self._etl.before_action()

    def after_action(self) -> Awaitable[None] | None:
        return self._etl.after_action()

    def _begun(self, rows: Sequence[Any]) -> list[Pending]:
        return [pending for pending in rows if self._begin(pending)]

    def _settle_batch(self, rows: Sequence[Pending], results: Sequence[Any]) -> None:
        own = [cast("Row", pending.row) for pending in rows]
        places = set(map(id, own))
        try:
            # How many there are, and in which order: what they are is for each row to say.
            classified(
                type(self._etl).__name__,
                own,
                [each if id(each) in places else None for each in results],
            )
        except JobError as error:
            results = [error] * len(rows)
        for pending, result in zip(rows, results, strict=True):
            self._settle(pending, outcome_of(lambda result=result: result))  # type: ignore[misc]


class _Rows(_Served):
    def transform_row(self, row: Any) -> None:
        for pending in self._begun([row]):
            try:
                outcome = outcome_of(lambda: self._etl.transform_row(cast("Row", pending.row)))  # noqa: B023
            except BaseException:
                self._settle(pending, _ended())
                raise
            self._settle(pending, outcome)


class _Batches(_Served):
    def transform_batch(self, rows: Sequence[Any]) -> list[None]:
        given = self._begun(rows)
        try:
            if given:
                results = self._results([cast("Row", pending.row) for pending in given])
                self._settle_batch(given, results)
        except BaseException:
            for pending in given:
                self._settle(pending, _ended())
            raise
        return [None] * len(rows)

    def _results(self, rows: list[Row]) -> list[Any]:
        try:
            return list(cast("Sequence[Any]", self._etl.transform_batch(rows)))
        except (Exception, SystemExit) as error:
            return [error] * len(rows)


class _AsyncRows(_Served):
    async def transform_row(self, row: Any) -> None:
        for pending in self._begun([row]):
            try:
                outcome = outcome_of(await _awaited(self._result(pending.row)))
            except BaseException:
                self._settle(pending, _ended())
                raise
            self._settle(pending, outcome)

    async def _result(self, row: Any) -> Any:
        made: Any = self._etl.transform_row(row)
        if inspect.isasyncgen(made):
            return [frozen_row(each) if type(each) is dict else each async for each in made]
        return await made


class _AsyncBatches(_Served):
    async def transform_batch(self, rows: Sequence[Any]) -> list[None]:
        given = self._begun(rows)
        try:
            if given:
                made: Any = self._etl.transform_batch([cast("Row", each.row) for each in given])
                got = await _awaited(made)
                results = _listed(got, len(given))
                self._settle_batch(given, results)
        except BaseException:
            for pending in given:
                self._settle(pending, _ended())
            raise
        return [None] * len(rows)


async def _awaited(made: Awaitable[Any]) -> Callable[[], Any]:
    """What was awaited, as a function that returns or raises it."""
    try:
        result = await made
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        made_of = TransformError(user_error_text(error))
        made_of.__cause__ = error
        return _raising(made_of)
    except (Exception, SystemExit) as error:
        return _raising(error)
    return lambda: result


def _raising(error: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise error

    return call


def _listed(got: Callable[[], Any], num_rows: int) -> list[Any]:
    try:
        return list(got())
    except (Exception, SystemExit) as error:
        return [error] * num_rows


def outcome_of(call: Callable[[], Any]) -> Outcome | BaseException:
    """What a row became, or the error that would have ended a run at it.

    Raises:
        Stopped: The service is ending.
    """
    try:
        result = _result_of(call)
        if not isinstance(result, SystemExit):
            return classify(result)
    except Exception as error:
        return error
    return JobError(f"the transform called sys.exit({result.code!r})", stage="transform")


def _result_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (Exception, SystemExit) as error:
        cut_earlier_raises(error)
        return error


def _ended() -> RetryableError:
    return RetryableError(
        "the service is ending. If the row had begun, its call may have been paid for",
        code="shutdown",
    )
