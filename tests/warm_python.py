"""Processes of Python that have imported already what takes a second of processor time.

A first process imports it, once for each process of tests, and forks the others from itself. They are
processes in every other way: with a number, an environment, pipes, signals and an exit status.
Where the start of a process is what a test is about, it starts one in the normal way.

So are local servers and the worker processes of runs: see `start_servers_warm` and `WARM_WORKERS`.
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
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import IO

from etlkit.local.server import launcher

ROOT = Path(__file__).parents[1]
IMPORTED = (
    "etlkit.cli.run",
    "etlkit.bigquery.datamart.run",
    "etlkit.bigquery.source",
    "etlkit.bigquery.storage.read_rows",
    "etlkit.bigquery.publish.publisher",
    "etlkit.engine.transfer",
    "etlkit.engine.worker_run",
    "etlkit.local",
    "etlkit.local.server.main",
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
WARM_WORKERS = "ETLKIT_TEST_WARM_WORKERS"
"""The environment variable of a run whose worker processes are forked from a warm one, too."""
_ANSWER_BYTES = 64
_TIMEOUT_S = 60


class WarmPython:
    """`python …` as a process, with the part of `subprocess.Popen` that tests use.

    Args:
        arguments: A script or `-m` and a module, and its own arguments.
        cwd: Its working directory.
        env: Its whole environment.
        stdin: `subprocess.PIPE`, or None = nothing.
        stdout: A file; None = a pipe.
        stderr: A file, or `subprocess.STDOUT`, or None = a pipe.
        start_new_session: As for `subprocess.Popen`.
        first: Where the first process listens; None = that of this process.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        *,
        cwd: Path | str,
        env: Mapping[str, str],
        stdin: int | None = None,
        stdout: IO | None = None,
        stderr: IO | int | None = None,
        start_new_session: bool = False,
        first: str | None = None,
    ) -> None:
        self.args = [sys.executable, *map(str, arguments)]
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        if stdin is None:
            child_in = os.open(os.devnull, os.O_RDONLY)
        else:
            child_in, into = os.pipe()
            self.stdin = os.fdopen(into, "w", encoding="utf-8")
        ours = [child_in]
        if stdout is None:
            out, child_out = os.pipe()
            ours.append(child_out)
            self.stdout = os.fdopen(out, encoding="utf-8")
        else:
            child_out = stdout.fileno()
        if stderr is None:
            err, child_err = os.pipe()
            ours.append(child_err)
            self.stderr = os.fdopen(err, encoding="utf-8")
        else:
            child_err = child_out if stderr == subprocess.STDOUT else stderr.fileno()
        self._monitor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._monitor.settimeout(_TIMEOUT_S)
        self._monitor.connect(first or _first_process())
        order = {
            "arguments": self.args[1:],
            "cwd": str(cwd),
            "env": dict(env),
            "start_new_session": start_new_session,
        }
        socket.send_fds(
            self._monitor, [json.dumps(order).encode()], [child_in, child_out, child_err]
        )
        for descriptor in ours:
            os.close(descriptor)
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

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def communicate(self, text: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Write the last text to it and let it end; gives what it wrote.

        The smaller output, stderr, must fit into a pipe.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if self.stdin is not None:
            self.stdin.write(text)
            self.stdin.close()
        out = self.stdout.read()
        err = self.stderr.read() if self.stderr is not None else ""
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return out, err

    def close(self) -> None:
        """Close its pipes."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()


class _WarmServer(WarmPython):
    """What the launcher of the local server takes for `subprocess.Popen`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        stderr: IO,
        first: str | None,
        **others: object,
    ) -> None:
        assert others == {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "start_new_session": True,
        }
        _, isolated, *arguments = command
        assert isolated == "-P"
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            super().__init__(
                arguments,
                cwd=Path.cwd(),
                env=env,
                stdout=nowhere,
                stderr=stderr,
                start_new_session=True,
                first=first,
            )


