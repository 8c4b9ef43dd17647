"""Join the local server of a directory, or start it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final, Self

from etlkit.calls import ended
from etlkit.errors import ConfigError, EtlkitError, JobError, missing_packages
from etlkit.local.model_folder import model_folder
from etlkit.local.server.client_lease import take_lease
from etlkit.local.server.endpoints import Endpoints
from etlkit.local.server.local_dir import make_local_dir
from etlkit.local.server.server_info import START_REFUSED, ServerInfo, World, read_server_info

ENVIRONMENT: Final = {"PILLOW_BLOCK_SIZE": "64m"}
"""What the server needs. Blocks above 32 MB go back to the system as soon as an image is freed; with
Pillow's own of 16 MB each thread keeps those of its largest image.

https://pillow.readthedocs.io/en/stable/reference/block_allocator.html
"""

_POLL_S: Final = 0.02
_MAX_LOG_BYTES: Final = 1_000_000
_SHOWN_LOG_LINES: Final = 20
_EXTRA_MODULES: Final = (
    "bqemulator",
    "duckdb",
    "duckdb_extensions",
    "filelock",
    "uvicorn",
    "starlette",
    "zetasql",
)


class LocalServer:
    """A lease on the local server, which runs for as long as anybody has one.

    Attributes:
        endpoints: The addresses of its services.
        local_dir: The directory whose data it serves.
        started: True = this call started the server; False = it was already running.
        pid: The server process.
        world: What was chosen when it was started.
    """

    def __init__(
        self, info: ServerInfo, lease: socket.socket, local_dir: Path, *, started: bool
    ) -> None:
        self.endpoints: Endpoints = info.endpoints
        self.local_dir = local_dir
        self.started = started
        self.pid: int = info.pid
        self.world: World = info.world
        self._lease = lease
        self._is_closed = False
        threading.Thread(target=self._watch, name="etlkit-local-lease", daemon=True).start()

    def tool_environ(self) -> dict[str, str]:
        """The environment variables for programs that know nothing of etlkit."""
        return self.endpoints.tool_environ() | {"ETLKIT_BUCKETS": str(self.local_dir / "buckets")}

    def close(self) -> None:
        """Give the lease back. The server ends about a second after the last lease is closed."""
        self._is_closed = True
        with contextlib.suppress(OSError):  # the server has ended
            self._lease.shutdown(socket.SHUT_RDWR)
        self._lease.close()
        ended.forget(self)

    def _watch(self) -> None:
        """Report the end of the server: the kernel closes its connections however it ends."""
        with contextlib.suppress(OSError):
            while self._lease.recv(1):
                pass
        if not self._is_closed:
            ended.report(
                self,
                f"the local server (process {self.pid}) has ended although it was needed: it was "
                f"killed, or ran out of memory; see {self.local_dir / 'server.log'}. What was "
                "committed is on disk. Run the command again (a transfer with --resume): it starts "
                "a new server",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def join_or_start(
    local_dir: Path = Path(".etlkit"),
    *,
    location: str | None = None,
    late_columns_s: float | None = None,
    timeout_s: float = 60.0,
) -> LocalServer:
    """Connect to the local server of a directory; start it if it is not running.

    Args:
        local_dir: Where its data, its buckets and its log are. It is created if it is missing.
        location: Where datasets and jobs are by default; None = US, or where the running server is.
        late_columns_s: For how many seconds the Storage Write API does not see a new column of an old
            table; None = 0, or as the running server does.
        timeout_s: How long to wait until the server answers.

    Returns:
        A lease on the server. Close it, or use it with `with`.

    Raises:
        ConfigError: Packages of the `local` extra are missing, the server refuses to start with the
            installed ones, the directory cannot be written, or a running server was started with
            another location or delay.
        JobError: The server failed while it started; the message has the end of its log.
    """
    check_extra()
    local_dir = local_dir.resolve()
    make_local_dir(local_dir)
    running = _join(local_dir, read_server_info(local_dir))
    if running is not None:
        _refuse_other(running, location, late_columns_s)
        return running
    from filelock import FileLock, Timeout

    from etlkit.local.bigquery import googlesql

    googlesql.prepare()  # before the clock of the start begins
    deadline = time.monotonic() + timeout_s
    # Only the holder of this lock looks for a server and starts one, so two callers get one server.
    lock = FileLock(local_dir / "start.lock", timeout=timeout_s, mode=0o600, poll_interval=_POLL_S)
    try:
        with lock:
            found = read_server_info(local_dir)
            wanted = World(location or World.location, late_columns_s or World.late_columns_s)
            server = _join(local_dir, found)
            if server is None:
                return _start(local_dir, deadline, wanted, stale=found)
            _refuse_other(server, location, late_columns_s)
            return server
    except Timeout as error:
        raise JobError(
            f"{error} Another process has been starting the local server for {timeout_s:g} s. "
            f"See {local_dir / 'server.log'}, or end that process"
        ) from error


def check_extra() -> None:
    """Return if the packages of the `local` extra are there.

    Raises:
        ConfigError: Some are not.
    """
    missing = [name for name in _EXTRA_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise missing_packages(
            f"the local server needs packages that are missing: {names}", "local"
        )
    model_folder()


def _join(local_dir: Path, info: ServerInfo | None) -> LocalServer | None:
    lease = take_lease(info.lease_port, info.endpoints.token) if info else None
    if info is None or lease is None:
        return None
    return LocalServer(info, lease, local_dir, started=False)


def _refuse_other(server: LocalServer, location: str | None, late_columns_s: float | None) -> None:
    """Give the lease back if the running server is not as the caller wants it."""
    running = server.world
    differs = (location is not None and location.casefold() != running.location.casefold()) or (
        late_columns_s is not None and late_columns_s != running.late_columns_s
    )
    if differs:
        server.close()
        raise ConfigError(
            f"The local server of {server.local_dir} is already running: in location "
            f"{running.location}, and it sees new columns after {running.late_columns_s:g} s. Leave "
            "the options out, use another --local-dir, or end the programs that use it"
        )


def _start(
    local_dir: Path, deadline: float, world: World, *, stale: ServerInfo | None
) -> LocalServer:
    log = local_dir / "server.log"
    log_offset = _truncate_log(log)
    process = _spawn(local_dir, log, world)
    while time.monotonic() < deadline:
        info = read_server_info(local_dir)
        # Try a stale file only once: a foreign listener on its port may keep us waiting each time.
        server = _join(local_dir, info) if info != stale else None
        if server is not None:
            return _adopt(server, process)
        if process.poll() is not None:
            raise _start_error(f"ended with exit code {process.returncode}", log, log_offset)
        time.sleep(_POLL_S)
    process.terminate()
    _reap(process)
    raise _start_error("did not answer in time", log, log_offset)


def _truncate_log(path: Path) -> int:
    """Empty a log that is too large, and return the offset at which the next line will begin."""
    size = path.stat().st_size if path.exists() else 0
    if size > _MAX_LOG_BYTES:
        os.truncate(path, 0)
        return 0
    return size


def _spawn(local_dir: Path, log: Path, world: World) -> subprocess.Popen[bytes]:
    """Start the server in its own session, so that Ctrl-C in the terminal reaches only its clients."""
    options = ["--local-dir", str(local_dir), "--location", world.location]
    options += ["--late-columns-s", str(world.late_columns_s)]
    package_root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as stderr:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module  # nosec B603
            [sys.executable, "-P", "-m", "etlkit.local.server.main", *options],
            env={**ENVIRONMENT, **os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )


def _adopt(server: LocalServer, process: subprocess.Popen[bytes]) -> LocalServer:
    """End our child if another server answered: a process killed while starting may have left one."""
    server.started = server.pid == process.pid
    if not server.started:
        process.terminate()
    _reap(process)
    return server


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for the child in the background, so that it does not become a zombie."""
    threading.Thread(target=process.wait, name="etlkit-local-reaper", daemon=True).start()


def _start_error(what: str, log: Path, offset: int) -> EtlkitError:
    """The server's own sentence if it knows why it cannot start, otherwise the end of its log."""
    with log.open("rb") as stream:
        stream.seek(offset)
        text = stream.read().decode("utf-8", "replace")
    _, mark, reason = text.rpartition(START_REFUSED)
    if mark:
        return ConfigError(f"{mark}{reason.strip()}")
    lines = text.splitlines()[-_SHOWN_LOG_LINES:]
    tail = "\n".join(f"  {line}" for line in lines) or "  (it wrote nothing)"
    return JobError(
        f"The local server {what}. The end of {log}:\n{tail}\n"
        "Fix what the log names and run the command again. If the data itself is damaged, move "
        f"{log.parent / 'data'} away and start again"
    )
