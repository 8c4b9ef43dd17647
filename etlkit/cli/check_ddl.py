"""What a name is after a statement of DDL: the columns of a new table, a function's types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from etlkit.errors import ConfigError
from etlkit.local.bigquery import googlesql
from etlkit.local.bigquery.sql_catalog import Catalog
from etlkit.local.bigquery.sql_types import SqlType
from etlkit.sql_check.known import (
    Columns,
    Known,
    KnownColumn,
    KnownModel,
    KnownRoutine,
    KnownTable,
    object_table,
)
from etlkit.variables.sql_tokens import Token, tokenize

if TYPE_CHECKING:
    from etlkit.local.bigquery.resolved_trees import Analysis

_TABLES = frozenset(
    {"CREATE_TABLE", "CREATE_TABLE_AS_SELECT", "CREATE_VIEW", "CREATE_MATERIALIZED_VIEW"}
    | {"CREATE_EXTERNAL_TABLE", "CREATE_SNAPSHOT_TABLE"}
)
_ADD_COLUMN = re.compile(
    r"ADD\s+COLUMN\s+(?:IF\s+NOT\s+EXISTS\s+)?`?(?P<name>\w+)`?\s+(?P<type>.+)",
    re.IGNORECASE | re.DOTALL,
)
_DROP_COLUMN = re.compile(r"DROP\s+COLUMN\s+(?:IF\s+EXISTS\s+)?`?(?P<name>\w+)`?\s*", re.IGNORECASE)
_BEHIND_TYPE = re.compile(
    r"\s+(?:NOT\s+NULL|OPTIONS|DEFAULT|COLLATE)\b.*", re.IGNORECASE | re.DOTALL
)
_HEAD_WORDS = frozenset(
    {"AS", "LANGUAGE", "REMOTE", "OPTIONS", "DETERMINISTIC", "NOT", "DATA_GOVERNANCE_TYPE"}
)


def makes(
    sql: str,
    found: Analysis,
    find: Callable[[str], Known | None],
    catalog: Catalog,
    engine: googlesql.Engine,
) -> Mapping[str, Known | None]:
    """What the name is that a statement creates, alters or drops; None = it is gone.

    Args:
        sql: The statement, which is valid.
        found: What the analyzer says of it.
        find: What a name was before.
        catalog: What the body of a function may name.
        engine: Finds the type of that body.
    """
    name, kind = ".".join(found.target), found.kind
    if kind.startswith("DROP_"):
        return {name: None}
    if kind == "ALTER_TABLE":
        return _altered(sql, name, find(name))
    made: Known | None = None
    if kind in _TABLES:
        made = _table(sql, found, find)
    elif kind == "CREATE_MODEL":
        known = find(name)
        made = known if isinstance(known, KnownModel) else KnownModel()
    elif kind.startswith("CREATE_") and kind.endswith(("_FUNCTION", "_PROCEDURE")):
        made = _routine(sql, kind, catalog, engine)
    return {name: made} if made is not None else {}


def _table(sql: str, found: Analysis, find: Callable[[str], Known | None]) -> KnownTable:
    if found.kind == "CREATE_EXTERNAL_TABLE" and "object_metadata" in sql.lower():
        return object_table()
    columns = tuple(KnownColumn(name, kind.text, kind.is_required) for name, kind in found.columns)
    is_view = found.kind not in {"CREATE_TABLE", "CREATE_TABLE_AS_SELECT"}
    if columns:
        return KnownTable(columns, is_view=is_view)
    known = find(".".join(found.target))  # a file's columns, or a copy's, are not in the statement
    sources = [find(name) for name in found.reads]
    for each in (*sources, known):
        if isinstance(each, KnownTable) and each.columns:
            return replace(each, is_view=is_view)
    return KnownTable((), is_complete=False, is_view=is_view)


def _altered(sql: str, name: str, known: Known | None) -> Mapping[str, Known | None]:
    if not isinstance(known, KnownTable):
        return {}
    columns = known.columns
    for action in _actions(sql):
        added, dropped = _ADD_COLUMN.match(action), _DROP_COLUMN.fullmatch(action)
        if added is not None:
            try:
                kind = SqlType.parse(_BEHIND_TYPE.sub("", added["type"]).strip())
            except ConfigError:
                return {name: replace(known, is_complete=False)}
            columns = (*columns, KnownColumn(added["name"], kind.text))
        elif dropped is not None:
            gone = dropped["name"].casefold()
            columns = tuple(each for each in columns if each.name.casefold() != gone)
        elif not re.match(r"SET\s+OPTIONS", action, re.IGNORECASE):
            return {name: replace(known, columns=columns, is_complete=False)}
    return {name: replace(known, columns=columns)}


def _actions(sql: str) -> list[str]:
    """The actions of an ALTER, which commas separate."""
    tokens = tokenize(sql)
    words = {"ADD", "DROP", "SET", "ALTER", "RENAME"}
    first = next((n for n, t in enumerate(tokens) if n > 1 and t.word in words), len(tokens))
    return [sql[part[0].start : part[-1].end] for part in _by_commas(tokens[first:])]


def _by_commas(tokens: Sequence[Token]) -> list[list[Token]]:
    """Tokens between the commas that stand in no brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, "<": 1, "[": 1, ")": -1, ">": -1, "]": -1}.get(token.text, 0)
        if token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _routine(
    sql: str, kind: str, catalog: Catalog, engine: googlesql.Engine
) -> KnownRoutine | None:
    """A function as its statement describes it; None = its types cannot be read from it."""
    tokens = tokenize(sql)
    opening = next((n for n, token in enumerate(tokens) if token.text == "("), None)
    if opening is None:
        return None
    closing = _closing(tokens, opening)
    arguments = []
    for part in _by_commas(tokens[opening + 1 : closing]):
        text = sql[part[1].start : part[-1].end] if len(part) > 1 else ""
        is_any = text.upper().startswith("ANY")
        arguments.append((part[0].text.strip("`"), "" if is_any else text))
    rest = tokens[closing + 1 :]
    result = _returns(sql, rest)
    body = next((n for n, token in enumerate(rest) if token.word == "AS"), None)
    text = "" if body is None else sql[rest[body].end :]
    if kind == "CREATE_PROCEDURE":
        return KnownRoutine("PROCEDURE", tuple(arguments))
    inner = Catalog(
        project=catalog.project,
        variables={name: SqlType.parse(text) for name, text in arguments if text},
    )
    names = {"CREATE_TABLE_FUNCTION": "TABLE_VALUED_FUNCTION", "CREATE_FUNCTION": "SCALAR_FUNCTION"}
    routine = KnownRoutine(names.get(kind, "AGGREGATE_FUNCTION"), tuple(arguments), result)
    if kind == "CREATE_TABLE_FUNCTION":
        return replace(
            routine, result="", columns=_result_columns(result, text, inner, catalog, engine)
        )
    if not result and text:
        routine = replace(routine, result=_type_of(text, inner, catalog, engine))
    return routine if routine.result else None


