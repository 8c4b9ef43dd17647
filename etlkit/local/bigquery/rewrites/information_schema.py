"""INFORMATION_SCHEMA views as queries.

Real BigQuery: the parts of their names may be quoted together or one by one, and a literal that has
such a name is a text. The emulator finds the names in the text of a statement: it did not know all
forms, and replaced them within literals too, so that a query kept as a value became another one. Its
columns had no types, and lost their names when another function had the statement written anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import sqlglot
from bqemulator.sql.rewriter import information_schema as views
from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from etlkit.local.bigquery.information_schema import VIEWS
from etlkit.local.bigquery.sql_names import scan

_NAMES: Final = (TokenType.VAR, TokenType.IDENTIFIER)
_SCHEMA: Final = "INFORMATION_SCHEMA"
_EXPANSIONS: Final = (
    views.expand_information_schema_routines,
    views.expand_information_schema_materialized_views,
    views.expand_information_schema_row_access_policies,
    views.expand_information_schema_schemata,
    views.expand_information_schema_tables,
    views.expand_information_schema_columns,
    views.expand_information_schema_table_options,
    views.expand_information_schema_views,
    views.expand_information_schema_partitions,
)


def in_one_name(sql: str) -> str:
    """The text with each name of an INFORMATION_SCHEMA view in one pair of backticks."""
    if _SCHEMA not in sql.upper() or "`" not in sql:
        return sql
    try:
        tokens = sqlglot.tokenize(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return sql
    for path in reversed(_paths(tokens)):
        name = ".".join(token.text for token in path)
        if _SCHEMA in name.upper().split("."):
            sql = f"{sql[: path[0].start]}`{name}`{sql[path[-1].end + 1 :]}"
    return sql


def expand(sql: str, project: str, catalog: Any) -> str:
    """The text with each INFORMATION_SCHEMA view that it names as a query."""
    if _SCHEMA not in sql.upper():
        return sql
    return "".join(
        _query(text, project, catalog) if kind == "path" and _SCHEMA in text.upper() else text
        for kind, text in scan(sql).pieces
    )


def _query(name: str, project: str, catalog: Any) -> str:
    """A view as a query; a name that is none of them as it is."""
    view = name.strip("`").rpartition(".")[2].upper()
    if view == "COLUMN_FIELD_PATHS":
        return _shaped(view, _field_paths(name, project, catalog))
    for expand_one in _EXPANSIONS:
        query = str(expand_one(name, project, catalog))
        if query == name:
            continue
        # It may have such names in its values: a view's text, a routine's.
        if view not in VIEWS:
            return query
        rows = _rows(query)
        return _shaped(view, _with_defaults(rows, catalog) if view == "COLUMNS" else rows)
    return name


_Row = dict[str, str]
"""SQL of the values of a row by the names of their columns."""


def _rows(query: str) -> list[_Row]:
    """The rows of the emulator's query: `SELECT * FROM (VALUES …) AS v(…)`, or one without rows."""
    values: Any = sqlglot.parse_one(query, read="bigquery").find(exp.Values)
    if values is None:
        return []
    alias = values.args.get("alias") or values.parent.args["alias"]
    names = [column.name for column in alias.columns]
    return [
        {
            name: value.sql(dialect="bigquery")
            for name, value in zip(names, row.expressions, strict=True)
        }
        for row in values.expressions
    ]


def _with_defaults(rows: list[_Row], catalog: Any) -> list[_Row]:
    """Rows of COLUMNS with what the emulator leaves out."""
    tables: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        project, dataset, table, column = (
            sqlglot.parse_one(row[name], read="bigquery").name
            for name in ("table_catalog", "table_schema", "table_name", "column_name")
        )
        if (project, dataset, table) not in tables:
            meta = catalog.get_table(project, dataset, table)
            fields = meta.schema_.fields if meta is not None else ()
            tables[project, dataset, table] = {field.name: field for field in fields}
        field = tables[project, dataset, table].get(column)
        row["column_default"] = _text(field.default_value_expression if field else None)
    return rows


def _shaped(view: str, rows: list[_Row]) -> str:
    """A query with all columns of a view, each with its type; what the server does not know is NULL."""
    columns = VIEWS[view]
    known = [name for name in columns if rows and name in rows[0]]
    shown = ", ".join(
        f"TIMESTAMP_MILLIS({name}) AS {name}"
        if name == "snapshot_time_ms" and name in known
        else f"CAST({name if name in known else 'NULL'} AS {kind}) AS {name}"
        for name, kind in columns.items()
    )
    if not rows:
        return f"(SELECT {shown} FROM UNNEST([1]) WHERE FALSE)"
    structs = ", ".join(
        f"STRUCT({', '.join(f'{row[name]} AS {name}' for name in known)})" for row in rows
    )
    return f"(SELECT {shown} FROM UNNEST([{structs}]))"


def _field_paths(name: str, project: str, catalog: Any) -> list[_Row]:
    """One row a column, and one a field of a STRUCT, at any depth."""
    parts = name.replace("`", "").split(".")[:-2]
    if not parts:
        return []
    tables = catalog.list_tables(parts[0] if len(parts) > 1 else project, parts[-1])
    return [
        {
            "table_catalog": _text(table.project_id),
            "table_schema": _text(table.dataset_id),
            "table_name": _text(table.table_id),
            "column_name": _text(path.partition(".")[0]),
            "field_path": _text(path),
            "data_type": _text(views._render_data_type(field)),  # noqa: SLF001
            "description": _text(field.description),
        }
        for table in sorted(tables, key=lambda each: each.table_id)
        for path, field in _fields(table.schema_.fields, "")
    ]


def _fields(fields: Any, before: str) -> Iterator[tuple[str, Any]]:
    for field in fields:
        yield f"{before}{field.name}", field
        yield from _fields(field.fields, f"{before}{field.name}.")


def _text(value: str | None) -> str:
    return str(exp.convert(value).sql(dialect="bigquery"))


def _paths(tokens: list[Token]) -> list[list[Token]]:
    """The parts of each name in a text."""
    paths: list[list[Token]] = []
    goes_on = False
    for token in tokens:
        if token.token_type is TokenType.DOT:
            goes_on = bool(paths)
        elif goes_on:
            paths[-1].append(token)
            goes_on = False
        elif token.token_type in _NAMES:
            paths.append([token])
    return paths
