"""What the server process tells those who start it: how to reach it, or why it cannot start."""

from __future__ import annotations

import json
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
        token: A random text. A server that knows it is the one that wrote the file.
        lease_port: Where clients open the connection that keeps the server alive.
        endpoints: The addresses of its services.
        etlkit: The version of etlkit that started it.
        emulator: The version of the emulator in it.
    """

    pid: int
    token: str
    lease_port: int
    endpoints: Endpoints
    etlkit: str
    emulator: str

    def write(self, local_dir: Path) -> None:
        """Write the file in one step: a reader sees all of it or none."""
        partial = local_dir / f"{SERVER_FILE}.{self.pid}"
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
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
