"""GoogleSQL that the emulator does not translate, rewritten into GoogleSQL that it does.

Each module is about one construct: its docstring says what BigQuery does, what the emulator did, and
what still differs. A rewrite changes the tree of a statement. All run before the emulator's own, for
single statements and for those of scripts. `apply` also teaches sqlglot what it does not parse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import sqlglot
from sqlglot import exp

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.rewrites import (
    collation,
    column_types,
    current_time,
    default_dataset,
    information_schema,
    json_subscripts,
    merges,
    pipes,
    quoted_parameters,
    statement_forms,
    struct_arrays,
    system_variables,
    table_constraints,
    table_lists,
    table_rows,
    unnest,
    unreserved_words,
    updates,
    wildcards,
)
from etlkit.local.bigquery.rewrites.names import Names
from etlkit.local.bigquery.statement_memo import StatementMemo, Template

Rewrite = Callable[[exp.Expr, Names], bool]

REWRITES: Final[list[Rewrite]] = [
    system_variables.rewrite,
    quoted_parameters.rewrite,
    statement_forms.rewrite,
    merges.rewrite,
    updates.rewrite,
    table_constraints.rewrite,
    collation.rewrite,
    wildcards.rewrite,
    table_lists.rewrite,
    table_rows.rewrite,
    struct_arrays.rewrite,
    json_subscripts.rewrite,
]
"""Each changes the tree of a statement and returns whether it did."""

_unchanged: Final = StatementMemo()
"""Statements that nothing has to be changed of, which their text says. Where there is a subscript, the
types of columns decide it, too."""


def rewrite(sql: str, project: str, catalog: Any) -> str:
    """A statement without what the emulator does not know."""
    sql = information_schema.in_one_name(sql)
    template = Template(sql)
    if _unchanged.find(template) is not None:
        return sql
    try:
        tree = sqlglot.parse_one(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return sql  # the translator reports the error
    names = Names(project, catalog)
    changed = [each(tree, names) for each in REWRITES]
    if any(changed):
        return tree.sql(dialect="bigquery")
    if tree.find(exp.Bracket, exp.Update) is None and not table_rows.depends_on_tables(tree):
        _unchanged.keep(template, "")
    return sql


def expanded(sql: str, project: str, catalog: Any) -> str:
    """A statement that is rewritten, with INFORMATION_SCHEMA views as queries."""
    return information_schema.expand(rewrite(sql, project, catalog), project, catalog)


def apply() -> None:
    """Rewrite each statement before the emulator does."""
    unreserved_words.apply()
    unnest.apply()
    pipes.apply()
    column_types.apply()
    current_time.apply()
    default_dataset.apply()
    quoted_parameters.apply()
    PATCHES.replace("bqemulator.sql.inner_query:expand_information_schema", expanded)
    PATCHES.replace("bqemulator.sql.inner_query:expand_wildcard_tables", lambda sql, *_: sql)
