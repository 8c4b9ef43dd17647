"""A statement that was translated is not translated again.

The emulator parses, walks and writes a statement about 25 times to translate it, which takes most of
the time of a small one. Here what `SQLTranslator.translate` and `rewrite_table_refs` answered is
remembered, by all that they get: the text, the types of the columns of the tables that it names, the
caller and the project. They look at nothing else: what depends on the catalog, on system variables or
on row access policies is put into the text before, for each statement anew, and values of parameters
come behind.

Results are kept for later servers of the same user, too, as long as no file of the emulator, of sqlglot
and of the patches changes. What is refused is not remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import version
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from bqemulator.domain.result import Ok
from bqemulator.jobs import executor
from bqemulator.sql.translator import SQLTranslator

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.statement_memo import StatementMemo, Template
from etlkit.local.bigquery.user_cache import KeptTexts

_BETWEEN: Final = "\x1f"
"""Between the texts that a result depends on."""

_translated: Final = StatementMemo("translated")
_qualified: Final = StatementMemo("qualified")


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


def _version() -> str:
    """A text that changes with everything that decides about a translation."""
    digest = hashlib.sha256(version("duckdb").encode())  # some of its functions are refused
    for name, file in _sources(Path(__file__).parents[1]):
        digest.update(f"{name} ".encode() + Path(file.path).read_bytes())
    for package in ("bqemulator", "sqlglot"):
        spec = find_spec(package)
        digest.update(version(package).encode())
        for name, file in _sources(Path(str(spec and spec.origin)).parent):
            status = file.stat()
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns} ".encode())
    return digest.hexdigest()[:16]


def _sources(folder: Path) -> list[tuple[str, os.DirEntry[str]]]:
    """The files of a package, by their names below its folder, sorted."""
    found, folders = [], [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for each in entries:
                if each.is_dir():
                    folders.append(each.path)
                elif each.name.endswith(".py"):
                    found.append((os.path.relpath(each.path, folder), each))
    return sorted(found, key=itemgetter(0))


def apply() -> None:
    """Remember results. Called after all that changes how a statement is translated."""
    global _plain_translate  # noqa: PLW0603
    _translated.kept = _qualified.kept = KeptTexts("translations", _version())
    _plain_translate = SQLTranslator.translate
    PATCHES.replace("bqemulator.sql.translator:SQLTranslator.translate", _translate)
    PATCHES.replace("bqemulator.jobs.executor:rewrite_table_refs", _rewrite_table_refs)
    PATCHES.replace("bqemulator.scripting.interpreter:rewrite_table_refs", _rewrite_table_refs)
