"""Does the local BigQuery start, and answer."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from etlkit.cli.doctor_checks.finding import Finding, ok, problem, warning
from etlkit.errors import EtlkitError

_FREE_BYTES = 1024**3
"""Less free space is worth a warning: snapshots and staging tables take as much as the data."""


def check_local_world(local_dir: Path, location: str | None) -> Iterator[Finding]:
    """Look at the folder, start or join the server, and run a query."""
    folder = _folder(local_dir)
    yield folder
    if folder.state == "problem":
        return
    yield _answers(local_dir, location)


def _folder(local_dir: Path) -> Finding:
    there = next(path for path in (local_dir, *local_dir.absolute().parents) if path.exists())
    if not there.is_dir():
        return problem("local folder", f"{local_dir}: {there} is not a folder")
    if not os.access(there, os.W_OK):
        text = f"{local_dir} cannot be written"
        return problem("local folder", text, f"chmod u+rwx {there}")
    from etlkit.local.server.local_dir import make_local_dir

    try:
        make_local_dir(local_dir)
    except EtlkitError as error:
        return problem("local folder", str(error))
    free = shutil.disk_usage(there).free
    if free < _FREE_BYTES:
        return warning("local folder", f"{local_dir}: only {free // 1024**2:,} MiB are free")
    return ok("local folder", str(local_dir))


def _answers(local_dir: Path, location: str | None) -> Finding:
    from etlkit.runner import local_world

    began = time.monotonic()
    try:
        with local_world(local_dir, location=location):
            (row,) = _select_one()
    except EtlkitError as error:
        return problem("local BigQuery", str(error))
    if row.n != 1:
        return problem("local BigQuery", f"SELECT 1 gave {row.n!r}")
    return ok("local BigQuery", f"answered after {time.monotonic() - began:.1f} s")


def _select_one() -> list[Any]:
    from etlkit.bigquery.client import Connection
    from etlkit.runner import environment

    with closing(Connection(environment(), job_prefix="etlkit_doctor")) as connection:
        return list(connection.client.query_and_wait("SELECT 1 AS n"))
