"""The local server process: `python -m etlkit.local.server.main --local-dir DIR`.

The main thread watches clients and signals. A second thread runs the event loop with BigQuery and
Vision, each over REST and gRPC. The process ends when the last client is gone, or on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any, Final

from filelock import FileLock

from etlkit._version import __version__
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
from etlkit.local.server.server_info import START_REFUSED, ServerInfo

_PREDECESSOR_TIMEOUT_S: Final = 60.0
"""How long to wait for the previous server, which may still be writing its data."""

_GRACE_S: Final = 5.0
"""How long gRPC calls in progress may take once the server stops; uvicorn has its own limit."""

# Windows has no SIGHUP.
_STOP_SIGNALS: Final = [
    signal.Signals[name]
    for name in ("SIGTERM", "SIGINT", "SIGHUP")
    if name in signal.Signals.__members__
]


class Services:
    """BigQuery and Vision on one event loop."""

    def __init__(self, local_dir: Path) -> None:
        self._local_dir = local_dir
        self._emulator: Any = None
        self._vision: Any = None
        self._vision_task: asyncio.Task[None] | None = None
        self._vision_grpc: Any = None

    async def start(self) -> Endpoints:
        """Listen on free ports of loopback."""
        import uvicorn

        from etlkit.local.vision.app import create_app
        from etlkit.local.vision.grpc_server import start_grpc
        from etlkit.local.vision.service import VisionService

        self._emulator = build_emulator(self._local_dir)
        await self._emulator.start()
        service = VisionService(self._local_dir / "buckets")
        self._vision_grpc, vision_grpc_port = await start_grpc(service)
        self._vision = uvicorn.Server(
            uvicorn.Config(
                create_app(service),
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
        return Endpoints(
            project=PROJECT,
            bigquery=http_address(self._emulator.rest_port),
            bigquery_grpc=grpc_address(self._emulator.grpc_port),
            vision=http_address(self._vision.servers[0].sockets[0].getsockname()[1]),
            vision_grpc=grpc_address(vision_grpc_port),
        )

    async def stop(self) -> None:
        """Finish the calls in progress and write all data to disk."""
        if self._vision_task is not None:
            self._vision.should_exit = True
            await self._vision_task
        if self._vision_grpc is not None:
            await self._vision_grpc.stop(grace=_GRACE_S)
        if self._emulator is not None:
            # Closing DuckDB writes its log into the database file, so no separate CHECKPOINT.
            await self._emulator.stop()


def serve(local_dir: Path) -> None:
    """Serve `local_dir` until its last client is gone."""
    local_dir.mkdir(parents=True, exist_ok=True)
    (local_dir / "buckets").mkdir(exist_ok=True)
    token = secrets.token_hex(16)
    leases = LeaseListener(token)
    leases.stop_on(_STOP_SIGNALS)
    data_lock = FileLock(local_dir / "data.lock", timeout=_PREDECESSOR_TIMEOUT_S, mode=0o600)
    with data_lock.acquire(cancel_check=leases.is_stopped):
        loop = asyncio.new_event_loop()
        thread = Thread(target=loop.run_forever, name="etlkit-local-services", daemon=True)
        thread.start()
        services = Services(local_dir)
        try:
            endpoints = _run(loop, services.start()).result()
            info = ServerInfo(
                pid=os.getpid(),
                token=token,
                lease_port=leases.port,
                endpoints=endpoints,
                etlkit=__version__,
                emulator=emulator_version(),
            )
            info.write(local_dir)
            try:
                leases.wait()
            finally:
                info.remove(local_dir)
                leases.close()
        finally:
            _run(loop, services.stop()).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Future[Any]:
    return asyncio.run_coroutine_threadsafe(work, loop)


def main(arguments: list[str]) -> int:
    """Run the server. Returns 0 when its last client is gone, 2 if it cannot be started like this."""
    parser = argparse.ArgumentParser(prog="python -m etlkit.local.server.main", description=__doc__)
    parser.add_argument("--local-dir", type=Path, required=True, help="where the data is")
    local_dir = parser.parse_args(arguments).local_dir.resolve()
    try:
        serve(local_dir)
    except ConfigError as error:
        sys.stderr.write(f"{START_REFUSED}{error.message}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
