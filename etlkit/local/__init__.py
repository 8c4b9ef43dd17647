"""The embedded world: a BigQuery of your own in `.etlkit/`, reached by the official clients.

Importing this package is cheap: the emulator is imported by the server process alone.
"""

from etlkit.local.server.endpoints import Endpoints
from etlkit.local.server.process import LocalServer, join_or_start

__all__ = ["Endpoints", "LocalServer", "join_or_start"]
