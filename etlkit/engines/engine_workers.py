"""The workers of a shared run on an engine, for the process that holds the run: start, watch, stop."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from etlkit.api.run import STOP_TIMEOUT_S, Interrupted
from etlkit.engine.worker_launcher import SharedWork, sum_of
from etlkit.engines.engine import EngineFailedError
from etlkit.engines.sent_order import sent_order
from etlkit.errors import EtlkitError, JobError, RunTakenOverError, SinkError

if TYPE_CHECKING:
    from etlkit.engine.worker_messages import Ended, Usage
    from etlkit.engines.engine import Engine, EngineTasks

log: logging.Logger = logging.getLogger("etlkit")

_POLL_S = 0.2
_LOOK_S = 5.0
"""Between two looks at what the workers have told BigQuery: each is a query."""

_END_TIMEOUT_S = STOP_TIMEOUT_S + 15.0
"""How long workers may take to end after they were told to stop, which they see after some seconds."""


class EngineWorkers:
    """Runs the transform of a shared run on an engine; see `etlkit.engine.worker_launcher.Workers`.

    What workers have done is known when they end. Until then only how many rows are settled is shown.

    Args:
        work: What is shared.
        engine: Where the workers run.
        main: What each worker runs.
    """

    def __init__(
        self,
        work: SharedWork,
        *,
        engine: Engine,
        main: Callable[[bytes], bytes],
    ) -> None:
        self._work = work
        self._engine = engine
        self._main = main
        self._gone: list[Usage] = []
        self._errors: list[BaseException] = []
        self._looked_at = time.monotonic()
        self._num_restarts = 0

    @property
    def usage(self) -> Usage:
        """See `etlkit.engine.worker_launcher.Workers.usage`."""
        return sum_of(self._gone)

    def run_all(self) -> None:
        """See `etlkit.engine.worker_launcher.Workers.run_all`."""
        with self._engine.connect() as num_places:
            num_workers = self._work.num_useful(num_places)
            log.info("%d workers on %s", num_workers, self._engine.name)
            while not self._run_once(num_workers):
                self._num_restarts += 1
        self._work.on_usage(self.usage)

    def _run_once(self, num_workers: int) -> bool:
        """Whether all workers have come to their end; False = the engine has lost one."""
        orders = [self._work.order(index, num_workers) for index in range(num_workers)]
        tasks = self._engine.start(self._main, list(map(sent_order, orders)))
        try:
            while not tasks.is_done:
                self._step(tasks)
        except EngineFailedError as failure:
            tasks.cancel()
            self._allow_restart(failure)
            return False
        except BaseException:
            self._stop(tasks)
            raise
        return True

    def _step(self, tasks: EngineTasks) -> None:
        work = self._work
        if work.run.stop_signal is not None:
            log.warning(
                "stopping: the workers have %.0f s to end; another Ctrl-C ends at once",
                _END_TIMEOUT_S,
            )
            raise Interrupted(work.run.stop_signal)
        work.check()
        for ended in tasks.wait(_POLL_S):
            self._add(ended)
        if self._errors:
            raise self._errors[0]
        if time.monotonic() - self._looked_at >= _LOOK_S:
            self._look(tasks)

    def _add(self, ended: Ended) -> None:
        self._gone.append(ended.usage)
        for line in ended.lines:
            line.write(ended.index)
        if ended.error is None:
            return
        error: BaseException = pickle.loads(ended.error)  # noqa: S301 - our own worker made it  # nosec B301
        if isinstance(error, (Interrupted, RunTakenOverError)):
            log.info("a worker has left its rows to the others: %s", error)
        else:
            self._errors.append(error)

    def _look(self, tasks: EngineTasks) -> None:
        """Show how many rows are settled, and end all workers if one has failed."""
        self._looked_at = time.monotonic()
        try:
            workers = self._work.writer.workers_now()
        except SinkError as error:  # the workers go on without being looked at
            log.info("%s", error)
            return
        usage = self.usage
        read = max(usage.counts.read, workers.num_rows)
        self._work.on_usage(replace(usage, counts=replace(usage.counts, read=read)))
        if workers.have_failed:
            self._stop(tasks)
            raise next(
                iter(self._errors),
                JobError("a worker failed; its log on the engine says why", stage="transform"),
            )

    def _stop(self, tasks: EngineTasks) -> None:
        """Tell all workers to stop, and wait until they have. Keeps what they tell at their end."""
        try:
            self._work.writer.stop_workers()
        except EtlkitError as error:  # the first error is the one to report
            log.warning("the workers could not be told to stop: %s", error)
        until = time.monotonic() + _END_TIMEOUT_S
        try:
            while not tasks.is_done and time.monotonic() < until:
                for ended in tasks.wait(_POLL_S):
                    self._add(ended)
        except EngineFailedError as failure:
            log.info("%s: %s", self._engine.name, failure)
        finally:
            tasks.cancel()

    def _allow_restart(self, failure: EngineFailedError) -> None:
        if self._num_restarts >= self._engine.max_restarts:
            raise JobError(
                f"{self._engine.name} lost workers {self._num_restarts + 1} times, the last time so: "
                f"{failure}. Did one need too much memory? Finished rows are kept; go on with --resume",
                stage="transform",
            ) from failure
        log.warning(
            "%s lost a worker (%s); the workers are started again", self._engine.name, failure
        )
