"""The dataset of tables whose name has none: of a job, or `SET @@dataset_id` of a script.

Real BigQuery: a temporary table of this name comes first. The emulator: it looked for temporary tables
in the default dataset.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import sqlglot
from sqlglot import exp

from etlkit.local.bigquery.patches.scripts import SESSION, is_temp_table
from etlkit.local.bigquery.patches.table import PATCHES


def qualified(
    sql: str, project: str, dataset: str, temp_tables: Callable[[], set[str]] = set
) -> str:
    """The text with the dataset in the names of tables that have none.

    Args:
        sql: A statement or a script.
        project: The project of the dataset.
        dataset: Its name; "" = there is none.
        temp_tables: Gives names that stay as they are, in lower case. To list them takes a while.
    """
    if not dataset:
        return sql
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="bigquery") if tree is not None]
    except sqlglot.errors.SqlglotError:
        return sql  # the translator reports the error
    temporary = temp_tables() | {
        table.name.lower()
        for tree in trees
        if is_temp_table(tree) and (table := tree.find(exp.Table)) is not None
    }
    for tree in trees:
        ctes = {cte.alias_or_name.lower() for cte in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            if not isinstance(table.this, exp.Identifier) or table.db:
                continue
            if table.name and table.name.lower() not in temporary | ctes:
                table.set("db", exp.to_identifier(dataset, quoted=True))
                table.set("catalog", exp.to_identifier(project, quoted=True))
    return ";\n".join(tree.sql(dialect="bigquery") for tree in trees)


def temp_tables(connection: Any) -> set[str]:
    """The temporary tables of a connection."""
    listed = connection.execute("SELECT table_name FROM duckdb_tables() WHERE temporary")
    return {str(name).lower() for (name,) in listed.fetchall()}


def _apply_default_dataset(sql: str, config: dict[str, Any], *, request_project_id: str) -> str:
    given = config.get("defaultDataset")
    if not isinstance(given, dict) or not given.get("datasetId"):
        return sql
    session: Any = SESSION.get()
    listed = set if session is None else partial(temp_tables, session.connection)
    return qualified(sql, given.get("projectId") or request_project_id, given["datasetId"], listed)


def apply() -> None:
    """Let temporary tables come first."""
    PATCHES.replace("bqemulator.api.routes.jobs:_apply_default_dataset", _apply_default_dataset)
