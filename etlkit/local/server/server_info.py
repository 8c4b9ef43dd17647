"""What the server process tells those who start it: how to reach it, or why it cannot start."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from etlkit.local.server.endpoints import Endpoints
from etlkit.local.server.local_dir import write_private

SERVER_FILE: Final = "server.json"

START_REFUSED: Final = "The local server cannot start: "
"""How the last entry of the log begins if the server cannot start for a reason that it knows."""


@dataclass(frozen=True)
class World:
    """What those who start a server may choose.

    Attributes:
        location: Where datasets and jobs are by default.
        late_columns_s: For how many seconds the Write API does not see a new column of an old table.
    """

    location: str = "US"
    late_columns_s: float = 0


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
        world: What was chosen when it was started.
    """

    pid: int
    lease_port: int
    endpoints: Endpoints
    etlkit: str
    emulator: str
    world: World = World()

    def write(self, local_dir: Path) -> None:
        """Write the file in one step: a reader sees all of it or none."""
        write_private(local_dir / SERVER_FILE, json.dumps(asdict(self), indent=2))

    def remove(self, local_dir: Path) -> None:
        """Delete the file, unless the next server has already replaced it."""
        if read_server_info(local_dir) == self:
            (local_dir / SERVER_FILE).unlink(missing_ok=True)


def read_server_info(local_dir: Path) -> ServerInfo | None:
    """Read `server.json`; None = there is no such file, or it is damaged."""
    try:
        raw = json.loads((local_dir / SERVER_FILE).read_text(encoding="utf-8"))
        parts = {"endpoints": Endpoints(**raw["endpoints"]), "world": World(**raw["world"])}
        return ServerInfo(**{**raw, **parts})
    except (OSError, ValueError, TypeError, KeyError):
        return None
