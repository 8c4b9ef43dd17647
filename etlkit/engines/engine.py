"""What an engine is, and which there are."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from etlkit.errors import ConfigError, missing_packages

if TYPE_CHECKING:
    from etlkit.engine.worker_messages import Ended

PACKAGES = {"beam": "apache_beam", "ray": "ray"}
"""Engine to the package that it needs; its extra has the engine's name."""


class EngineFailedError(Exception):
    """The engine did not bring a worker to its end, after all that it does about that by itself."""


class EngineTasks(Protocol):
    """Workers that were given to an engine."""

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """Wait until a worker has ended, at most so long.

        Returns:
            How workers have ended, each once.

        Raises:
            EngineFailedError: The engine has lost one.
        """

    @property
    def is_done(self) -> bool:
        """Whether all have ended."""

    def cancel(self) -> None:
        """End those that are left, at once."""


class Engine(Protocol):
    """A way to run a function on other processes, or other machines.

    Attributes:
        name: As on the command line.
        max_restarts: How often all workers are given to it again after it has lost one.
        is_remote: Whether its workers may be on other machines.
    """

    name: str
    max_restarts: int
    is_remote: bool

    def check(self) -> None:
        """Find what is wrong with the arguments, without any I/O.

        Raises:
            ConfigError: An argument is unknown, or its value is wrong.
        """

    def connect(self) -> AbstractContextManager[int]:
        """Be ready to start workers, inside of a `with` block.

        Returns:
            A context manager that gives how many workers there will be.

        Raises:
            JobError: The engine cannot be reached.
        """

    def start(self, work: Callable[[bytes], bytes], orders: Sequence[bytes]) -> EngineTasks:
        """Start a worker for each order."""


def make_engine(
    name: str,
    arguments: Mapping[str, str],
    num_workers: int | None,
    environ: Mapping[str, str],
) -> Engine:
    """Make the engine of a name.

    Args:
        name: `beam` or `ray`.
        arguments: The engine's own options.
        num_workers: How many workers share the run; None = as many as the engine has processors.
        environ: The environment variables.

    Raises:
        ConfigError: No such engine, it is not installed, or an argument is wrong.
    """
    if name not in PACKAGES:
        raise ConfigError(f"no engine {name!r}: there are {' and '.join(PACKAGES)}")
    if importlib.util.find_spec(PACKAGES[name]) is None:
        raise missing_packages(f"{PACKAGES[name]} is not installed", name)
    engine: Engine
    if name == "beam":
        from etlkit.engines.beam import BeamEngine

        engine = BeamEngine(arguments, num_workers)
    else:
        from etlkit.engines.ray import RayEngine

        engine = RayEngine(arguments, num_workers, environ)
    engine.check()
    return engine
