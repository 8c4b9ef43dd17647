"""Idle HTTP connections.

Real BigQuery: an idle connection stays open for minutes. The emulator: uvicorn closed it after 5 s, so
that a client's next request could fail with a reset connection.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import uvicorn

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.server.endpoints import KEEP_ALIVE_S


def apply() -> None:
    """Serve the REST API with a longer keep-alive."""
    config = partial(uvicorn.Config, timeout_keep_alive=KEEP_ALIVE_S)
    PATCHES.replace(
        "bqemulator.server:uvicorn", SimpleNamespace(Config=config, Server=uvicorn.Server)
    )
