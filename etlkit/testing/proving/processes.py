"""Processes that start within milliseconds: forked from one that has imported everything.

The server reads one order a line on its standard input, forks, says the child's number, and says how it
ended. It is started by a command of its own, so that nothing of the caller is in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final, Self, cast

from etlkit.errors import JobError
from etlkit.testing.proving.attempt import Order, Outcome

_START_S: Final = 120.0
_END_S: Final = 10.0


class ForkServer:
    """The server, from outside. Use it in a `with` block.

    Args:
        command: Starts it; see `serve`.
        hash_seed: Python's seed of hashes, which gives sets of texts their order.
        log: File for what it writes on stderr.
    """

    def __init__(self, command: Sequence[str], hash_seed: int, log: Path) -> None:
        self._log = log
        with log.open("a") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 - our own command  # nosec B603
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={
                    **os.environ,
                    "PYTHONHASHSEED": str(hash_seed),
                    "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",  # macOS would end the child
                },
            )
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                stream.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def start(self, order: Order) -> Child:
        """Start a process."""
        Path(order.outcome).unlink(missing_ok=True)
        try:
            self._stdin.write(json.dumps(asdict(order)).encode() + b"\n")
            self._stdin.flush()
        except OSError as error:
            raise self._gone() from error
        said = self.hear(_START_S)
        if said is None:
            raise self._gone()
        return Child(self, said["pid"], Path(order.outcome))

    def hear(self, timeout_s: float) -> Mapping[str, Any] | None:
        """The next thing that the server says; None = nothing in this time.

        Raises:
            JobError: The server has ended.
        """
        number = self._stdout.fileno()
        ends_at = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            ready, _, _ = select.select([number], [], [], max(0.0, ends_at - time.monotonic()))
            if not ready:
                return None
            chunk = os.read(number, 4096)
            if not chunk:
                raise self._gone()
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        said: Mapping[str, Any] = json.loads(line)
        return said

    def _gone(self) -> JobError:
        lines = self._log.read_text(errors="replace").strip().splitlines()[-5:]
        return JobError("the process that starts runs has ended: " + " / ".join(lines))


class Child:
    """One process, from outside.

    Attributes:
        was_killed: Whether `kill` was called while it ran.
    """

    def __init__(self, server: ForkServer, pid: int, outcome: Path) -> None:
        self._server, self._pid, self._outcome = server, pid, outcome
        self._has_ended = False
        self.was_killed: bool = False

    def kill(self) -> None:
        """SIGKILL to it and to all that it has started; from any thread, at any time."""
        if self._has_ended:
            return
        self.was_killed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False = it has not ended in this time."""
        if not self._has_ended:
            said = self._server.hear(timeout_s)
            self._has_ended = said is not None
            self.status = 0 if said is None else int(said["status"])
        return self._has_ended

    def outcome(self) -> Outcome | None:
        """How it ended; None = it was killed before it could say so."""
        if not self._outcome.exists():
            return None
        return Outcome(**json.loads(self._outcome.read_text(encoding="utf-8")))


def serve(handle: Callable[[Order], None]) -> None:
    """Be the server: fork for each order, one after the other, until standard input ends.

    Args:
        handle: What the child does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who ends this one
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            _be_child(handle, Order(**json.loads(line)))
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # also here: the caller may kill it before it runs
        _say(pid=pid)
        _, status = os.waitpid(pid, 0)
        _say(status=os.waitstatus_to_exitcode(status))


def _be_child(handle: Callable[[Order], None], order: Order) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with open(os.devnull) as nothing:  # noqa: PTH123 - a descriptor is wanted
            os.dup2(nothing.fileno(), 0)
        handle(order)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # not back into the server's loop


def _say(**what: int) -> None:
    try:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()
    except OSError:  # the caller has gone
        raise SystemExit(0) from None
