"""Moves the decoding of images out of a sub-query, so that they are decoded next to the model.

An image column is followed down through plain sub-queries and WITH tables to the image functions that
compute it. There the column is replaced by its source, and `DeferredImages` says what is left to do.
A query that uses the column in any other way stays as it is. It is slower and gives the same result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from etlkit.local.bigquery.extensions import grammar
from etlkit.local.ml.image_expressions import ImageExpression, parse_image_expression

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext

_DATA: Final = "data"
_PATH: Final = "_etlkit_path"

# Clauses after which a column does not have exactly one value per source row.
_RESHAPING: Final = (
    "distinct",
    "group",
    "having",
    "windows",
    "qualify",
    "pivots",
    "operation_modifiers",
    "kind",
)


@dataclass(frozen=True)
class DeferredImages:
    """What is left to do with a column that a sub-query no longer decodes.

    Attributes:
        expression: The image functions to apply.
        is_path: True = the column now has paths of files, False = it has the source's own values.
    """

    expression: ImageExpression
    is_path: bool


def defer_decoding(
    query: exp.Expr, column: str, context: StatementContext
) -> DeferredImages | None:
    """Replace a column of decoded images by its source.

    Args:
        query: A sub-query that may be changed.
        column: The name of the image column.
        context: Knows which tables are object tables.

    Returns:
        None = no image function was found, and the query is unchanged.
    """
    select = query.unnest() if isinstance(query, exp.Subquery) else query
    if not isinstance(select, exp.Select) or any(select.args.get(key) for key in _RESHAPING):
        return None
    explicit = [each for each in select.expressions if each.alias_or_name.lower() == column.lower()]
    if len(explicit) > 1 or _is_used(select, column, explicit):
        return None
    if not explicit:
        return _follow_star(select, column, context)
    (projection,) = explicit
    value = projection.unalias()
    if isinstance(value, exp.Column):
        return _follow(select, value.name, value.table, projection, context)
    expression = parse_image_expression(value)
    if expression is None:
        return None
    path = object_path(expression.source, value, context) if expression.decodes else None
    projection.replace(exp.alias_(path or expression.source.copy(), column, quoted=True))
    return DeferredImages(expression, is_path=path is not None)


def object_path(source: exp.Expr, at: exp.Expr, context: StatementContext) -> exp.Column | None:
    """The column that has the paths of the files whose content is in a `data` column.

    Args:
        source: The argument of ML.DECODE_IMAGE.
        at: A node of the query that contains it.
        context: Knows which tables are object tables.

    Returns:
        None = the source is not the `data` column of an object table.
    """
    source = source.unnest()
    if not isinstance(source, exp.Column) or source.name.lower() != _DATA:
        return None
    select = at.find_ancestor(exp.Select)
    for table in _sources(select) if select is not None else ():
        named = [table.alias_or_name, table.sql(dialect="bigquery").replace("`", "")]
        qualifier = ".".join(part.name for part in source.parts[:-1])
        if qualifier and qualifier not in named:
            continue
        if isinstance(table, exp.Table) and _is_object_table(table, context):
            return exp.column(_PATH, table=exp.to_identifier(table.alias_or_name, quoted=True))
    return None


def _is_object_table(table: exp.Table, context: StatementContext) -> bool:
    if not isinstance(table.this, exp.Identifier) or _cte(table) is not None:
        return False
    from etlkit.local.bigquery.extensions.object_tables import is_object_table

    try:
        return bool(is_object_table(grammar.name_of(table, context.project), context))
    except InvalidQueryError:  # a name without a dataset
        return False


def _follow_star(
    select: exp.Select, column: str, context: StatementContext
) -> DeferredImages | None:
    stars = [each for each in select.expressions if each.is_star]
    if len(stars) != 1:
        return None
    (star,) = stars
    inner = star if isinstance(star, exp.Star) else star.this
    if any(inner.args.get(key) for key in ("except_", "replace", "rename", "except")):
        return None
    qualifier = star.table if isinstance(star, exp.Column) else ""
    return _follow(select, column, qualifier, None, context)


def _follow(
    select: exp.Select,
    column: str,
    qualifier: str,
    projection: exp.Expr | None,
    context: StatementContext,
) -> DeferredImages | None:
    """Continue in the relation that the column comes from."""
    sources = _sources(select)
    if qualifier:
        sources = [each for each in sources if each.alias_or_name == qualifier]
    if len(sources) != 1 or _is_used(select, column, [projection] if projection else []):
        return None
    (source,) = sources
    if any(source.args.get(key) for key in ("pivots", "sample", "joins")):
        return None
    if isinstance(source, exp.Subquery):
        return defer_decoding(source.this, column, context)
    table = _cte(source)
    if table is None:
        return None
    # Other parts of the query may read the same WITH table, so change a copy.
    body = table.this.copy()
    copied = exp.Subquery(
        this=body, alias=exp.TableAlias(this=exp.to_identifier(source.alias_or_name))
    )
    source.replace(copied)
    deferred = defer_decoding(body, column, context)
    if deferred is None:
        copied.replace(source)
    return deferred


def _sources(select: exp.Select) -> list[Any]:
    start = select.args.get("from_")
    joins = select.args.get("joins") or ()
    return [*([start.this] if start is not None else ()), *(join.this for join in joins)]


def _cte(table: exp.Expr) -> exp.CTE | None:
    """The table of an enclosing WITH that a name refers to; None = it refers to another table."""
    if not isinstance(table, exp.Table) or table.db or not isinstance(table.this, exp.Identifier):
        return None
    node: Any = table
    while (node := node.parent) is not None:
        with_ = node.args.get("with_")
        if with_ is None or with_.args.get("recursive"):
            continue
        inside = table.find_ancestor(exp.CTE)
        for each in with_.expressions:
            if each is inside:
                break
            if each.alias.casefold() == table.name.casefold():
                return each  # type: ignore[no-any-return]
    return None


def _is_used(select: exp.Select, column: str, allowed: list[exp.Expr]) -> bool:
    """Whether the query reads a column outside the given projections."""
    inside = {id(node) for source in _sources(select) for node in source.walk()}
    inside |= {id(node) for projection in allowed for node in projection.walk()}
    with_ = select.args.get("with_")
    inside |= {id(node) for node in with_.walk()} if with_ is not None else set()
    return any(
        each.name.lower() == column.lower()
        for each in select.find_all(exp.Column)
        if id(each) not in inside
    )
