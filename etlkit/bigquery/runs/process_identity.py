"""Who a process is, and whether a process that a guard names is certainly gone."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import psutil

PROCESS_ID = secrets.token_hex(8)
"""This process, for every run it makes. Host names and numbers of processes are for people: containers
share both."""

_START_TOLERANCE_S = 1.0
"""Two readings of one process's start time may differ by their rounding."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, as its guard names it.

    Attributes:
        process: `PROCESS_ID` of that process.
        host: Its host's name, for people.
        pid: Its number, for people and for `is_dead`.
        boot_id: Identifies the boot of its machine; empty = not known.
        pid_namespace: Identifies the space in which `pid` is unique; empty = not known.
        started: Its start, in seconds since the boot: unlike the time of day, nobody sets it.
    """

    process: str
    host: str
    pid: int
    boot_id: str = ""
    pid_namespace: str = ""
    started: float = 0.0

    @classmethod
    def current(cls) -> Self:
        """This process."""
        import psutil

        return cls(
            process=PROCESS_ID,
            host=socket.gethostname(),
            pid=os.getpid(),
            boot_id=_boot_id(),
            pid_namespace=_pid_namespace(),
            started=_started(psutil.Process()),
        )

    @classmethod
    def from_json(cls, text: str | None) -> Self | None:
        """Read what `to_json` wrote; None = it is something else."""
        try:
            return cls(**json.loads(text or ""))
        except (TypeError, ValueError):
            return None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        """For messages: `process 12 on host-1`."""
        return f"process {self.pid} on {self.host}"

    def is_dead(self) -> bool:
        """Whether the process is certainly gone.

        That is only known of a process of the same boot and the same space of process numbers: it is
        not there, it is a zombie, or its number belongs to a process with another start.
        """
        import psutil

        if not (self.boot_id and self.pid_namespace):
            return False
        if (self.boot_id, self.pid_namespace) != (_boot_id(), _pid_namespace()):
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            return abs(_started(process) - self.started) > _START_TOLERANCE_S
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def _started(process: psutil.Process) -> float:
    import psutil

    return float(process.create_time() - psutil.boot_time())


def _begin_again() -> None:
    """A forked process is another one."""
    global PROCESS_ID  # noqa: PLW0603
    PROCESS_ID = secrets.token_hex(8)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)


def _boot_id() -> str:
    """Linux tells; elsewhere nothing is known, and a dead process is found by its lease."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
