"""Workers as elements of an Apache Beam pipeline, on this machine or on Dataflow."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import pickle
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

from etlkit.api.run import STOP_TIMEOUT_S
from etlkit.engines.engine import EngineFailedError
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from etlkit.engine.worker_messages import Ended

_HERE = frozenset({"DirectRunner", "FnApiRunner"})
"""Both are Beam's FnApiRunner here: DirectRunner would try Prism first, whose binary it downloads."""

_OURS = {
    "direct_num_workers": "--workers N says it",
    "direct_running_mode": "workers are processes",
}
_CANCEL_TIMEOUT_S = 60.0


class BeamEngine:
    """See `etlkit.engines.engine.Engine`.

    Args:
        arguments: Options of pipelines, e.g. `runner` and `region`
            (https://cloud.google.com/dataflow/docs/reference/pipeline-options).
        num_workers: How many elements the pipeline has; None = as many as this machine has processors.
    """

    name = "beam"

    def __init__(self, arguments: Mapping[str, str], num_workers: int | None) -> None:
        self._arguments = dict(arguments)
        self._runner = self._arguments.pop("runner", "DirectRunner")
        self.is_remote: bool = self._runner not in _HERE
        self.max_restarts: int = 0 if self.is_remote else 3
        self._num_workers = num_workers

    def check(self) -> None:
        """See `etlkit.engines.engine.Engine.check`."""
        for name in self._arguments.keys() & _OURS.keys():
            raise ConfigError(f"--engine-arg {name} cannot be set: {_OURS[name]}")
        from apache_beam.options.pipeline_options import PipelineOptions

        parser = _Parser(allow_abbrev=False)
        for options in PipelineOptions.__subclasses__():
            with contextlib.suppress(argparse.ArgumentError):  # two classes have one option
                options._add_argparse_args(parser)  # noqa: SLF001 - what authors of options define
        _, unknown = parser.parse_known_args(self._flags())
        if unknown:
            name = unknown[0].removeprefix("--").partition("=")[0]
            raise ConfigError(f"--engine-arg {name}: Beam's pipelines have no such option")
        if self.is_remote and self._num_workers is None:
            raise ConfigError(
                f"say with --workers N how many workers share the run on {self._runner}"
            )
        if self.is_remote and not self._arguments.get("temp_location"):
            raise ConfigError(
                f"{self._runner} needs --engine-arg temp_location=gs://BUCKET/FOLDER, where workers "
                "leave what they have done"
            )

    def _flags(self) -> list[str]:
        return [
            f"--{name}" if value in {"", "true"} else f"--{name}={value}"
            for name, value in self._arguments.items()
        ]

    @contextmanager
    def connect(self) -> Iterator[int]:
        """See `etlkit.engines.engine.Engine.connect`."""
        yield self._num_workers or os.cpu_count() or 1

    def start(self, work: Callable[[bytes], bytes], orders: Sequence[bytes]) -> BeamTasks:
        """See `etlkit.engines.engine.Engine.start`."""
        flags = [f"--runner={self._runner}", *self._flags()]
        if not self.is_remote:
            flags[0] = "--runner=FnApiRunner"
            flags += ["--direct_running_mode=multi_processing"]
            flags += [f"--direct_num_workers={len(orders)}"]
            flags += ["--default_sdk_harness_log_level=WARNING"]
        return BeamTasks(work, orders, flags, self._arguments.get("temp_location"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"--engine-arg: {message.replace('argument --', '', 1)}")


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
        path = f"{folder or self._own_folder.name}/etlkit_{secrets.token_hex(8)}.ended"
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_run, args=(theirs, work, orders, flags, path), name="etlkit-beam"
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
) -> None:
    """Run the pipeline in this process, and send how its workers ended, or why it failed."""
    os.setsid()
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
