"""Traced rows for people: what each target row was made of, one value a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_FILE_ROW = re.compile(r"[0-9a-f]+-\d+-(?P<file>\d+)-(?P<row>\d+)")
"""The id of a row of a file, see `etlkit.files.reader.RowId`."""

_COMMIT_CHARS = 12

TRACE_COLUMNS = (
    "target row",
    "source row",
    "run",
    "row id",
    "code",
    "attempt",
    "calls",
    "cost",
)


def trace_rows_shown(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of `TRACE_COLUMNS`."""
    for row in rows:
        finished = row["finished_at"]
        when = "" if finished is None else f", {finished:%Y-%m-%d %H:%M:%S} UTC"
        yield {
            "target row": row["target_row"],
            "source row": row["source_row"] or _place(row),
            "run": f"{row['run_id'] or '?'} of {row['job']}{when}" if row["job"] else _no_run(row),
            "row id": row["row_id"],
            "code": _code(row),
            "attempt": _attempt(row),
            "calls": _calls(row),
            "cost": None if row["cost"] is None else f"{row['cost']:.6g}",
        }


def _no_run(row: Mapping[str, Any]) -> str:
    if row["run_id"] is None:
        return "not known: the row was there before its job had lineage=True"
    return f"{row['run_id']}, which this ledger does not know"


def _place(row: Mapping[str, Any]) -> str | None:
    """Where the source row is, if its id says it, or why nothing is known of it."""
    found = _FILE_ROW.fullmatch(row["row_id"] or "")
    if found is not None:
        number = int(found["file"])
        files = _variables(row).get("files") or []
        name = files[number - 1] if 0 < number <= len(files) else f"file {number}"
        return f"row {found['row']} of {name}"
    if row["run_id"] is not None and not row["is_kept"]:
        return "no longer kept: etlkit_work.row_lineage forgets rows after a while"
    return None


def _variables(row: Mapping[str, Any]) -> dict[str, Any]:
    value = row["variables"]
    if isinstance(value, str):
        value = json.loads(value)
    return value if isinstance(value, dict) else {}


def _code(row: Mapping[str, Any]) -> str | None:
    revision, fingerprint = row["revision"], row["fingerprint"]
    parts = [f"revision {revision[:_COMMIT_CHARS]}"] if revision else []
    parts += [f"fingerprint {fingerprint}"] if fingerprint else []
    return ", ".join(parts) or None


def _attempt(row: Mapping[str, Any]) -> str | None:
    if row["attempt"] is None:
        return None
    if row["attempt"] == 0:
        return f"none: result of run {row['made_by_run_id']}"
    return str(row["attempt"])


def _calls(row: Mapping[str, Any]) -> str | None:
    if row["calls"] is None:
        return None
    shared = row["shared_by"] or 1
    text = f"{row['calls']}, {row['units']} units"
    return text if shared == 1 else f"{text}, shared by {shared} rows"
