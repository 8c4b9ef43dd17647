"""Join the local server of a directory, or start it."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final, Self

from etlkit.errors import ConfigError, EtlkitError, JobError
from etlkit.local.server.client_lease import take_lease
from etlkit.local.server.endpoints import Endpoints
from etlkit.local.server.server_info import START_REFUSED, ServerInfo, read_server_info

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
)


class LocalServer:
    """A lease on the local server, which runs for as long as anybody has one.

    Attributes:
        endpoints: The addresses of its services.
        local_dir: The directory whose data it serves.
        started: True = this call started the server; False = it was already running.
        pid: The server process.
    """

    def __init__(
        self, info: ServerInfo, lease: socket.socket, local_dir: Path, *, started: bool
    ) -> None:
        self.endpoints: Endpoints = info.endpoints
        self.local_dir = local_dir
        self.started = started
        self.pid = info.pid
        self._lease = lease

    def close(self) -> None:
        """Give the lease back. The server ends about a second after the last lease is closed."""
        self._lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def join_or_start(local_dir: Path = Path(".etlkit"), *, timeout_s: float = 60.0) -> LocalServer:
    """Connect to the local server of a directory; start it if it is not running.

    Args:
        local_dir: Where its data, its buckets and its log are. It is created if it is missing.
        timeout_s: How long to wait until the server answers.

    Returns:
        A lease on the server. Close it, or use it with `with`.

    Raises:
        ConfigError: Packages of the `local` extra are missing, or the server refuses to start with
            the installed ones.
        JobError: The server failed while it started; the message has the end of its log.
    """
    _check_extra()
    from filelock import FileLock, Timeout

    local_dir = local_dir.resolve()
    local_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    # Only the holder of this lock looks for a server and starts one, so two callers get one server.
    lock = FileLock(local_dir / "start.lock", timeout=timeout_s, mode=0o600, poll_interval=_POLL_S)
    try:
        with lock:
            found = read_server_info(local_dir)
            return _join(local_dir, found) or _start(local_dir, deadline, stale=found)
    except Timeout as error:
        raise JobError(
            f"{error} Another process has been starting the local server for {timeout_s:g} s. "
            f"See {local_dir / 'server.log'}, or end that process"
        ) from error


def _check_extra() -> None:
    missing = [name for name in _EXTRA_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"The local server needs packages that are not installed ({', '.join(missing)}). "
            "Install the packages of the 'local' extra; see the README"
        )


def _join(local_dir: Path, info: ServerInfo | None) -> LocalServer | None:
    lease = take_lease(info.lease_port, info.token) if info else None
    if info is None or lease is None:
        return None
    return LocalServer(info, lease, local_dir, started=False)


def _start(local_dir: Path, deadline: float, *, stale: ServerInfo | None) -> LocalServer:
    log = local_dir / "server.log"
    log_offset = _truncate_log(log)
    process = _spawn(local_dir, log)
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


def _spawn(local_dir: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the server in its own session, so that Ctrl-C in the terminal reaches only its clients."""
    package_root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    with log.open("ab") as stderr:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", "etlkit.local.server.main", "--local-dir", str(local_dir)],
            env={**os.environ, "PYTHONPATH": path},
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
