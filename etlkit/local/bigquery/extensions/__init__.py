"""Extensions of the emulator: what BigQuery has and the emulator lacks.

Hooks see every statement before the emulator does. `hooks` defines them, `query_jobs` and `interpreter`
call them, and `grammar` parses what sqlglot does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def apply(local_dir: Path) -> None:
    """Add all extensions. Called once, after the patches."""
    from etlkit.local.bigquery import rewrites
    from etlkit.local.bigquery.extensions import (
        catalog_store,
        definitions,
        external,
        external_data,
        grammar,
        hooks,
        interpreter,
        load_data,
        object_columns,
        pivots,
        query_jobs,
        resources,
        routines,
        script_forms,
        sessions,
        sql_functions,
        subqueries,
        table_copies,
        table_properties,
        views,
    )
    from etlkit.local.bigquery.extensions.object_tables import ObjectTables
    from etlkit.local.bigquery.extensions.objects import Objects
    from etlkit.local.bigquery.extensions.remote_functions import RemoteRuntime
    from etlkit.local.bigquery.patches.single_connection import SingleConnectionEngine
    from etlkit.local.bigquery.patches.table_resource import TableResources
    from etlkit.local.bigquery.rules.registry import all_rules
    from etlkit.local.buckets import Buckets
    from etlkit.local.ml import extension as ml

    all_rules()
    grammar.apply()
    rewrites.apply()
    query_jobs.apply()
    script_forms.apply()
    interpreter.apply()
    sessions.apply()
    remote = RemoteRuntime()
    routines.apply(remote)
    objects = Objects(Buckets(local_dir / "buckets"))
    object_tables = ObjectTables(objects)
    resources.apply(object_tables)
    table_properties.apply()
    TableResources.updated.append(views.with_query)
    objects.declare_functions()
    object_tables.declare_procedure()
    SingleConnectionEngine.starts = hooks.STARTS
    # The order matters: each hook sees the statement as the hooks before it have left it.
    hooks.STARTS.extend([catalog_store.prepare, objects.connect])
    hooks.STATEMENTS.append(sql_functions.refuse_wrong_calls)
    hooks.STATEMENTS.append(hooks.ask_rules)
    hooks.STATEMENTS.extend([external.refuse_writes, external.drop, external_data.refresh])
    hooks.STATEMENTS.extend([object_tables.create, external_data.create])
    hooks.STATEMENTS.extend([remote.create, views.create_view])
    hooks.STATEMENTS.extend([load_data.load, table_copies.copy_table, definitions.define])
    subqueries.QUERIES.extend([views.expand_views, pivots.name_columns])
    hooks.INVOLVED.extend([views.names_such_view, object_columns.names_data, pivots.has_pivots])
    ml.apply(Buckets(local_dir / "buckets").root)
    # Before object tables, so that functions see the original query.
    hooks.STARTS.append(sql_functions.register)
    subqueries.QUERIES.append(sql_functions.rewrite)
    hooks.INVOLVED.append(sql_functions.is_involved)
    subqueries.QUERIES.append(object_columns.add_data)
