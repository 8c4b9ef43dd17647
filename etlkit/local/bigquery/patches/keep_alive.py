"""HTTP connections that nobody uses for a while.

Real BigQuery: an idle connection stays open for minutes. The emulator: uvicorn closed it after 5 s, and
a client that was just about to send its next request over it met a reset connection.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import bqemulator.server as emulator_server
import uvicorn

from etlkit.local.server.endpoints import KEEP_ALIVE_S


def apply() -> None:
    """Serve REST with this patience."""
    emulator_server.uvicorn = SimpleNamespace(
        Config=partial(uvicorn.Config, timeout_keep_alive=KEEP_ALIVE_S), Server=uvicorn.Server
    )
