"""The local server process: `python -m etlkit.local.server.main --local-dir DIR`.

The main thread watches clients and signals. A second thread runs the event loop with BigQuery and
Vision, each over REST and gRPC. The process ends when the last client is gone, or on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import secrets
import signal
import sys
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from threading import Thread, Timer
from typing import Any, Final

from filelock import FileLock

from etlkit._version import __version__
from etlkit.deferred_imports import NoPandas
from etlkit.errors import ConfigError
from etlkit.local.bigquery.emulator import build_emulator, emulator_version
from etlkit.local.server.client_lease import LeaseListener
from etlkit.local.server.endpoints import (
    KEEP_ALIVE_S,
    PROJECT,
    Endpoints,
    grpc_address,
    http_address,
)
from etlkit.local.server.local_dir import make_local_dir
from etlkit.local.server.server_info import START_REFUSED, ServerInfo, World

_PREDECESSOR_TIMEOUT_S: Final = 60.0
"""How long to wait for the previous server, which may still be writing its data."""

_GRACE_S: Final = 5.0
"""How long gRPC calls in progress may take once the server stops; uvicorn has its own limit."""

_STOP_TIMEOUT_S: Final = 10.0
"""How long stopping may take. After that, something runs that cannot be interrupted."""

_COLLECT_AFTER: Final = 10_000
"""New objects between two collections; a statement makes thousands.

https://docs.python.org/3/library/gc.html#gc.set_threshold
"""

# Windows has no SIGHUP.
_STOP_SIGNALS: Final = [
    signal.Signals[name]
    for name in ("SIGTERM", "SIGINT", "SIGHUP")
    if name in signal.Signals.__members__
]


class Services:
    """BigQuery and Vision on one event loop."""

    def __init__(self, local_dir: Path, token: str, world: World) -> None:
        self._local_dir = local_dir
        self._token = token
        self._world = world
        self._emulator: Any = None
        self._vision: Any = None
        self._vision_task: asyncio.Task[None] | None = None
        self._vision_grpc: Any = None
        self._tools: Any = None

    async def start(self) -> Endpoints:
        """Listen on free ports of loopback."""
        import uvicorn

        from etlkit.local.server.guard import RequestGuard, token_interceptor
        from etlkit.local.server.tool_access import ToolAccess
        from etlkit.local.vision.app import create_app
        from etlkit.local.vision.grpc_server import start_grpc
        from etlkit.local.vision.service import VisionService

        self._tools = ToolAccess(self._local_dir, self._token)
        is_signed = self._tools.account.has_signed
        self._emulator = build_emulator(
            self._local_dir,
            self._token,
            is_signed,
            location=self._world.location,
            late_columns_s=self._world.late_columns_s,
        )
        await self._emulator.start()
        service = VisionService(self._local_dir / "buckets")
        self._vision_grpc, vision_grpc_port = await start_grpc(
            service, interceptors=(token_interceptor(self._token, is_signed),)
        )
        self._vision = uvicorn.Server(
            uvicorn.Config(
                RequestGuard(create_app(service), self._token),
                host="127.0.0.1",
                port=0,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        )
        self._vision_task = asyncio.create_task(self._vision.serve())
        while not self._vision.started:
            if self._vision_task.done():
                await self._vision_task
            await asyncio.sleep(0.01)
        for_tools = await self._tools.start(self._emulator.grpc_port, vision_grpc_port)
        return Endpoints(
            project=PROJECT,
            token=self._token,
            bigquery=http_address(self._emulator.rest_port, self._token),
            bigquery_grpc=grpc_address(self._emulator.grpc_port),
            vision=http_address(self._vision.servers[0].sockets[0].getsockname()[1], self._token),
            vision_grpc=grpc_address(vision_grpc_port),
            **for_tools,
        )

    async def stop(self) -> None:
        """End the statements in progress and write all data to disk."""
        if self._emulator is not None:
            self._emulator._engine.stop_work()  # noqa: SLF001
        if self._tools is not None:
            await self._tools.stop()
        if self._vision_task is not None:
            self._vision.should_exit = True
            await self._vision_task
        if self._vision_grpc is not None:
            await self._vision_grpc.stop(grace=_GRACE_S)
        if self._emulator is not None:
            # Closing DuckDB writes its log into the database file, so no separate CHECKPOINT.
            await self._emulator.stop()


def serve(local_dir: Path, world: World) -> None:
    """Serve `local_dir` until its last client is gone."""
    make_local_dir(local_dir)
    (local_dir / "buckets").mkdir(exist_ok=True)
    token = secrets.token_hex(16)
    leases = LeaseListener(token)
    leases.stop_on(_STOP_SIGNALS)
    data_lock = FileLock(local_dir / "data.lock", timeout=_PREDECESSOR_TIMEOUT_S, mode=0o600)
    with data_lock.acquire(cancel_check=leases.is_stopped):
        loop = asyncio.new_event_loop()
        thread = Thread(target=loop.run_forever, name="etlkit-local-services", daemon=True)
        thread.start()
        services = Services(local_dir, token, world)
        try:
            endpoints = _run(loop, services.start()).result()
            info = ServerInfo(
                pid=os.getpid(),
                lease_port=leases.port,
                endpoints=endpoints,
                etlkit=__version__,
                emulator=emulator_version(),
                world=world,
            )
            # What is there by now stays: collections need not look at it. Trees of SQL come and go.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_COLLECT_AFTER, 10, 10)
            info.write(local_dir)
            try:
                leases.wait()
            finally:
                info.remove(local_dir)
                leases.close()
        finally:
            _end_in_any_case()
            _run(loop, services.stop()).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def _end_in_any_case() -> None:
    """End the process if it does not stop in time. What is committed is in DuckDB's log on disk."""

    def end() -> None:
        sys.stderr.write(
            f"The server did not stop within {_STOP_TIMEOUT_S:g} s, and ends anyway.\n"
        )
        sys.stderr.flush()
        os._exit(0)

    timer = Timer(_STOP_TIMEOUT_S, end)
    timer.daemon = True
    timer.start()


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Future[Any]:
    return asyncio.run_coroutine_threadsafe(work, loop)


def main(arguments: list[str]) -> int:
    """Run the server. Returns 0 when its last client is gone, 2 if it cannot be started like this."""
    parser = argparse.ArgumentParser(prog="python -m etlkit.local.server.main", description=__doc__)
    parser.add_argument("--local-dir", type=Path, required=True, help="where the data is")
    parser.add_argument("--location", default="US", help="where datasets are by default")
    parser.add_argument("--late-columns-s", type=float, default=0, help="how late columns are seen")
    given = parser.parse_args(arguments)
    os.umask(0o077)  # whatever is written below is for this user only
    # Google's clients, pyarrow and DuckDB import it wherever it is installed. Nothing here uses it.
    sys.meta_path.insert(0, NoPandas())
    try:
        serve(given.local_dir.resolve(), World(given.location, given.late_columns_s))
    except ConfigError as error:
        sys.stderr.write(f"{START_REFUSED}{error.message}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
