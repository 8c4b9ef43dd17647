"""Joins that DuckDB hashes, instead of comparing every row with every other one.

Real BigQuery: `a = b OR (a IS NULL AND b IS NULL)` joins as fast as `a = b`, and so does a MERGE with
further conditions, or `ON FALSE`, which replaces partitions. The emulator: DuckDB compared all pairs of
rows in MERGE and in outer joins: over a minute for 200,000 rows.

DuckDB hashes `a IS NOT DISTINCT FROM b`, which means the same in the condition of a join. In a MERGE it
only hashes conditions that name both tables, so the others are made to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import sqlglot
from bqemulator.sql.translator import SQLTranslator
from sqlglot import exp

from etlkit.local.bigquery.patches.table import PATCHES

_MAY_NEED_IT: Final = re.compile(
    r"\bMERGE\b|\bJOIN\b.*\bON\b.*\bIS\s+NULL\b[\s)]*\bAND\b", re.IGNORECASE | re.DOTALL
)


@lru_cache(maxsize=256)
def hashable(sql: str) -> str:
    """The statement with conditions that DuckDB hashes; unchanged if it has no others."""
    if _MAY_NEED_IT.search(sql) is None:
        return sql
    try:
        tree = sqlglot.parse_one(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return sql  # the translator says what is wrong with it
    is_changed = False
    for join in tree.find_all(exp.Join, exp.Merge):
        is_changed |= _compare_null_safely(join)
        if isinstance(join, exp.Merge):
            is_changed |= _name_both_tables(join)
    return tree.sql(dialect="bigquery") if is_changed else sql


def _compare_null_safely(join: exp.Expr) -> bool:
    pairs = [(each, _compared(each)) for each in _conditions(join.args.get("on"))]
    found = [(condition, sides) for condition, sides in pairs if sides is not None]
    for condition, (left, right) in found:
        condition.replace(exp.NullSafeEQ(this=left.copy(), expression=right.copy()))
    return bool(found)


def _name_both_tables(merge: exp.Merge) -> bool:
    target, source = merge.this.alias_or_name, merge.args["using"].alias_or_name
    conditions = [*_conditions(merge.args["on"])]
    if not (target and source):  # a subquery needs no name
        return False
    if len(conditions) == 1 and _is_false(conditions[0]):
        columns = _some_column(merge, target), _some_column(merge, source)
        if None in columns:
            return False
        conditions[0].replace(
            exp.EQ(this=_one(columns[0]), expression=exp.Neg(this=_one(columns[1])))
        )
        return True
    both = {target.casefold(), source.casefold()}
    named = [(each, _tables(each)) for each in conditions]
    compared = next((each for each, tables in named if tables == both), None)
    if compared is None:
        return False
    alone = [(each, tables) for each, tables in named if tables and tables < both]
    for condition, tables in alone:
        other = next(each for each in compared.find_all(exp.Column) if _table(each) not in tables)
        is_one = exp.EQ(this=_one(other), expression=exp.Literal.number(1))
        condition.replace(exp.EQ(this=exp.paren(condition.copy()), expression=exp.paren(is_one)))
    return bool(alone)


def _tables(condition: exp.Expr) -> set[str]:
    """The tables whose columns a condition names; empty = it is not sure, or there are none."""
    columns = [*condition.find_all(exp.Column)]
    if condition.find(exp.Query) is not None or not all(each.table for each in columns):
        return set()
    return {_table(each) for each in columns}


def _table(column: exp.Column) -> str:
    return column.table.casefold()


def _is_false(condition: exp.Expr) -> bool:
    if isinstance(condition, exp.EQ):
        sides = condition.left, condition.right
        return all(isinstance(side, exp.Literal) for side in sides) and sides[0] != sides[1]
    return isinstance(condition, exp.Boolean) and not condition.this


def _some_column(merge: exp.Merge, table: str) -> exp.Column | None:
    """Any column of the target or the source of a MERGE; None = it names none."""
    is_target = table == merge.this.alias_or_name
    whens = merge.args["whens"]
    for column in whens.find_all(exp.Column):
        if _table(column) == table.casefold():
            return exp.column(column.this.copy(), column.args["table"].copy())
    for insert in whens.find_all(exp.Insert):
        part = insert.this if is_target else insert.expression
        for column in part.find_all(exp.Column) if isinstance(part, exp.Tuple) else ():
            if not column.table:
                return exp.column(column.this.copy(), exp.to_identifier(table, quoted=True))
    return None


def _one(column: Any) -> exp.Expr:
    """1, in a form that names a table and that DuckDB does not simplify."""
    one = exp.Literal.number(1)
    is_null = exp.Is(this=column.copy(), expression=exp.Null())
    return exp.paren(exp.case().when(is_null, one).else_(one.copy()))


def _conditions(node: exp.Expr | None) -> Iterator[exp.Expr]:
    """The conditions that all have to hold."""
    if isinstance(node, exp.Paren):
        yield from _conditions(node.this)
    elif isinstance(node, exp.And):
        yield from _conditions(node.left)
        yield from _conditions(node.right)
    elif node is not None:
        yield node


def _compared(node: exp.Expr) -> tuple[exp.Expr, exp.Expr] | None:
    """The two sides of `a = b OR (a IS NULL AND b IS NULL)`; None = it is something else."""
    if not isinstance(node, exp.Or):
        return None
    left, right = node.left.unnest(), node.right.unnest()
    for equal, both in ((left, right), (right, left)):
        if not isinstance(equal, exp.EQ) or not isinstance(both, exp.And):
            continue
        nulls = [_tested(part.unnest()) for part in (both.left, both.right)]
        sides = [equal.left.unnest(), equal.right.unnest()]
        if nulls in (sides, sides[::-1]):
            return sides[0], sides[1]
    return None


def _tested(node: exp.Expr) -> Any:
    """What `x IS NULL` tests; None = it is something else."""
    is_null = isinstance(node, exp.Is) and isinstance(node.expression, exp.Null)
    return node.this.unnest() if is_null else None


def apply() -> None:
    """Rewrite each statement before it is translated."""
    plain = SQLTranslator.translate

    def translate(translator: SQLTranslator, bq_sql: str, **options: Any) -> Any:
        return plain(translator, hashable(bq_sql), **options)

    PATCHES.replace("bqemulator.sql.translator:SQLTranslator.translate", translate)
