"""`UNNEST(…) WITH OFFSET`, and UNNEST without an alias.

Real BigQuery: the offset counts from 0, and its column is called `offset` or as its alias says. The
fields of structs are columns if the array has no alias. The emulator: it subtracted 1 wherever the
query named the offset, so `*` counted from 1, a selected offset was called `(i - 1)`, and offsets of
arrays of structs, or of `FROM t, t.numbers WITH OFFSET`, were syntax errors.

What remains: `*` shows an array of structs that has an alias and is no literal as one column.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.tokens import TokenType

from etlkit.local.bigquery.patches.table import PATCHES

_FROM_ZERO: Final = "counts_from_zero"
_Parser: Any = BigQuery.Parser
_Generator: Any = DuckDB.Generator


def _parse_unnest(parser: Any, with_alias: bool = True) -> Any:
    """Mark a relation that BigQuery's dialect parses: DuckDB's own counts from 1."""
    unnest = _plain_parse(parser, with_alias)
    if isinstance(unnest, exp.Unnest) and with_alias:
        unnest.args[_FROM_ZERO] = True
    return unnest


def _parse_table(parser: Any, *arguments: Any, **options: Any) -> Any:
    """Read an array of a table before it, with offsets: `t.numbers AS n WITH OFFSET AS o`."""
    table = _plain_parse_table(parser, *arguments, **options)
    if not isinstance(table, exp.Table) or not parser._match_pair(  # noqa: SLF001
        TokenType.WITH, TokenType.OFFSET
    ):
        return table
    parser._match(TokenType.ALIAS)  # noqa: SLF001
    tokens = parser.UNNEST_OFFSET_ALIAS_TOKENS
    offset = parser._parse_id_var(any_token=False, tokens=tokens)  # noqa: SLF001
    root, *path = [part.copy() for part in table.parts]
    array: Any = exp.Column(this=path[0], table=root) if path else exp.Column(this=root)
    for step in path[1:]:
        array = exp.Dot(this=array, expression=step)
    name = exp.to_identifier(table.alias_or_name)
    unnest = exp.Unnest(
        expressions=[array],
        alias=exp.TableAlias(columns=[name]),
        offset=offset or exp.to_identifier("offset"),
    )
    unnest.args[_FROM_ZERO] = True
    return unnest


def _write_unnest(writer: Any, unnest: exp.Unnest) -> str:
    if not unnest.args.get(_FROM_ZERO):
        return str(_plain_write(writer, unnest))
    offset, alias = unnest.args.get("offset"), unnest.args.get("alias")
    column = alias.columns[0] if alias is not None and alias.columns else None
    if offset:
        return _with_offset(writer, unnest.expressions[0], offset, column)
    if column is None and not unnest.args.get("explode_array"):
        return f"(SELECT UNNEST({writer.sql(unnest.expressions[0])}, max_depth := 2))"
    return str(_plain_write(writer, unnest))


def _with_offset(writer: Any, array: exp.Expr, offset: Any, column: Any) -> str:
    """A relation of the elements and their offsets in DuckDB's SQL."""
    counted = offset if isinstance(offset, exp.Identifier) else exp.to_identifier("offset")
    element = _quoted(writer, "etlkit_element" if column is None else column.name)
    shown = element
    if column is None:
        unnested = f'{element} AS "unnest"'
        shown = f"UNNEST({element})" if _has_structs(array) else unnested
    return (
        f"(SELECT {shown}, etlkit_position - 1 AS {_quoted(writer, counted.name)} "
        f"FROM UNNEST({writer.sql(array)}) "
        f"WITH ORDINALITY AS etlkit_unnest({element}, etlkit_position))"
        # Not the element's own name: `x.*` would be the element and its offset.
        + ("" if column is None else f" AS {_quoted(writer, f'etlkit_of_{column.name}')}")
    )


def _quoted(writer: Any, name: str) -> str:
    return str(writer.sql(exp.to_identifier(name, quoted=True)))


def _has_structs(array: exp.Expr) -> bool:
    """Whether an array's elements are known to be structs."""
    if isinstance(array, exp.Cast):
        elements = array.to.expressions
        return bool(elements) and elements[0].is_type(exp.DType.STRUCT)
    return isinstance(array, exp.Array) and any(
        isinstance(each, exp.Struct) for each in array.expressions
    )


_plain_parse = _Parser._parse_unnest  # noqa: SLF001
_plain_parse_table = _Parser._parse_table  # noqa: SLF001
_plain_write = _Generator.unnest_sql


def apply() -> None:
    """Count from 0 where BigQuery's dialect is written as DuckDB's."""
    PATCHES.replace("sqlglot.dialects.bigquery:BigQuery.Parser._parse_unnest", _parse_unnest)
    PATCHES.replace("sqlglot.dialects.bigquery:BigQuery.Parser._parse_table", _parse_table)
    PATCHES.replace("sqlglot.dialects.duckdb:DuckDB.Generator.unnest_sql", _write_unnest)
    PATCHES.replace("bqemulator.sql.inner_query:rewrite_unnest_offset", lambda sql: sql)
    PATCHES.forget("sqlglot.generator:_DISPATCH_CACHE", DuckDB.Generator)
