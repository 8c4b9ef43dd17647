"""SQL reaches no file and no network.

Real BigQuery: SQL has no functions and no statements that open files of the machine it runs on, and a
load job reads from `gs://` or from what the client uploads. The emulator: the SQL of a client could
use DuckDB's, such as `read_text('/etc/passwd')` and `COPY … TO`, and `file://` was any file.

There are two locks, and each would do. DuckDB itself opens files in the buckets and in the folder of
uploads only, also through links, and loads no extension after the start; its configuration cannot be
changed any more. And what has the names of DuckDB's table functions and statements is refused before.

https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
"""

from __future__ import annotations

import re
from pathlib import Path
from threading import local
from typing import Any, Final

import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from bqemulator.domain.result import Err
from bqemulator.sql import translator
from bqemulator.versioning import time_travel
from sqlglot import exp

from etlkit.errors import ConfigError
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.buckets import Buckets

UPLOADS: Final[set[str]] = set()
"""The files of clients that load jobs are reading. No other `file://` address is valid."""

_SETTINGS: Final = (
    "allowed_configs = ['threads', 'timezone']",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "allow_persistent_secrets = false",
    "python_enable_replacements = false",
    "enable_external_access = false",
    "lock_configuration = true",
)
"""In this order. Prediction changes the number of threads, and each new connection its time zone."""

_HARMLESS: Final = {"unnest", "range", "generate_series", "json_each", "json_tree"}
"""DuckDB's table functions that read nothing but their arguments."""

_REVEALING: Final = {"current_setting", "getvariable", "getenv", "write_log"}
"""DuckDB's scalar functions that tell about the machine or write to it."""

_STATEMENTS: Final = {
    *("select", "with", "from", "values", "insert", "update", "delete", "merge", "truncate"),
    *("create", "alter", "drop", "undrop", "grant", "revoke"),
}
"""How statements begin that are translated. Scripts and hooks have taken the others before."""

_FIRST_WORD: Final = re.compile(r"(?:\s|--[^\n]*|#[^\n]*|/\*.*?\*/|\()*([A-Za-z_]+)", re.DOTALL)

_forbidden: set[str] = set()


def lock(connection: Any, settings: Any) -> None:
    """Lock DuckDB. Called once everything is loaded that the server needs.

    Args:
        connection: The server's only connection.
        settings: The emulator's.
    """
    connection.execute("LOAD icu")
    found = connection.execute(
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions() "
        "WHERE internal AND function_type IN ('table', 'table_macro', 'pragma')"
    ).fetchall()
    _forbidden.update({name for (name,) in found} - _HARMLESS)
    folders = [Path(settings.gcs_local_root), Path(settings.upload_staging_dir)]
    paths = ", ".join("'{}/'".format(str(path).replace("'", "''")) for path in folders)
    for setting in (f"allowed_directories = [{paths}]", *_SETTINGS):
        connection.execute(f"SET {setting}")
    converter = _Converter(connection)
    PATCHES.replace("bqemulator.types.geography:_ensure_conv_conn", lambda: converter.cursor)


class _Converter(local):
    """Converts geographies; a connection for each thread."""

    def __init__(self, connection: Any) -> None:
        self.cursor = connection.cursor()


def refusal(sql: str) -> InvalidQueryError | None:
    """Why SQL is refused; None = it names nothing that only DuckDB has."""
    first = _FIRST_WORD.match(sql)
    if first is not None and first[1].lower() not in _STATEMENTS:
        line = sql.count("\n", 0, first.start(1)) + 1
        column = first.start(1) - sql.rfind("\n", 0, first.start(1))
        return InvalidQueryError(
            f'Syntax error: Unexpected identifier "{first[1]}" at [{line}:{column}]'
        )
    # An escape in a quoted name could hide a word from this quick look.
    words = set(re.findall(r"\w+", sql.lower()))
    if words.isdisjoint(_forbidden | _REVEALING) and "\\" not in sql:
        return None
    try:
        trees = sqlglot.parse(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return None  # the translator reports the error
    nodes = (node for tree in trees if tree is not None for node in tree.find_all(exp.Func))
    return next(filter(None, map(_refused_call, nodes)), None)


def _refused_call(node: exp.Func) -> InvalidQueryError | None:
    is_plain = isinstance(node, exp.Anonymous)
    names = {name.lower() for name in ([node.name] if is_plain else type(node).sql_names())}
    if _is_relation(node) and not names.isdisjoint(_forbidden):
        return InvalidQueryError(f"Table-valued function not found: {min(names)}")
    if not names.isdisjoint(_REVEALING):
        return InvalidQueryError(f"Function not found: {min(names)}")
    return None


def _is_relation(node: exp.Func) -> bool:
    """Whether a function without a dataset stands where a table may stand."""
    parent = node.parent
    if not isinstance(parent, exp.Table | exp.Lateral | exp.From | exp.Join):
        return False
    return not parent.args.get("db")


def _translate(self: translator.SQLTranslator, bq_sql: str, **options: Any) -> Any:
    refused = refusal(bq_sql)
    return _plain_translate(self, bq_sql, **options) if refused is None else Err(refused)


def _eval_timestamp(expression: Any, engine: Any) -> Any:
    """Evaluate the time of FOR SYSTEM_TIME AS OF, which the emulator translates by itself."""
    refused = refusal(f"SELECT {expression.sql(dialect='bigquery')}")
    if refused is not None:
        raise refused
    return _plain_eval_timestamp(expression, engine)


def _resolve_uri(uri: str, ctx: Any) -> str:
    """The file of an object or of an upload.

    Raises:
        InvalidQueryError: It is neither, or leads out of its bucket.
    """
    if uri.startswith("file://") and uri.removeprefix("file://") in UPLOADS:
        return uri.removeprefix("file://")
    if not uri.startswith("gs://"):
        raise InvalidQueryError(f"Source URI must be a Google Cloud Storage location: {uri}")
    try:
        return str(Buckets(Path(ctx.settings.gcs_local_root)).path(uri))
    except ConfigError as error:
        raise InvalidQueryError(f"Not found: URI {uri}: {error.message}") from error


_plain_translate: Any = None
_plain_eval_timestamp: Any = time_travel._eval_timestamp_via_duckdb  # noqa: SLF001


def apply() -> None:
    """Look at SQL before it is translated, and at addresses before they are opened."""
    global _plain_translate  # noqa: PLW0603
    _plain_translate = translator.SQLTranslator.translate
    PATCHES.replace("bqemulator.sql.translator:SQLTranslator.translate", _translate)
    PATCHES.replace("bqemulator.versioning.time_travel:_eval_timestamp_via_duckdb", _eval_timestamp)
    PATCHES.replace("bqemulator.jobs.executor:_resolve_uri", _resolve_uri)
