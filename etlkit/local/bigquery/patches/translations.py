"""A statement that was translated is not translated again.

The emulator parses, walks and writes a statement about 25 times to translate it, which takes most of
the time of a small one. Here what `SQLTranslator.translate` and `rewrite_table_refs` answered is
remembered, by all that they get: the text, the types of the columns of the tables that it names, the
caller and the project. They look at nothing else: what depends on the catalog, on system variables or
on row access policies is put into the text before, for each statement anew, and values of parameters
come behind.

What is refused is not remembered.
"""

from __future__ import annotations

import json
from typing import Any, Final

from bqemulator.domain.result import Ok
from bqemulator.jobs import executor
from bqemulator.sql.translator import SQLTranslator

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.statement_memo import StatementMemo, Template

_BETWEEN: Final = "\x1f"
"""Between the texts that a result depends on."""

_translated: Final = StatementMemo()
_qualified: Final = StatementMemo()


def _key(*texts: str) -> Template:
    return Template(_BETWEEN.join(texts))


def _translate(
    self: SQLTranslator,
    bq_sql: str,
    *,
    schema: dict[str, Any] | None = None,
    caller: Any = None,
    **options: Any,
) -> Any:
    key = _key(json.dumps(schema), repr(caller), bq_sql)
    known = None if options else _translated.find(key)
    if known is not None:
        return Ok(known)
    result = _plain_translate(self, bq_sql, schema=schema, caller=caller, **options)
    if isinstance(result, Ok) and not options:
        _translated.keep(key, result.value)
    return result


def _rewrite_table_refs(duckdb_sql: str, project_id: str) -> str:
    key = _key(project_id, duckdb_sql)
    known = _qualified.find(key)
    if known is None:
        known = _plain_rewrite_table_refs(duckdb_sql, project_id)
        _qualified.keep(key, known)
    return known


_plain_translate: Any = None
_plain_rewrite_table_refs: Any = executor.rewrite_table_refs


def apply() -> None:
    """Remember results. Called after all that changes how a statement is translated."""
    global _plain_translate  # noqa: PLW0603
    _plain_translate = SQLTranslator.translate
    PATCHES.replace("bqemulator.sql.translator:SQLTranslator.translate", _translate)
    PATCHES.replace("bqemulator.jobs.executor:rewrite_table_refs", _rewrite_table_refs)
    PATCHES.replace("bqemulator.scripting.interpreter:rewrite_table_refs", _rewrite_table_refs)
