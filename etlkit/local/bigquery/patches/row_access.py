"""Row access policies and views, for statements that name such a table.

The emulator looks at each table of each statement, and parses the statement for that.
"""

from __future__ import annotations

from typing import Any

from bqemulator.sql import inner_query

from etlkit.local.bigquery.named_tables import named_tables
from etlkit.local.bigquery.patches.table import PATCHES


def _rewrite(bq_sql: str, *, project_id: str, caller: Any, catalog: Any) -> str:
    named = named_tables(bq_sql)
    if named is not None and not catalog.list_all_row_access_policies():
        metas = (
            catalog.get_table(each.catalog or project_id, each.db, each.name)
            for each in named
            if each.db and each.name
        )
        if not any(meta is not None and meta.view_query for meta in metas):
            return bq_sql
    rewritten: str = _plain_rewrite(bq_sql, project_id=project_id, caller=caller, catalog=catalog)
    return rewritten


_plain_rewrite: Any = inner_query.rewrite_for_row_access


def apply() -> None:
    """Look at the names of tables first."""
    PATCHES.replace("bqemulator.sql.inner_query:rewrite_for_row_access", _rewrite)
