"""HTTP connections that nobody uses for a while.

Real BigQuery: an idle connection stays open for minutes. The emulator: uvicorn closed it after 5 s, and
a client that was just about to send its next request over it met a reset connection.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import uvicorn

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.server.endpoints import KEEP_ALIVE_S


def apply() -> None:
    """Serve REST with this patience."""
    config = partial(uvicorn.Config, timeout_keep_alive=KEEP_ALIVE_S)
    PATCHES.replace(
        "bqemulator.server:uvicorn", SimpleNamespace(Config=config, Server=uvicorn.Server)
    )