def start_servers_warm(first: str | None = None) -> None:
    """Let the local servers that this process starts be forked.

    A server takes three seconds of processor time to start, two of them to import what it is made of.
    Processes that tests start in the normal way start theirs in the normal way.

    Args:
        first: Where the process listens that they are forked from; None = that of this process.
    """
    launcher.subprocess = SimpleNamespace(
        Popen=partial(_WarmServer, first=first), DEVNULL=subprocess.DEVNULL
    )


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
    import gc
    import select

    import_all()
    if sys.version_info < (3, 14):  # see etlkit/cli/invocation.py
        gc.freeze()  # or each child would copy all of it at its first collection
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for monitors
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b"ready\n")
        while 0 not in select.select([0, listener], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return monitor(connection, path)
            connection.close()
    return None


def import_all() -> None:
    """Import what takes a second of processor time, and several where no byte code is there yet."""
    import importlib

    from etlkit.bigquery.client import import_without_pandas

    os.environ.update(launcher.ENVIRONMENT)  # Pillow reads it while it is imported
    import_without_pandas()
    for name in IMPORTED:
        importlib.import_module(name)
    import_server()


def import_server() -> None:
    """Import what a local server imports before its first patch, and compare the table of patches.

    Nothing that it imports later: that takes the patched functions with `from … import …`.
    """
    import importlib
    import pkgutil

    from etlkit.local.bigquery.emulator import emulator_version, silence

    for name in ("guard", "tool_access"):
        importlib.import_module(f"etlkit.local.server.{name}")
    for name in ("app", "grpc_server", "service"):
        importlib.import_module(f"etlkit.local.vision.{name}")
    silence()
    importlib.import_module("bqemulator.server")
    patches = importlib.import_module("etlkit.local.bigquery.patches")
    importlib.import_module("etlkit.local.bigquery.patches.table").PATCHES.check(emulator_version())
    for module in pkgutil.walk_packages(patches.__path__, f"{patches.__name__}."):
        importlib.import_module(module.name)
    importlib.import_module("zetasql")
    importlib.import_module("duckdb").close()  # it has a thread, which no child would have


def monitor(connection: socket.socket, path: str) -> None:
    """Fork the process that a connection asks for, and report its number and its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, files, _, _ = socket.recv_fds(connection, 1024 * 1024, 3)
    pid = os.fork()
    if pid == 0:
        connection.close()
        start_servers_warm(path)
        return become(json.loads(message), files)
    for descriptor in files:
        os.close(descriptor)
    connection.send(b"%d" % pid)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # the test has ended
        connection.send(b"%d" % status)
    os._exit(0)


def become(order: dict, files: Sequence[int]) -> None:
    """Be the process: its end is the end of this function."""
    for here, there in enumerate(files):
        os.dup2(there, here)
        os.close(there)
    if order["start_new_session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    if os.environ.pop(WARM_WORKERS, None):
        fork_workers()
    more = order["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [folder for folder in more if folder and folder not in sys.path]
    first, *arguments = order["arguments"]
    if first == "-m":
        module, *arguments = arguments
        sys.path[0] = str(Path.cwd())
        sys.argv = [module, *arguments]
        sys.modules.pop(module, None)  # it becomes `__main__`
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(first).parent)
        sys.argv = [first, *arguments]
        runpy.run_path(first, run_name="__main__")


def fork_workers() -> None:
    """Let the worker processes of this run be forked: from a child made before there is any thread."""
    import multiprocessing
    from multiprocessing import forkserver, resource_tracker

    from etlkit.engine import worker_processes

    def fork(_executable: str, arguments: list[str], descriptors: list[int]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                for before, after in pairwise([*sorted({0, 1, 2, *descriptors}), 4096]):
                    os.closerange(before + 1, after)
                code = arguments.index("-c") + 1
                sys.argv[:] = ["-c", *arguments[code + 1 :]]
                exec(arguments[code], {})  # noqa: S102 - what `python -c` would run
            finally:
                os._exit(0)
        return pid

    resource_tracker.ensure_running()
    spawn, forkserver.util = forkserver.util, SimpleNamespace(**vars(forkserver.util))
    forkserver.util.spawnv_passfds = fork
    forkserver.ensure_running()
    forkserver.util = spawn
    context = multiprocessing.get_context("forkserver")
    worker_processes._context = lambda _needed: context


if __name__ == "__main__":
    main(sys.argv[1])
