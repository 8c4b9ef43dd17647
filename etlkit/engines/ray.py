"""Workers as tasks of Ray Core, on this machine or on a cluster."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil

from etlkit.calls.local_token import is_loopback
from etlkit.engines.engine import EngineFailedError
from etlkit.errors import ConfigError, JobError

if TYPE_CHECKING:
    from etlkit.engine.worker_messages import Ended

_TEXTS = ("address", "working_dir")
_NUMBERS = ("num_cpus", "num_gpus", "memory")
"""What each worker takes; https://docs.ray.io/en/latest/ray-core/scheduling/resources.html"""

_LOCAL = "local"
_MAX_RETRIES = 3
"""How often Ray starts a worker again whose process or node is gone."""


class RayEngine:
    """See `etlkit.engines.engine.Engine`.

    Args:
        arguments: `address` of a cluster, `working_dir` that it gets, and `num_cpus`, `num_gpus` and
            `memory` in bytes of each worker.
        num_workers: How many tasks there are; None = as many as fit into the processors.
        environ: `RAY_ADDRESS` is the address if none is given.
    """

    name = "ray"
    max_restarts = 0  # Ray does that itself

    def __init__(
        self, arguments: Mapping[str, str], num_workers: int | None, environ: Mapping[str, str]
    ) -> None:
        self._arguments = dict(arguments)
        self._address = self._arguments.get("address") or environ.get("RAY_ADDRESS") or _LOCAL
        self.is_remote: bool = self._address not in {_LOCAL, "auto"} and not _is_here(self._address)
        self._num_workers = num_workers
        self._needs: dict[str, float] = {"num_cpus": 1.0}

    def check(self) -> None:
        """See `etlkit.engines.engine.Engine.check`."""
        for name, value in self._arguments.items():
            if name in _NUMBERS:
                self._needs[name] = _number(name, value)
            elif name not in _TEXTS:
                known = ", ".join((*_TEXTS, *_NUMBERS))
                raise ConfigError(f"--engine-arg {name}: for ray there are {known}")
        folder = self._arguments.get("working_dir")
        if folder is not None and "://" not in folder and not os.path.isdir(folder):  # noqa: PTH112
            raise ConfigError(f"--engine-arg working_dir={folder}: there is no such folder")

    @contextmanager
    def connect(self) -> Iterator[int]:
        """See `etlkit.engines.engine.Engine.connect`. A connection that is there is used, and stays."""
        import ray

        is_own = not ray.is_initialized()
        if is_own:
            with _same_signals():
                self._init(ray)
        try:
            cpus = ray.cluster_resources().get("CPU", 1.0)
            yield self._num_workers or max(1, int(cpus // max(self._needs["num_cpus"], 1.0)))
        finally:
            if is_own:
                ray.shutdown()

    def _init(self, ray: Any) -> None:
        options: dict[str, Any] = {"address": self._address}
        if self._address == _LOCAL:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            cpus = (self._num_workers or 1) * self._needs["num_cpus"]
            options |= {"num_cpus": max(os.cpu_count() or 1, round(cpus + 0.5))}
            options |= {"include_dashboard": False}
        if "working_dir" in self._arguments:
            options["runtime_env"] = {"working_dir": self._arguments["working_dir"]}
        try:
            # What workers print would come between our own lines on stdout, the report's among them.
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            raise JobError(f"Ray at {self._address} cannot be reached: {error}") from error

    def start(self, work: Callable[[bytes], bytes], orders: Sequence[bytes]) -> RayTasks:
        """See `etlkit.engines.engine.Engine.start`."""
        import ray

        task = ray.remote(work).options(
            **self._needs,
            name="etlkit-worker",
            max_retries=_MAX_RETRIES,
            scheduling_strategy="SPREAD",
        )
        return RayTasks([task.remote(order) for order in orders])


class RayTasks:
    """See `etlkit.engines.engine.EngineTasks`."""

    def __init__(self, tasks: Sequence[Any]) -> None:
        self._left = list(tasks)

    @property
    def is_done(self) -> bool:
        """See `etlkit.engines.engine.EngineTasks.is_done`."""
        return not self._left

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """See `etlkit.engines.engine.EngineTasks.wait`."""
        import ray

        done, self._left = ray.wait(self._left, num_returns=len(self._left), timeout=timeout_s)
        try:
            return [pickle.loads(each) for each in ray.get(done)]  # noqa: S301 - our worker made it  # nosec B301
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            raise EngineFailedError(f"{type(error).__name__}: {lines[0]}") from error

    def cancel(self) -> None:
        """See `etlkit.engines.engine.EngineTasks.cancel`."""
        import ray

        for task in self._left:
            ray.cancel(task, force=True)
        self._left = []


@contextmanager
def _same_signals() -> Iterator[None]:
    """Keep the handlers of signals: Ray sets its own, with which SIGTERM would end this process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _is_here(address: str) -> bool:
    """Whether an address is on this machine; a cluster has that of a network interface."""
    host = urlsplit(address if "://" in address else f"//{address}").hostname
    own = {each.address for found in psutil.net_if_addrs().values() for each in found}
    return is_loopback(address) or host in own


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ConfigError(f"--engine-arg {name}={value}: it is a number, 0 or more")
    return number
