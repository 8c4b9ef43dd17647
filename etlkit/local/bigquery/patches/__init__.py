"""Patches of the pinned emulator where it differs from real BigQuery.

The docstring of each module says what real BigQuery does and what the emulator did instead. Its
`apply()` replaces the wrong part. `table` lists everything that is replaced, and the version of the
emulator that the patches are written for.
"""

from __future__ import annotations


def apply(location: str) -> None:
    """Apply all patches. Called once, after the table is checked and before the emulator is built.

    Args:
        location: Where datasets are by default.
    """
    from etlkit.local.bigquery.patches import (
        aggregates,
        alter_actions,
        appends,
        byte_literals,
        destinations,
        etags,
        functions,
        gzip_uploads,
        hashed_joins,
        job_results,
        jobs,
        keep_alive,
        loads,
        locations,
        messages,
        reads,
        row_access,
        row_inserts,
        sandbox,
        scripts,
        single_connection,
        snapshots,
        statement_kinds,
        table_names,
        table_options,
        table_resource,
        translations,
        tree_walks,
        type_parameters,
        types,
    )

    locations.apply(location)
    statements = (
        types,
        type_parameters,
        table_names,
        table_options,
        byte_literals,
        functions,
        alter_actions,
        hashed_joins,
        aggregates,
        translations,
        sandbox,
        messages,
        scripts,
        jobs,
        destinations,
        row_access,
        statement_kinds,
    )
    rows = (appends, row_inserts, reads, loads, gzip_uploads)
    for patch in (
        tree_walks,
        single_connection,
        keep_alive,
        snapshots,
        *statements,
        table_resource,
        job_results,
        etags,
        *rows,
    ):
        patch.apply()
