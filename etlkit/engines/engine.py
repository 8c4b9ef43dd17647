"""What an engine is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from etlkit.engine.worker_messages import Ended


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
