"""The addresses of a local server."""

from __future__ import annotations

from dataclasses import dataclass, field
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
        bigquery: REST, `http://127.0.0.1:PORT/TOKEN`: any client that can be told an address has then
            been told the token.
        bigquery_grpc: Storage Read and Write, `127.0.0.1:PORT`, without TLS.
        vision: The local Vision over REST, `http://127.0.0.1:PORT/TOKEN`.
        vision_grpc: The same over gRPC, `127.0.0.1:PORT`, without TLS.
        token: What callers must send, if it is not in the address: as a bearer token or as an API key.
        key_file: Path of a service account's key, for clients that insist on credentials.
        grpc_proxy: A proxy that leads gRPC for Google's hosts to this server, with user and password.
        grpc_roots: Path of the certificate that it shows.
    """

    project: str
    bigquery: str = field(repr=False)
    bigquery_grpc: str
    vision: str = field(repr=False)
    vision_grpc: str
    token: str = field(repr=False)
    key_file: str
    grpc_proxy: str = field(repr=False)
    grpc_roots: str

    def environ(self) -> dict[str, str]:
        """The environment variables that point clients at this server."""
        return {
            "BIGQUERY_EMULATOR_HOST": self.bigquery,
            "ETLKIT_BIGQUERY_GRPC_ENDPOINT": self.bigquery_grpc,
            "ETLKIT_VISION_ENDPOINT": self.vision,
            "ETLKIT_VISION_GRPC_ENDPOINT": self.vision_grpc,
            "GOOGLE_APPLICATION_CREDENTIALS": self.key_file,
            "ETLKIT_LOCAL_TOKEN": self.token,
            "GOOGLE_CLOUD_PROJECT": self.project,
        }

    def tool_environ(self) -> dict[str, str]:
        """The same for programs that know nothing of etlkit: also their gRPC comes here.

        Set them before the program starts: gRPC reads its variables once. gRPC to any other host than
        those of the local world fails in such a program, unless `no_grpc_proxy` names it.
        https://github.com/grpc/grpc/blob/master/doc/environment_variables.md
        """
        return {
            **self.environ(),
            "grpc_proxy": self.grpc_proxy,
            "no_grpc_proxy": "127.0.0.1,localhost",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": self.grpc_roots,
        }


def grpc_address(port: int) -> str:
    """`host:port` on loopback."""
    return f"127.0.0.1:{port}"


def http_address(port: int, token: str) -> str:
    """`http://host:port/TOKEN` on loopback."""
    return f"http://{grpc_address(port)}/{token}"
