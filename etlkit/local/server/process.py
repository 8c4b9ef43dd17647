"""The client's side of the local server: join the one that runs, or start one."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from etlkit.errors import ConfigError, JobError
from etlkit.local.server import client_lease
from etlkit.local.server.endpoints import Endpoints, ServerInfo, read_server_info, truncate_log
from etlkit.local.server.locks import hold

_POLL_S: Final = 0.02
_MAX_LOG_BYTES: Final = 1_000_000
_SHOWN_LOG_LINES: Final = 20
_EXTRA_MODULES: Final = ("bqemulator", "duckdb", "duckdb_extensions", "uvicorn", "starlette")


class LocalServer:
    """A hold on the local server. The server lives for as long as anybody holds it.

    Attributes:
        endpoints: Where its services are.
        local_dir: The directory whose data it serves.
        started: True = this call started it; False = it was running already.
        pid: The server process.
    """

    def __init__(
        self, info: ServerInfo, line: socket.socket, local_dir: Path, *, started: bool
    ) -> None:
        self.endpoints: Endpoints = info.endpoints
        self.local_dir = local_dir
        self.started = started
        self.pid = info.pid
        self._line = line

    def close(self) -> None:
        """Let go. The server ends about a second after the last holder has let go."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def join_or_start(local_dir: Path = Path(".etlkit"), *, timeout_s: float = 60.0) -> LocalServer:
    """Reach the local server of a directory; start it if none runs.

    Args:
        local_dir: Where its data, its buckets and its log are; it is made if missing.
        timeout_s: How long the server may take until it answers.

    Returns:
        A hold on the server, to be closed (or used with `with`).

    Raises:
        ConfigError: The packages of the `local` extra are missing.
        JobError: The server did not come up; the end of its log is in the message.
    """
    local_dir = local_dir.resolve()
    local_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    try:
        # Whoever holds this looks and starts alone, so two starters end up with one server.
        with hold(local_dir / "start.lock", timeout_s=timeout_s):
            found = read_server_info(local_dir)
            return _join(local_dir, found) or _start(local_dir, deadline, stale=found)
    except TimeoutError as error:
        raise JobError(
            f"{error}: another process has been starting the local server for {timeout_s:g} s. "
            f"See {local_dir / 'server.log'}, or end that process"
        ) from error


def _join(local_dir: Path, info: ServerInfo | None) -> LocalServer | None:
    line = client_lease.connect(info.lifeline_port, info.token) if info else None
    if info is None or line is None:
        return None
    return LocalServer(info, line, local_dir, started=False)


def _start(local_dir: Path, deadline: float, *, stale: ServerInfo | None) -> LocalServer:
    _check_extra()
    log = local_dir / "server.log"
    log_offset = truncate_log(log, _MAX_LOG_BYTES)
    process = _spawn(local_dir, log)
    while time.monotonic() < deadline:
        info = read_server_info(local_dir)
        # A stale file is not asked twice: a foreign listener on its port may let us wait each time.
        server = _join(local_dir, info) if info != stale else None
        if server is not None:
            return _settle(server, process)
        if process.poll() is not None:
            raise _start_error(f"ended with exit code {process.returncode}", log, log_offset)
        time.sleep(_POLL_S)
    process.terminate()
    _reap(process)
    raise _start_error("did not answer in time", log, log_offset)


def _check_extra() -> None:
    missing = [name for name in _EXTRA_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"The local server needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'etlkit[local]'"
        )


def _spawn(local_dir: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own: Ctrl-C in the terminal is for its clients alone."""
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


def _settle(server: LocalServer, process: subprocess.Popen[bytes]) -> LocalServer:
    """Keep our child if it is the one that answers; a starter that was killed may have left another."""
    server.started = server.pid == process.pid
    if not server.started:
        process.terminate()
    _reap(process)
    return server


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Collect the child whenever it ends, so that it does not stay behind as a zombie."""
    threading.Thread(target=process.wait, name="etlkit-local-reaper", daemon=True).start()


def _start_error(what: str, log: Path, offset: int) -> JobError:
    with log.open("rb") as stream:
        stream.seek(offset)
        lines = stream.read().decode("utf-8", "replace").splitlines()
    tail = "\n".join(f"  {line}" for line in lines[-_SHOWN_LOG_LINES:]) or "  (it wrote nothing)"
    return JobError(
        f"The local server {what}. The end of {log}:\n{tail}\n"
        "Repair what it names and run the command again. If the data itself is damaged, move "
        f"{log.parent / 'data'} away and start afresh"
    )
