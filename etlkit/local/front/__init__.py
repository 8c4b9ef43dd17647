"""What stands before the emulator: what BigQuery has and the emulator lacks.

Every statement passes here, whichever client sends it: `seam` says what a hook is, `jobs` and
`interpreter` lead statements through, `grammar` parses what sqlglot does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def apply(local_dir: Path) -> None:
    """Stand before the emulator. Called once, after the mends."""
    from etlkit.local.buckets import Buckets
    from etlkit.local.front import (
        external,
        external_data,
        grammar,
        interpreter,
        jobs,
        object_columns,
        pivots,
        procedures,
        resources,
        routines,
        seam,
        things,
        views,
    )
    from etlkit.local.front.object_tables import ObjectTables
    from etlkit.local.front.objects import Objects
    from etlkit.local.front.remote_functions import RemoteRuntime
    from etlkit.local.mends.turns import OneUserEngine
    from etlkit.local.ml import hooks as ml

    grammar.apply()
    jobs.apply()
    interpreter.apply()
    remote = RemoteRuntime()
    routines.apply(remote)
    objects = Objects(Buckets(local_dir / "buckets"))
    object_tables = ObjectTables(objects)
    resources.apply(object_tables)
    procedures.KNOWN["BQ.REFRESH_EXTERNAL_METADATA_CACHE"] = object_tables.refresh_cache
    OneUserEngine.starts = seam.STARTS
    # In this order: what a hook has made of a statement is what the next one sees.
    seam.STARTS.extend([things.prepare, objects.register])
    seam.STATEMENTS.extend([external.refuse_writes, external.drop, external_data.refresh])
    seam.STATEMENTS.extend([object_tables.create, external_data.create])
    seam.STATEMENTS.extend([remote.create, views.create_view])
    seam.QUERIES.extend([views.expand_views, pivots.name_columns])
    seam.INVOLVED.extend([views.names_such_view, object_columns.names_data, pivots.has_pivots])
    ml.apply(Buckets(local_dir / "buckets").root)
    seam.QUERIES.append(object_columns.add_data)
