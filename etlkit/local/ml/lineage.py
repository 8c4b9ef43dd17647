"""Where the pictures of a sub-query come from, so that they are decoded next to the model.

The column that feeds the model is followed down through plain sub-queries and the tables of WITHs to
the image functions that make it. There the source takes its place; `Chain` says what is left to do.
Where a query does anything else with the column it is left as it is: slower, and the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from etlkit.local.bigquery.extensions import grammar
from etlkit.local.ml.steps import Chain, chain_of

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import Place

_DATA: Final = "data"
_PATH: Final = "_etlkit_path"

# What makes more, fewer or other values of a column than one per row.
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
class Origin:
    """What was found.

    Attributes:
        chain: What is to be done to the source.
        is_path: Whether the source now is the path of a file, in place of its content.
    """

    chain: Chain
    is_path: bool


def pull_out(query: exp.Expr, column: str, place: Place) -> Origin | None:
    """Put the source of the pictures in place of the pictures.

    Args:
        query: A sub-query of our own; it is changed if something is found.
        column: The name of the column with pictures.
        place: Tells object tables.

    Returns:
        None = no image function was found, and nothing has changed.
    """
    select = query.unnest() if isinstance(query, exp.Subquery) else query
    if not isinstance(select, exp.Select) or any(select.args.get(key) for key in _RESHAPING):
        return None
    explicit = [each for each in select.expressions if each.alias_or_name.lower() == column.lower()]
    if len(explicit) > 1 or _is_used(select, column, explicit):
        return None
    if not explicit:
        return _follow_star(select, column, place)
    (projection,) = explicit
    value = projection.unalias()
    if isinstance(value, exp.Column):
        return _follow(select, value.name, value.table, projection, place)
    chain = chain_of(value)
    if chain is None:
        return None
    path = object_path(chain.source, value, place) if chain.decodes else None
    projection.replace(exp.alias_(path or chain.source.copy(), column, quoted=True))
    return Origin(chain, is_path=path is not None)


def object_path(source: exp.Expr, at: exp.Expr, place: Place) -> exp.Column | None:
    """The column with the path of the file whose content a `data` column is.

    Args:
        source: What is decoded.
        at: A node of the query that it stands in.
        place: Tells object tables.

    Returns:
        None = it is not the `data` of an object table.
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
        if isinstance(table, exp.Table) and _is_object_table(table, place):
            return exp.column(_PATH, table=exp.to_identifier(table.alias_or_name, quoted=True))
    return None


def _is_object_table(table: exp.Table, place: Place) -> bool:
    if not isinstance(table.this, exp.Identifier) or _cte(table) is not None:
        return False
    from etlkit.local.bigquery.extensions.object_tables import is_object_table

    try:
        return bool(is_object_table(grammar.name_of(table, place.project), place))
    except InvalidQueryError:  # a name without a dataset
        return False


def _follow_star(select: exp.Select, column: str, place: Place) -> Origin | None:
    stars = [each for each in select.expressions if each.is_star]
    if len(stars) != 1:
        return None
    (star,) = stars
    inner = star if isinstance(star, exp.Star) else star.this
    if any(inner.args.get(key) for key in ("except_", "replace", "rename", "except")):
        return None
    qualifier = star.table if isinstance(star, exp.Column) else ""
    return _follow(select, column, qualifier, None, place)


def _follow(
    select: exp.Select,
    column: str,
    qualifier: str,
    projection: exp.Expr | None,
    place: Place,
) -> Origin | None:
    """Go on in the relation that the column comes from."""
    sources = _sources(select)
    if qualifier:
        sources = [each for each in sources if each.alias_or_name == qualifier]
    if len(sources) != 1 or _is_used(select, column, [projection] if projection else []):
        return None
    (source,) = sources
    if any(source.args.get(key) for key in ("pivots", "sample", "joins")):
        return None
    if isinstance(source, exp.Subquery):
        return pull_out(source.this, column, place)
    table = _cte(source)
    if table is None:
        return None
    # Others may read the same WITH table, so this one gets a copy.
    body = table.this.copy()
    copied = exp.Subquery(
        this=body, alias=exp.TableAlias(this=exp.to_identifier(source.alias_or_name))
    )
    source.replace(copied)
    origin = pull_out(body, column, place)
    if origin is None:
        copied.replace(source)
    return origin


def _sources(select: exp.Select) -> list[Any]:
    start = select.args.get("from_")
    joins = select.args.get("joins") or ()
    return [*([start.this] if start is not None else ()), *(join.this for join in joins)]


def _cte(table: exp.Expr) -> exp.CTE | None:
    """The table of a WITH around it that a name means; None = the name is another's."""
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
    """Whether the query itself reads a column elsewhere than in its own projection."""
    inside = {id(node) for source in _sources(select) for node in source.walk()}
    inside |= {id(node) for projection in allowed for node in projection.walk()}
    with_ = select.args.get("with_")
    inside |= {id(node) for node in with_.walk()} if with_ is not None else set()
    return any(
        each.name.lower() == column.lower()
        for each in select.find_all(exp.Column)
        if id(each) not in inside
    )
