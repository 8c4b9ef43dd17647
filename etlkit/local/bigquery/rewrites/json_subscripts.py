"""Subscripts of JSON values: `value[0]`, `value.list[1].name`, `value['key']`.

Real BigQuery: elements of a JSON array count from 0. The emulator: it took every `[…]` for a subscript
of an array, and added 1.

What remains: an index that is not a literal, and a JSON value whose type sqlglot cannot tell.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify

from etlkit.local.bigquery.rewrites.column_types import column_types
from etlkit.local.bigquery.rewrites.names import Names

_NUMBER: Final = "etlkit_number"


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Replace each path into a JSON value that has a subscript by JSON_QUERY."""
    subscripts = [node for node in tree.find_all(exp.Bracket) if not _is_within_path(node)]
    paths = [_whole_path(node) for node in subscripts if node.args.get("offset") is None]
    if not paths:
        return False
    for number, path in enumerate(paths):
        path.meta[_NUMBER] = number
    of_json = _json_roots(tree, names)
    found = [path for number, path in enumerate(paths) if number in of_json]
    for path in found:
        root, steps = _split(path)
        if path is not tree:
            path_query = exp.func("JSON_QUERY", root.copy(), exp.Literal.string(f"${steps}"))
            path.replace(exp.ParseJSON(this=path_query))
    return bool(found)


def _is_within_path(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.Dot | exp.Bracket) and parent.this is node:
        if isinstance(parent, exp.Bracket):
            return True
        node, parent = parent, parent.parent
    return False


def _whole_path(node: exp.Expr) -> exp.Expr:
    """The path that goes on behind a subscript."""
    while isinstance(node.parent, exp.Dot) and node.parent.this is node:
        node = node.parent
    return node


def _json_roots(tree: exp.Expr, names: Names) -> set[int]:
    """The numbers of the paths that begin at a JSON value."""
    copy = tree.copy()
    schema: dict[str, Any] = column_types(
        tree.sql(dialect="bigquery"), project_id=names.project, catalog=names.catalog
    )
    try:
        copy = annotate_types(
            qualify(
                copy,
                schema=schema,
                dialect="bigquery",
                infer_schema=True,
                validate_qualify_columns=False,
                quote_identifiers=False,
            ),
            schema=schema,
            dialect="bigquery",
        )
    except (SqlglotError, AttributeError, ValueError, KeyError):
        return set()
    return {
        node.meta[_NUMBER]
        for node in copy.walk()
        if _NUMBER in node.meta and _root(node).is_type(exp.DType.JSON)
    }


def _root(path: Any) -> exp.Expr:
    while isinstance(path, exp.Dot | exp.Bracket):
        path = path.this
    return path  # type: ignore[no-any-return]


def _split(path: Any) -> tuple[exp.Expr, str]:
    """Where a path begins, and its steps as a JSONPath."""
    steps: list[str] = []
    while isinstance(path, exp.Dot | exp.Bracket):
        if isinstance(path, exp.Dot):
            steps.append(_key(path.expression.name))
        else:
            (index,) = path.expressions
            is_number = isinstance(index, exp.Literal) and not index.is_string
            steps.append(f"[{index.name}]" if is_number else _key(index.name))
        path = path.this
    return path, "".join(reversed(steps))


def _key(name: str) -> str:
    return f'."{name}"'
