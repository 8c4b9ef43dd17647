"""Patches of the pinned emulator where it differs from real BigQuery.

The docstring of each module says what real BigQuery does and what the emulator did instead. Its
`apply()` replaces the wrong part. `table` lists everything that is replaced, and the version of the
emulator that the patches are written for.
"""

from __future__ import annotations


def apply() -> None:
    """Apply all patches. Called once, after the table is checked and before the emulator is built."""
    from etlkit.local.bigquery.patches import (
        aggregates,
        alter_actions,
        appends,
        byte_literals,
        destinations,
        etags,
        jobs,
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

    statements = (
        types,
        table_options,
        byte_literals,
        alter_actions,
        aggregates,
        messages,
        scripts,
        jobs,
        destinations,
    )
    rows = (appends, row_inserts, reads, loads)
    for patch in (
        single_connection,
        keep_alive,
        snapshots,
        *statements,
        table_resource,
        etags,
        *rows,
    ):
        patch.apply()
