"""What other people's tools need to reach the local services without a change in them.

A key file whose tokens come from here, and a proxy for gRPC that leads to the local services. Both are
files and ports of one server: they end with it.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, Final

from etlkit.local.server.endpoints import PROJECT, grpc_address
from etlkit.local.server.grpc_gateway import ROOTS_FILE, USER, GrpcGateway
from etlkit.local.server.local_dir import write_private
from etlkit.local.server.service_account import (
    KEY_FILE,
    TOKEN_PATH,
    ServiceAccount,
    token_app,
)
from etlkit.local.vision.redirects import HOSTS as VISION_HOSTS

STORAGE_HOST: Final = "bigquerystorage.googleapis.com"


class ToolAccess:
    """The service account and the gateway of one server.

    Args:
        local_dir: Where the key file and the certificate are written.
        token: What the services ask of their clients.

    Attributes:
        account: Whose signature the services may take instead of the token.
    """

    def __init__(self, local_dir: Path, token: str) -> None:
        self.account: ServiceAccount = ServiceAccount(PROJECT, token)
        self._local_dir = local_dir
        self._token = token
        self._files = {KEY_FILE: local_dir / KEY_FILE, ROOTS_FILE: local_dir / ROOTS_FILE}
        self._server: Any = None
        self._server_task: asyncio.Task[None] | None = None
        self._gateway: GrpcGateway | None = None

    async def start(self, bigquery_grpc: int, vision_grpc: int) -> dict[str, str]:
        """Listen on free ports of loopback, and write the files.

        Args:
            bigquery_grpc: The port of Storage Read and Write.
            vision_grpc: The port of the local Vision.

        Returns:
            The fields of `Endpoints` for tools.
        """
        listener = socket.create_server(("127.0.0.1", 0))
        token_uri = f"http://{grpc_address(listener.getsockname()[1])}{TOKEN_PATH}"
        await self._serve_tokens(listener, token_uri)
        self.account.write(self._files[KEY_FILE], token_uri)
        ports = {STORAGE_HOST: bigquery_grpc, **dict.fromkeys(VISION_HOSTS, vision_grpc)}
        self._gateway = GrpcGateway(ports, self._token)
        proxy = grpc_address(await self._gateway.start(self._local_dir))
        write_private(self._files[ROOTS_FILE], self._gateway.roots)
        return {
            "key_file": str(self._files[KEY_FILE]),
            "grpc_proxy": f"http://{USER}:{self._token}@{proxy}",
            "grpc_roots": str(self._files[ROOTS_FILE]),
        }

    async def stop(self) -> None:
        """Close all connections and delete the files, which are of no use any more."""
        for file in self._files.values():
            file.unlink(missing_ok=True)
        if self._gateway is not None:
            await self._gateway.stop()
        if self._server_task is not None:
            self._server.should_exit = True
            await self._server_task

    async def _serve_tokens(self, listener: socket.socket, token_uri: str) -> None:
        import uvicorn

        self._server = uvicorn.Server(
            uvicorn.Config(
                token_app(self.account, token_uri),
                log_config=None,
                access_log=False,
                lifespan="off",
            )
        )
        self._server_task = asyncio.create_task(self._server.serve([listener]))
        while not self._server.started:
            if self._server_task.done():
                await self._server_task
            await asyncio.sleep(0.01)
