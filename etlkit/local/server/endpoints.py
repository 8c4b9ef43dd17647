"""Where the local server can be reached, and the file in which it says so."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = "local"
"""The project id that every local BigQuery answers for."""

SERVER_FILE = "server.json"

KEEP_ALIVE_S = 75
"""Idle HTTP connections stay open for longer than clients pause between two requests of a run."""


@dataclass(frozen=True)
class Endpoints:
    """The addresses of one local server; all of them are on loopback.

    Attributes:
        project: The project id that the local BigQuery answers for.
        bigquery: REST, `http://127.0.0.1:PORT`.
        bigquery_grpc: Storage Read and Write, `127.0.0.1:PORT`, without TLS.
        vision: The Vision stand-in over REST, `http://127.0.0.1:PORT`.
        vision_grpc: The same over gRPC, `127.0.0.1:PORT`, without TLS.
    """

    project: str
    bigquery: str
    bigquery_grpc: str
    vision: str
    vision_grpc: str

    def environ(self) -> dict[str, str]:
        """The environment variables that point clients at this server."""
        return {
            "BIGQUERY_EMULATOR_HOST": self.bigquery,
            "ETLKIT_BIGQUERY_GRPC_ENDPOINT": self.bigquery_grpc,
            "ETLKIT_VISION_ENDPOINT": self.vision,
            "ETLKIT_VISION_GRPC_ENDPOINT": self.vision_grpc,
            "GOOGLE_CLOUD_PROJECT": self.project,
        }


@dataclass(frozen=True)
class ServerInfo:
    """What a running server publishes in `server.json`.

    Attributes:
        pid: The server process.
        token: Random; a server proves with it that it is the one that wrote the file.
        lifeline_port: Where clients hold the connection that keeps the server alive.
        endpoints: The addresses of its services.
        etlkit: Version that started it.
        emulator: Version of the emulator inside.
    """

    pid: int
    token: str
    lifeline_port: int
    endpoints: Endpoints
    etlkit: str
    emulator: str

    def write(self, local_dir: Path) -> None:
        """Publish in one step: a reader sees the whole file or none."""
        partial = local_dir / f"{SERVER_FILE}.{self.pid}"
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        partial.replace(local_dir / SERVER_FILE)

    def remove(self, local_dir: Path) -> None:
        """Take the file back, unless a successor has already replaced it."""
        if read_server_info(local_dir) == self:
            (local_dir / SERVER_FILE).unlink(missing_ok=True)


def read_server_info(local_dir: Path) -> ServerInfo | None:
    """What the file says; None = there is none, or it is not ours to understand."""
    try:
        raw = json.loads((local_dir / SERVER_FILE).read_text(encoding="utf-8"))
        return ServerInfo(**{**raw, "endpoints": Endpoints(**raw["endpoints"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def grpc_address(port: int) -> str:
    """`host:port` on loopback."""
    return f"127.0.0.1:{port}"


def http_address(port: int) -> str:
    """`http://host:port` on loopback."""
    return f"http://{grpc_address(port)}"


def truncate_log(path: Path, max_bytes: int) -> int:
    """Empty a log that has grown past `max_bytes`, and say where the next line will stand."""
    size = path.stat().st_size if path.exists() else 0
    if size > max_bytes:
        os.truncate(path, 0)
        return 0
    return size
