"""The local world: a BigQuery and a Vision of your own in `.etlkit/`, reached by the official clients.

Importing this package is cheap: only the server process imports the emulator.
"""

from etlkit.local.server.endpoints import Endpoints
from etlkit.local.server.launcher import LocalServer, join_or_start

__all__ = ["Endpoints", "LocalServer", "join_or_start"]
