"""Mends for faults of the pinned emulator, each where it departs from real BigQuery.

Every module names what real BigQuery does and what the emulator did instead, and has an `apply()`
that replaces the faulty part. All of them hold for `bqemulator==1.4.0` alone; the pin in
`pyproject.toml` moves only together with them.
"""

from __future__ import annotations


def apply() -> None:
    """Replace the faulty parts. Called once, before the emulator is built."""
    from etlkit.local.bigquery.patches import (
        appends,
        byte_literals,
        destinations,
        dry_runs,
        keep_alive,
        loads,
        messages,
        reads,
        row_inserts,
        scripts,
        single_connection,
        snapshots,
        table_options,
        table_resource,
        types,
    )

    statements = (types, table_options, byte_literals, messages, scripts, dry_runs, destinations)
    rows = (appends, row_inserts, reads, loads)
    for mend in (single_connection, keep_alive, snapshots, *statements, table_resource, *rows):
        mend.apply()
