"""Processes of Python that have imported already what takes a second of processor time.

A first process imports it, once for each process of tests, and forks the others from itself. They are
processes in every other way: with a number, an environment, pipes, signals and an exit status.
Where the start of a process is what a test is about, it starts one in the normal way.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
IMPORTED = (
    "etlkit.cli.run",
    "etlkit.bigquery.datamart.run",
    "etlkit.bigquery.source",
    "etlkit.bigquery.storage.read_rows",
    "etlkit.bigquery.publish.publisher",
    "etlkit.engine.transfer",
    "etlkit.local",
    "etlkit.runner",
    "etlkit.workflow.workflow_run",
    "filelock",
    "google.cloud.bigquery",
    "google.cloud.bigquery_storage_v1",
    "psutil",
    "pyarrow",
    "rich.console",
    "sqlglot",
)
_ANSWER_BYTES = 64
_TIMEOUT_S = 60


class WarmPython:
    """`python …` as a process, with the part of `subprocess.Popen` that tests use.

    Args:
        arguments: A script or `-m` and a module, and its own arguments.
        cwd: Its working directory.
        env: Its whole environment.
        stderr: A file, or `subprocess.STDOUT`, or None = a pipe.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        *,
        cwd: Path | str,
        env: Mapping[str, str],
        stderr: IO | int | None = None,
    ) -> None:
        self.args = [sys.executable, *map(str, arguments)]
        self.returncode: int | None = None
        out, child_out = os.pipe()
        self.stdout: IO[str] = os.fdopen(out, encoding="utf-8")
        self.stderr: IO[str] | None = None
        given = [child_out]
        if stderr is None:
            err, child_err = os.pipe()
            self.stderr = os.fdopen(err, encoding="utf-8")
            given.append(child_err)
        else:
            given.append(child_out if stderr == subprocess.STDOUT else stderr.fileno())
        self._monitor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._monitor.settimeout(_TIMEOUT_S)
        self._monitor.connect(_first_process())
        order = {"arguments": self.args[1:], "cwd": str(cwd), "env": dict(env)}
        socket.send_fds(self._monitor, [json.dumps(order).encode()], given)
        os.close(child_out)
        if stderr is None:
            os.close(child_err)
        self.pid = int(self._monitor.recv(_ANSWER_BYTES))

    def poll(self) -> int | None:
        """The exit status; None = it has not ended."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return when it has ended."""
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._monitor.settimeout(timeout)
            with contextlib.suppress(TimeoutError, BlockingIOError):
                self.returncode = int(self._monitor.recv(_ANSWER_BYTES))
                self._monitor.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Let it end; gives what it wrote. The smaller output, stderr, must fit into a pipe."""
        deadline = None if timeout is None else time.monotonic() + timeout
        out = self.stdout.read()
        err = self.stderr.read() if self.stderr is not None else ""
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return out, err

    def close(self) -> None:
        """Close its pipes."""
        self.stdout.close()
        if self.stderr is not None:
            self.stderr.close()


def run_python(
    *arguments: object, cwd: Path | str = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a process to its end, as `subprocess.run` does."""
    process = WarmPython(arguments, cwd=cwd, env=os.environ if env is None else env)
    out, err = process.communicate(timeout=_TIMEOUT_S)
    process.close()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@cache
def _first_process() -> str:
    """Where the process listens that the others are forked from."""
    folder = tempfile.TemporaryDirectory(prefix="warm")
    path = f"{folder.name}/socket"
    process = subprocess.Popen(
        [sys.executable, __file__, path],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"ready\n"

    def end() -> None:
        process.stdin.close()
        process.wait(_TIMEOUT_S)
        process.stdout.close()
        folder.cleanup()

    atexit.register(end)
    return path


def main(path: str) -> None:
    """Import, and then fork a process for each connection, until standard input ends."""
    import importlib
    import select

    for name in IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for monitors
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b"ready\n")
        while 0 not in select.select([0, listener], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return monitor(connection)
            connection.close()
    return None


def monitor(connection: socket.socket) -> None:
    """Fork the process that a connection asks for, and report its number and its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, (out, err), _, _ = socket.recv_fds(connection, 1024 * 1024, 2)
    pid = os.fork()
    if pid == 0:
        connection.close()
        return become(json.loads(message), out, err)
    os.close(out)
    os.close(err)
    connection.send(b"%d" % pid)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # the test has ended
        connection.send(b"%d" % status)
    os._exit(0)


def become(order: dict, out: int, err: int) -> None:
    """Be the process: its end is the end of this function."""
    for there, here in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
        os.dup2(there, here)
        os.close(there)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    more = order["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [folder for folder in more if folder and folder not in sys.path]
    first, *arguments = order["arguments"]
    if first == "-m":
        module, *arguments = arguments
        sys.path[0] = str(Path.cwd())
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(first).parent)
        sys.argv = [first, *arguments]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
