"""The addresses of a local server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PROJECT: Final = "local"
"""The project id that every local BigQuery answers for."""

KEEP_ALIVE_S = 75
"""How long idle HTTP connections stay open: longer than a run's clients pause between requests."""


@dataclass(frozen=True)
class Endpoints:
    """The addresses of one local server; all of them are on loopback.

    Attributes:
        project: The project id that the local BigQuery answers for.
        bigquery: REST, `http://127.0.0.1:PORT`.
        bigquery_grpc: Storage Read and Write, `127.0.0.1:PORT`, without TLS.
        vision: The local Vision over REST, `http://127.0.0.1:PORT`.
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


def grpc_address(port: int) -> str:
    """`host:port` on loopback."""
    return f"127.0.0.1:{port}"


def http_address(port: int) -> str:
    """`http://host:port` on loopback."""
    return f"http://{grpc_address(port)}"
