"""The pipeline of Apache Beam whose elements are workers, in a process of its own."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from etlkit.api.run import STOP_TIMEOUT_S
from etlkit.engines.engine import EngineFailedError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from etlkit.engine.worker_messages import Ended

log: logging.Logger = logging.getLogger("etlkit")

_CANCEL_TIMEOUT_S = 60.0


@contextmanager
def quiet() -> Iterator[None]:
    """Import Beam without its warnings of packages that nobody wants, and without its log handler."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        root.handlers[:] = handlers


class BeamTasks:
    """A pipeline, run by a process of its own: Ctrl-C does not reach it, and it can be killed whole.

    Args:
        work: What each worker runs.
        orders: One for each.
        flags: The options of the pipeline.
        folder: Where the workers' ends are kept; None = in a folder of this machine.
    """

    def __init__(
        self,
        work: Callable[[bytes], bytes],
        orders: Sequence[bytes],
        flags: Sequence[str],
        folder: str | None,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._own_folder = tempfile.TemporaryDirectory(prefix="etlkit-beam-")
        shows_log = folder is not None or log.isEnabledFor(logging.DEBUG)
        path = f"{folder or self._own_folder.name}/etlkit_{secrets.token_hex(8)}.ended"
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_run,
            args=(theirs, work, orders, flags, path, shows_log),
            name="etlkit-beam",
        )
        self._process.start()
        theirs.close()  # so that it is closed when the process ends
        self.is_done: bool = False

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """See `etlkit.engines.engine.EngineTasks.wait`: all workers end together."""
        if not self._pipe.poll(timeout_s):
            return []
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            answer = "the process of the pipeline died"
        self._close(_CANCEL_TIMEOUT_S)
        if isinstance(answer, str):
            raise EngineFailedError(answer)
        return [pickle.loads(each) for each in answer]  # noqa: S301 - made by our workers  # nosec B301

    def cancel(self) -> None:
        """See `etlkit.engines.engine.EngineTasks.cancel`."""
        if not self.is_done:
            with contextlib.suppress(OSError):
                self._pipe.send("cancel")
            self._close(_CANCEL_TIMEOUT_S)

    def _close(self, timeout_s: float) -> None:
        """End the process and all that it has started."""
        self.is_done = True
        self._process.join(timeout=timeout_s)
        if self._process.pid is not None:
            with contextlib.suppress(OSError):  # it is over, with all of its group
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._pipe.close()
        self._own_folder.cleanup()


def _run(
    pipe: Connection,
    work: Callable[[bytes], bytes],
    orders: Sequence[bytes],
    flags: Sequence[str],
    path: str,
    shows_log: bool,
) -> None:
    """Run the pipeline in this process, and send how its workers ended, or why it failed."""
    os.setsid()
    # Workers of this machine talk a lot. What they print must not come between our lines on stdout.
    os.dup2(2 if shows_log else os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    if shows_log:  # Dataflow says where its page of the job is
        logging.basicConfig(level=logging.INFO)
    running: list[Any] = []
    threading.Thread(target=_listen, args=(pipe, running), daemon=True).start()
    try:
        answer: Any = _ends(work, orders, flags, path, running)
    except BaseException as error:
        lines = str(error).strip().splitlines() or [""]
        answer = f"{type(error).__name__}: {lines[-1]}"
    with contextlib.suppress(OSError):
        pipe.send(answer)


def _listen(pipe: Connection, running: list[Any]) -> None:
    """Cancel the pipeline when the run's process asks for it, or end with it."""
    try:
        pipe.recv()
    except (EOFError, OSError):
        time.sleep(STOP_TIMEOUT_S)  # the workers see that it is gone, and end by themselves
    for result in running:
        with contextlib.suppress(Exception):
            result.cancel()
    if not running:
        os.killpg(0, signal.SIGKILL)


def _ends(
    work: Callable[[bytes], bytes],
    orders: Sequence[bytes],
    flags: Sequence[str],
    path: str,
    running: list[Any],
) -> Sequence[bytes]:
    with quiet():
        import apache_beam as beam
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.transforms.combiners import ToListCombineFn

    pipeline = beam.Pipeline(options=PipelineOptions(flags=list(flags)))
    _ = (
        pipeline
        | "Orders" >> beam.Create(orders)
        | "Spread" >> beam.Reshuffle()
        | "Work" >> beam.Map(work)
        | "Gather" >> beam.CombineGlobally(ToListCombineFn())
        | "Keep" >> beam.Map(partial(_keep, path))
    )
    result = pipeline.run()
    running.append(result)
    result.wait_until_finish()
    with FileSystems.open(path) as file:
        ended: Sequence[bytes] = pickle.loads(file.read())  # noqa: S301 - made by `_keep`  # nosec B301
    FileSystems.delete([path])
    return ended


def _keep(path: str, ended: Sequence[bytes]) -> None:
    """Keep how the workers ended where the run's process finds it."""
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.create(path) as file:
        file.write(pickle.dumps(list(ended)))
