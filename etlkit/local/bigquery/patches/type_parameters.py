"""The parameters of column types: STRING(n), BYTES(n), NUMERIC(p, s).

Real BigQuery: `tables.get` shows `maxLength`, `precision` and `scale`, from DDL and REST alike. The
emulator: its catalog has room for them, but nothing put them there, showed them, or gave a NUMERIC
column from REST its digits; and BYTES(n) was an error of DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import bqemulator.api.routes.tables as routes
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from etlkit.local.bigquery.patches.table import PATCHES

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableFieldSchema

_KEYS: Final = {"max_length": "maxLength", "precision": "precision", "scale": "scale"}
"""Names in the catalog, and in the REST API, where numbers are strings."""

_TEXTS: Final = (exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.BINARY, exp.DType.VARBINARY)


def declared(
    fields: Sequence[TableFieldSchema], columns: Iterable[exp.Expr]
) -> tuple[TableFieldSchema, ...]:
    """The fields with the parameters of the types that a statement declares.

    Args:
        fields: Of the table.
        columns: Definitions of columns in the statement.
    """
    kinds = {column.name.casefold(): _kind(column) for column in columns}
    return tuple(_with_kind(field, kinds.get(field.name.casefold())) for field in fields)


def kept(
    fields: Sequence[TableFieldSchema], known: Sequence[TableFieldSchema]
) -> tuple[TableFieldSchema, ...]:
    """The fields with the parameters that fields of the same names and types had before."""
    by_name = {field.name.casefold(): field for field in known}
    result = []
    for field in fields:
        before = by_name.get(field.name.casefold())
        if before is not None and before.type == field.type:
            updates: dict[str, Any] = {name: getattr(before, name) for name in _KEYS}
            updates["fields"] = kept(field.fields, before.fields)
            field = field.model_copy(update=updates)  # noqa: PLW2901
        result.append(field)
    return tuple(result)


def _kind(column: exp.Expr) -> Any:
    return column.args.get("kind") or column.args.get("dtype")


def _with_kind(field: TableFieldSchema, kind: Any) -> TableFieldSchema:
    if not isinstance(kind, exp.DataType):
        return field
    if kind.this is exp.DType.ARRAY:
        return _with_kind(field, kind.expressions[0] if kind.expressions else None)
    if field.fields:
        children = [each for each in kind.expressions if isinstance(each, exp.ColumnDef)]
        return field.model_copy(update={"fields": declared(field.fields, children)})
    numbers = [int(each.name) for each in kind.expressions if isinstance(each, exp.DataTypeParam)]
    names = ("max_length",) if kind.this in _TEXTS else ("precision", "scale")
    empty = dict.fromkeys(_KEYS)
    return field.model_copy(update=empty | dict(zip(names, numbers, strict=False)))


def _to_rest(field: TableFieldSchema) -> dict[str, Any]:
    shown: dict[str, Any] = _plain_to_rest(field)
    if field.fields:
        shown["fields"] = [_to_rest(child) for child in field.fields]
    numbers = {key: getattr(field, name) for name, key in _KEYS.items()}
    return shown | {key: str(number) for key, number in numbers.items() if number is not None}


def _parse_fields(raw: list[dict[str, Any]]) -> tuple[TableFieldSchema, ...]:
    fields = []
    for field, sent in zip(_plain_parse(raw), raw, strict=True):
        updates: dict[str, Any] = {
            name: int(sent[key]) for name, key in _KEYS.items() if sent.get(key) is not None
        }
        if sent.get("defaultValueExpression"):
            updates["default_value_expression"] = sent["defaultValueExpression"]
        if sent.get("fields"):
            updates["fields"] = _parse_fields(sent["fields"])
        fields.append(field.model_copy(update=updates))
    return tuple(fields)


_plain_to_rest = routes._field_to_rest  # noqa: SLF001
_plain_parse = routes._parse_schema_fields  # noqa: SLF001


def _duckdb_type(generator: Any, kind: exp.DataType) -> str:
    """A type in DuckDB's SQL, whose BLOB has no length."""
    if kind.this in _TEXTS[2:] and kind.expressions:
        kind = exp.DataType(this=kind.this)
    return _plain_duckdb_type(generator, kind)


_plain_duckdb_type = DuckDB.Generator.datatype_sql


def apply() -> None:
    """Keep and show the parameters."""
    PATCHES.replace("sqlglot.dialects.duckdb:DuckDB.Generator.datatype_sql", _duckdb_type)
    # sqlglot keeps its own table of these from the first statement that it writes.
    PATCHES.forget("sqlglot.generator:_DISPATCH_CACHE", DuckDB.Generator)
    PATCHES.replace("bqemulator.api.routes.tables:_field_to_rest", _to_rest)
    PATCHES.replace("bqemulator.api.routes.tables:_parse_schema_fields", _parse_fields)
