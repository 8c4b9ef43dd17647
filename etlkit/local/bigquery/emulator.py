"""Build the emulator that the local server runs, with our patches and extensions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from etlkit.local.server.endpoints import PROJECT

_EXTENSIONS: Final = ("spatial", "avro", "icu")
_MAX_APPEND_BYTES: Final = 20 * 1024 * 1024
"""BigQuery takes AppendRows requests below 20 MB since 2024; the emulator's default is the older 10.

https://cloud.google.com/bigquery/quotas#write-api-limits
"""


def build_emulator(
    local_dir: Path,
    token: str,
    is_signed: Callable[[str], bool],
    *,
    location: str = "US",
    late_columns_s: float = 0,
) -> Any:
    """Make an emulator over the data of `local_dir`; the caller starts and stops it.

    Args:
        local_dir: `data/` below it holds the tables, `buckets/` is what `gs://` means.
        token: What its callers must send.
        is_signed: Whether a bearer token is one that may be sent instead; see `guard.knows_token`.
        location: Where datasets and jobs are by default.
        late_columns_s: For how many seconds the Write API does not see a new column of an old table.

    Returns:
        A `bqemulator.server.EmulatorServer` that binds free ports on loopback.

    Raises:
        ConfigError: The installed emulator is not the one that the patches were written against.
    """
    silence()
    _provide_extensions()
    from bqemulator.config import LogLevel, PersistenceMode, Settings
    from bqemulator.server import EmulatorServer

    from etlkit.local.bigquery import extensions, patches
    from etlkit.local.bigquery.patches import callers, parses
    from etlkit.local.bigquery.patches.single_connection import SingleConnectionEngine
    from etlkit.local.bigquery.patches.table import PATCHES
    from etlkit.local.bigquery.rules.late_columns import LateColumns

    PATCHES.check(emulator_version())
    patches.apply(location)
    callers.apply(token, is_signed)
    SingleConnectionEngine.late_columns = LateColumns(late_columns_s)
    extensions.apply(local_dir)
    parses.apply()
    return EmulatorServer(
        Settings(
            rest_host="127.0.0.1",
            rest_port=0,
            grpc_host="127.0.0.1",
            grpc_port=0,
            persistence_mode=PersistenceMode.PERSISTENT,
            data_dir=local_dir / "data",
            gcs_local_root=local_dir / "buckets",
            upload_staging_dir=local_dir / "uploads",
            write_api_max_request_bytes=_MAX_APPEND_BYTES,
            default_project_id=PROJECT,
            log_level=LogLevel.ERROR,
            admin_enabled=False,
        )
    )


def emulator_version() -> str:
    """The version of the installed emulator."""
    from importlib.metadata import version

    return version("bqemulator")


def silence() -> None:
    """Be quiet from the first import on: the emulator logs while it is imported."""
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def _provide_extensions() -> None:
    """Put the extensions where DuckDB looks for them; otherwise the emulator would download them."""
    import duckdb_extensions

    for name in _EXTENSIONS:
        duckdb_extensions.import_extension(name)
