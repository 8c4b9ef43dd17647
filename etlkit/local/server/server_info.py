"""What the server process tells those who start it: how to reach it, or why it cannot start."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from etlkit.local.server.endpoints import Endpoints

SERVER_FILE: Final = "server.json"

START_REFUSED: Final = "The local server cannot start: "
"""How the last entry of the log begins if the server cannot start for a reason that it knows."""


@dataclass(frozen=True)
class ServerInfo:
    """The content of `server.json`.

    Attributes:
        pid: The server process.
        lease_port: Where clients open the connection that keeps the server alive.
        endpoints: The addresses of its services, and the token for all of them. A server that knows
            the token is the one that wrote the file.
        etlkit: The version of etlkit that started it.
        emulator: The version of the emulator in it.
    """

    pid: int
    lease_port: int
    endpoints: Endpoints
    etlkit: str
    emulator: str

    def write(self, local_dir: Path) -> None:
        """Write the file in one step: a reader sees all of it or none."""
        partial = local_dir / f"{SERVER_FILE}.{self.pid}"
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2)
        partial.replace(local_dir / SERVER_FILE)

    def remove(self, local_dir: Path) -> None:
        """Delete the file, unless the next server has already replaced it."""
        if read_server_info(local_dir) == self:
            (local_dir / SERVER_FILE).unlink(missing_ok=True)


def read_server_info(local_dir: Path) -> ServerInfo | None:
    """Read `server.json`; None = there is no such file, or it is damaged."""
    try:
        raw = json.loads((local_dir / SERVER_FILE).read_text(encoding="utf-8"))
        return ServerInfo(**{**raw, "endpoints": Endpoints(**raw["endpoints"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