def _closing(tokens: Sequence[Token], opening: int) -> int:
    depth = 0
    for position in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[position].text, 0)
        if depth == 0:
            return position
    return len(tokens)


def _returns(sql: str, rest: Sequence[Token]) -> str:
    """The type behind RETURNS; empty = there is none."""
    if not rest or rest[0].word != "RETURNS":
        return ""
    depth, end = 0, len(rest)
    for number, token in enumerate(rest[1:], 1):
        depth += {"<": 1, ">": -1, "(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.word in _HEAD_WORDS:
            end = number
            break
    return sql[rest[1].start : rest[end - 1].end] if end > 1 else ""


def _type_of(body: str, inner: Catalog, catalog: Catalog, engine: googlesql.Engine) -> str:
    inner.find_table = catalog.find_table  # type: ignore[method-assign]
    inner.find_function = catalog.find_function  # type: ignore[method-assign]
    try:
        return engine.analyze(f"SELECT ({body}\n)", inner, None).columns[0][1].text
    except googlesql.GoogleSqlError:
        return ""


def _result_columns(
    result: str, body: str, inner: Catalog, catalog: Catalog, engine: googlesql.Engine
) -> Columns:
    inner.find_table = catalog.find_table  # type: ignore[method-assign]
    inner.find_function = catalog.find_function  # type: ignore[method-assign]
    if result.upper().startswith("TABLE"):
        kind = SqlType.parse(f"STRUCT{result[len('TABLE') :]}")
        return tuple(KnownColumn(name, each.text) for name, each in kind.fields)
    try:
        columns = engine.analyze(body.strip().strip("()"), inner, None).columns
    except googlesql.GoogleSqlError:
        return ()
    return tuple(KnownColumn(name, each.text) for name, each in columns)
