"""Who we are, and whether the process that a ledger row names is still alive."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

LEASE_S = 60.0
"""A running attempt that gave no sign of life for so long is taken for dead."""


def process_start(pid: int) -> str:
    """When a process began, in a form that only compares; empty = unknown or gone.

    A number alone may belong to a later process. Linux tells the start time in /proc; elsewhere the
    number has to do.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


HOST = socket.gethostname()
PID = os.getpid()
STARTED = process_start(PID)


def is_dead(host: str | None, pid: int | None, started: str | None) -> bool:
    """Whether a process is certainly gone; of another machine's processes nothing is certain."""
    if host != HOST or pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return bool(started) and process_start(pid) != started


def is_alive(row: Any) -> bool:
    """Whether the attempt that a ledger row tells of may still be at work."""
    if row["state"] not in {"starting", "running"} or is_dead(
        row["host"], row["pid"], row["pid_started"]
    ):
        return False
    if row["host"] == HOST:
        return True  # its process is there; a long publish shows no other sign of life
    return bool(datetime.now(UTC) - row["updated_at"] < timedelta(seconds=LEASE_S))
