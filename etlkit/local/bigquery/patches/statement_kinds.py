"""What kind of statement a text is, without parsing it each time.

The emulator parses each statement about ten times to find out that it drops nothing, creates nothing
and so on. The first word of most statements says so, and what a statement is called depends on nothing
but its text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from bqemulator.catalog import ddl_sync
from bqemulator.jobs import executor

from etlkit.local.bigquery.first_words import may_begin
from etlkit.local.bigquery.patches.table import PATCHES

_DML: Final = ("INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "WITH")
_MAX_TEXTS: Final = 512


def _only(plain: Callable[..., Any], word: str, otherwise: Any = None) -> Callable[..., Any]:
    """A function that is only called for statements that may begin with a word."""

    def call(bq_sql: str, *more: Any) -> Any:
        return plain(bq_sql, *more) if may_begin(bq_sql, word) else otherwise

    return call


def _reject_dml_on_immutable(project_id: str, bq_sql: str, ctx: Any) -> None:
    if may_begin(bq_sql, *_DML):
        _plain_reject(project_id, bq_sql, ctx)


async def _capture_dml_snapshots(project_id: str, bq_sql: str, ctx: Any) -> None:
    if may_begin(bq_sql, *_DML):
        await _plain_capture(project_id, bq_sql, ctx)


_plain_reject: Any = executor._reject_dml_on_immutable  # noqa: SLF001
_plain_capture: Any = executor._capture_dml_snapshots  # noqa: SLF001


def apply() -> None:
    """Look at first words."""
    drop = _only(ddl_sync._detect_catalog_drop, "DROP")  # noqa: SLF001
    schema = _only(ddl_sync._detect_create_schema, "CREATE")  # noqa: SLF001
    view = _only(ddl_sync._detect_plain_create_view, "CREATE", (None, None))  # noqa: SLF001
    table = _only(ddl_sync._detect_plain_create_table, "CREATE")  # noqa: SLF001
    routine = _only(executor.detect_drop_routine, "DROP")
    classify = lru_cache(_MAX_TEXTS)(executor.classify_statement_type)
    PATCHES.replace("bqemulator.catalog.ddl_sync:_detect_catalog_drop", drop)
    PATCHES.replace("bqemulator.catalog.ddl_sync:_detect_create_schema", schema)
    PATCHES.replace("bqemulator.catalog.ddl_sync:_detect_plain_create_view", view)
    PATCHES.replace("bqemulator.catalog.ddl_sync:_detect_plain_create_table", table)
    PATCHES.replace("bqemulator.jobs.executor:detect_drop_routine", routine)
    PATCHES.replace("bqemulator.jobs.executor:classify_statement_type", classify)
    PATCHES.replace("bqemulator.jobs.executor:_reject_dml_on_immutable", _reject_dml_on_immutable)
    PATCHES.replace("bqemulator.jobs.executor:_capture_dml_snapshots", _capture_dml_snapshots)
