"""The worker processes of a shared run, for the process that holds it: start, watch, stop."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from etlkit.api.run import STOP_TIMEOUT_S, Interrupted, Worker
from etlkit.engine.importable import check_importable
from etlkit.engine.worker_launcher import SharedWork, sum_of
from etlkit.engine.worker_messages import Ended, LogLine, Order, Stop, Usage
from etlkit.errors import JobError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess

log: logging.Logger = logging.getLogger("etlkit")

_POLL_S = 0.1
_END_TIMEOUT_S = STOP_TIMEOUT_S + 10.0
"""How long workers may take to end after they were asked to; those that are left are killed."""

_FROZEN_TIMEOUT_S = 300.0
"""How long a worker may still take when another one has found that all rows are settled: for its
`after_action`. One that stands still would hold up the run for ever."""

_MAX_DEATHS = 3
"""How often the process of one worker may die before the run ends: it would die again."""

Main = Callable[[Connection, Order], None]
"""What a worker's process runs."""


@dataclass(eq=False)
class _Process:
    """A worker's process.

    Attributes:
        worker: Which worker it is.
        process: The process.
        pipe: To and from it.
        usage: What it has told last.
        end: Its last message; None = it is at work, or died.
    """

    worker: Worker
    process: BaseProcess
    pipe: Connection
    usage: Usage = field(default_factory=Usage)
    end: Ended | None = None


class WorkerProcesses:
    """Runs the transform of a shared run in processes of this machine; see `WorkerLauncher`.

    Args:
        work: What is shared.
        main: What each process runs; a function at the top of a module.
        needed: Modules that each process needs, and that start no thread.
    """

    def __init__(self, work: SharedWork, main: Main, needed: Sequence[str] = ()) -> None:
        self._work = work
        self._run = work.run
        self._num_workers = work.num_useful(work.run.num_workers or 1)
        self._main = main
        self._context = _context(needed)
        self._processes: list[_Process] = []
        self._gone: list[Usage] = []
        self._deaths: Counter[int] = Counter()
        self._done_at: float | None = None

    @property
    def usage(self) -> Usage:
        """See `etlkit.engine.worker_launcher.Workers.usage`."""
        return sum_of([*self._gone, *(each.usage for each in self._processes)])

    def run_all(self) -> None:
        """See `etlkit.engine.worker_launcher.Workers.run_all`."""
        # A resume finds out only now that the run has workers.
        check_importable(self._work.job, with_script=True)
        # Without this, the signal would break into whatever runs here, such as the start of a process.
        self._run.on_stop(_seen_by_step)
        try:
            for index in range(self._num_workers):
                self._start(index)
            while self._processes:
                self._step()
        except BaseException:
            self._stop_all(self._run.stop_signal or signal.SIGTERM)
            raise

    def _step(self) -> None:
        if self._run.stop_signal is not None:
            log.warning(
                "stopping: the workers have %.0f s to end; another Ctrl-C ends at once",
                STOP_TIMEOUT_S,
            )
            raise Interrupted(self._run.stop_signal)
        self._work.check()
        wait([each.pipe for each in self._processes], timeout=_POLL_S)
        for each in list(self._processes):
            self._receive(each)
            if each.end is not None or not each.process.is_alive():
                self._receive(each)  # what it told in its last moment
                self._remove(each)
        self._end_frozen()
        self._work.on_usage(self.usage)

    def _end_frozen(self) -> None:
        """Kill workers that stand still, when another one has said long ago that all rows are settled.

        Their shards were given to others meanwhile, so nothing of value is lost.
        """
        if self._done_at is None or time.monotonic() - self._done_at < _FROZEN_TIMEOUT_S:
            return
        for each in self._processes:
            log.warning(
                "worker %d does not end although all rows are settled: it is killed",
                each.worker.index + 1,
            )
            self._gone.append(each.usage)
            each.process.kill()
            each.process.join()
            each.pipe.close()
        self._processes.clear()

    def _start(self, index: int) -> None:
        order = self._work.order(index, self._num_workers)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_run,
            args=(self._main, dict(os.environ), theirs, order),
            name=f"etlkit-worker-{index + 1}",
        )
        process.start()
        theirs.close()  # so that it is closed when the process ends
        self._processes.append(_Process(order.worker, process, ours))

    def _receive(self, each: _Process) -> None:
        with contextlib.suppress(EOFError, OSError):
            while each.pipe.poll():
                message = each.pipe.recv()
                if isinstance(message, LogLine):
                    message.write(each.worker.index)
                elif isinstance(message, Ended):
                    each.usage, each.end = message.usage, message
                elif isinstance(message, Usage):
                    each.usage = message

    def _remove(self, each: _Process) -> None:
        """Take a worker that has ended out of the list, or start another one if it died.

        Raises:
            EtlkitError: It failed.
        """
        self._processes.remove(each)
        self._gone.append(each.usage)
        each.process.join(timeout=_END_TIMEOUT_S)
        each.pipe.close()
        if each.end is None:
            self._restart(each)
        elif each.end.error is not None:
            raise pickle.loads(each.end.error)  # noqa: S301 - our own process made it  # nosec B301
        elif self._done_at is None:
            self._done_at = time.monotonic()

    def _restart(self, each: _Process) -> None:
        index = each.worker.index % self._num_workers
        self._deaths[index] += 1
        status = each.process.exitcode
        what = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        if self._deaths[index] > _MAX_DEATHS:
            raise JobError(
                f"the process of worker {index + 1} died {self._deaths[index]} times, the last time "
                f"by {what}. Did it need too much memory? Finished rows are kept; go on with --resume",
                stage="transform",
            )
        log.warning("worker %d died (%s); another one takes its place", index + 1, what)
        self._start(index)

    def _stop_all(self, signum: int) -> None:
        """Ask all workers to stop, and wait until they have. Keeps what they have told."""
        for each in self._processes:
            with contextlib.suppress(OSError):
                each.pipe.send(Stop(signum))
        until = time.monotonic() + _END_TIMEOUT_S
        while self._processes and time.monotonic() < until:
            wait([each.pipe for each in self._processes], timeout=_POLL_S)
            for each in list(self._processes):
                self._receive(each)
                if each.end is not None or not each.process.is_alive():
                    self._receive(each)
                    self._processes.remove(each)
                    self._gone.append(each.usage)
                    each.process.join(timeout=_END_TIMEOUT_S)
        for each in self._processes:
            each.process.kill()
            each.process.join()


def _seen_by_step() -> None:
    """The request to stop is seen at the next step, a tenth of a second later at most."""


def _context(needed: Sequence[str]) -> ForkServerContext | SpawnContext:
    """How processes begin: none shares a thread, a lock or a connection with this one.

    The imports of a worker take a second of processor time. On Linux a process without threads imports
    what is needed once, and workers are forked from that
    (https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods).
    """
    if sys.platform != "linux":  # the system's own libraries do not survive a fork elsewhere
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(needed))
    return context


def _run(main: Main, environ: dict[str, str], pipe: Connection, order: Order) -> None:
    """Run a worker with today's environment: that of the process that forks it may be an older one."""
    os.environ.clear()
    os.environ.update(environ)
    main(pipe, order)
