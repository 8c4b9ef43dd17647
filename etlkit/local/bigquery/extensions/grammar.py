"""Statements that sqlglot's BigQuery dialect does not parse, added to it.

They are `WITH CONNECTION` on tables, `DROP EXTERNAL TABLE` and `ML.ANNOTATE_IMAGE(MODEL …)`. sqlglot 30
fails on them or returns an unparsed `Command`. The dialect itself is extended, only in the server
process, so that every part of the emulator that parses SQL knows them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.tokens import TokenType

from etlkit.local.bigquery.patches.parses import shared
from etlkit.local.bigquery.patches.table import PATCHES

EXTERNAL_TABLE: Final = "EXTERNAL TABLE"

Option = str | bool | int | float | list[Any] | tuple[Any, ...] | exp.Expr | None
"""The value of an entry of OPTIONS(…). An interval stays a tree."""

_Parser: Any = BigQuery.Parser


class Connection(exp.Property):
    """`WITH CONNECTION name`. The name is an `exp.Table`, or the variable DEFAULT."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True}


class AnnotateImage(exp.Expression, exp.Func):
    """`ML.ANNOTATE_IMAGE(MODEL this, TABLE expression | (subquery), params_struct)`."""

    arg_types: ClassVar[dict[str, bool]] = {
        "this": True,
        "expression": True,
        "params_struct": False,
    }


def parse(sql: str) -> Any:
    """The tree of a single statement; None = there is not exactly one, or sqlglot cannot parse it."""
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="bigquery") if tree is not None]
    except sqlglot.errors.SqlglotError:
        return None
    return trees[0] if len(trees) == 1 else None


def look(sql: str) -> Any:
    """As `parse`, without a copy: for those who only look at the tree, because others have it, too."""
    try:
        trees = [tree for tree in shared(BigQuery, sql) if tree is not None]
    except sqlglot.errors.SqlglotError:
        return None
    return trees[0] if len(trees) == 1 else None


def options(tree: exp.Expr) -> dict[str, Option]:
    """The OPTIONS of a statement by lower-case name.

    Raises:
        InvalidQueryError: A value is not a literal, or an option is given twice.
    """
    found: dict[str, Option] = {}
    properties = tree.args.get("properties")
    for entry in properties.expressions if properties is not None else ():
        if isinstance(entry, exp.FileFormatProperty):
            name, value = "format", entry.this
        elif type(entry) is exp.Property:
            name, value = entry.name.lower(), entry.args["value"]
        else:
            continue
        if name in found:
            raise InvalidQueryError(f"Duplicate option specified for '{name}'", location="query")
        found[name] = _literal(value, name)
    return found


def _literal(value: Any, name: str) -> Option:
    if isinstance(value, exp.Literal):
        return str(value.this) if value.is_string else _number(value)
    if isinstance(value, exp.Boolean | exp.Null):
        return value.this if value.args else None
    if isinstance(value, exp.Array | exp.Tuple):
        items = [_literal(item, name) for item in value.expressions]
        return items if isinstance(value, exp.Array) else tuple(items)
    if isinstance(value, exp.Interval | exp.MakeInterval):
        return value
    if isinstance(value, exp.Neg) and isinstance(value.this, exp.Literal):
        return -_number(value.this)
    raise InvalidQueryError(
        f"The value of option '{name}' must be a literal, not {value.sql(dialect='bigquery')}",
        location="query",
    )


def _number(value: exp.Literal) -> int | float:
    text = str(value.this)
    return int(text) if text.isdigit() else float(text)


def connection(tree: exp.Expr) -> str | None:
    """The connection that a statement names, such as `us.photos` or DEFAULT; None = it names none."""
    properties = tree.args.get("properties")
    for entry in properties.expressions if properties is not None else ():
        if isinstance(entry, Connection | exp.RemoteWithConnectionModelProperty):
            target = entry.this
            parts = target.parts if isinstance(target, exp.Table) else [target]
            text = ".".join(part.name for part in parts)
            return "DEFAULT" if text.upper() == "DEFAULT" else text
    return None


def name_of(table: exp.Expr, project: str) -> tuple[str, str, str]:
    """Project, dataset and name of the table that a node names.

    Raises:
        InvalidQueryError: The name has no dataset.
    """
    parts = ".".join(part.name for part in table.parts) if isinstance(table, exp.Table) else ""
    split = parts.rsplit(".", 2)
    if len(split) == 1 or not all(split):
        raise InvalidQueryError(
            f'Table "{parts}" must be qualified with a dataset (e.g. dataset.table).',
            location="query",
        )
    return (split[0], split[1], split[2]) if len(split) == 3 else (project, split[0], split[1])


def _parse_with(parser: Any) -> Any:
    if not parser._match_text_seq("CONNECTION"):  # noqa: SLF001
        return parser._parse_with_property()  # noqa: SLF001
    return parser.expression(Connection(this=_parse_connection_name(parser)))


def _parse_remote(parser: Any) -> Any:
    parser._match_text_seq("WITH", "CONNECTION")  # noqa: SLF001
    name = _parse_connection_name(parser)
    return parser.expression(exp.RemoteWithConnectionModelProperty(this=name))


def _parse_connection_name(parser: Any) -> Any:
    if parser._match(TokenType.DEFAULT):  # noqa: SLF001
        return exp.var("DEFAULT")
    return parser._parse_table_parts()  # noqa: SLF001


def _parse_drop(parser: Any, exists: bool = False) -> Any:
    if not parser._match_text_seq("EXTERNAL"):  # noqa: SLF001
        return _plain_parse_drop(parser, exists)
    tree = _plain_parse_drop(parser, exists)
    if isinstance(tree, exp.Drop) and tree.kind == "TABLE":
        tree.set("kind", EXTERNAL_TABLE)
    return tree


_plain_parse_drop = _Parser._parse_drop  # noqa: SLF001


def apply() -> None:
    """Extend the dialect."""
    PATCHES.replace("sqlglot.dialects.bigquery:BigQuery.Parser.PROPERTY_PARSERS[WITH]", _parse_with)
    PATCHES.replace(
        "sqlglot.dialects.bigquery:BigQuery.Parser._parse_remote_with_connection", _parse_remote
    )
    PATCHES.replace("sqlglot.dialects.bigquery:BigQuery.Parser._parse_drop", _parse_drop)
    PATCHES.replace(
        "sqlglot.dialects.bigquery:BigQuery.Parser.FUNCTION_PARSERS[ANNOTATE_IMAGE]",
        lambda parser: parser._parse_ml(AnnotateImage),  # noqa: SLF001
    )
    PATCHES.replace(
        "sqlglot.dialects.bigquery:BigQuery.Generator.TRANSFORMS[Connection]",
        lambda writer, node: f"WITH CONNECTION {writer.sql(node, 'this')}",
        key=Connection,
    )
    PATCHES.replace(
        "sqlglot.dialects.bigquery:BigQuery.Generator.TRANSFORMS[AnnotateImage]",
        lambda writer, node: writer._ml_sql(node, "ANNOTATE_IMAGE"),  # noqa: SLF001
        key=AnnotateImage,
    )
    PATCHES.replace(
        "sqlglot.dialects.bigquery:BigQuery.Generator.PROPERTIES_LOCATION[Connection]",
        exp.Properties.Location.POST_SCHEMA,
        key=Connection,
    )
    # sqlglot keeps its own table of these from the first statement that it writes.
    PATCHES.forget("sqlglot.generator:_DISPATCH_CACHE", BigQuery.Generator)
