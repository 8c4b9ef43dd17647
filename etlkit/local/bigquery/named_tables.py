"""The tables that a statement names, found by parsing it once."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

import sqlglot
from sqlglot import exp

from etlkit.local.bigquery.statement_memo import StatementMemo, Template

_known: Final = StatementMemo()


class NamedTable(NamedTuple):
    """A table, or a function in the place of one, as sqlglot has parsed its name.

    Attributes:
        catalog: The project; "" = none is named.
        db: The dataset; "" = none is named.
        name: The table.
        full: All parts, with dots; "" = it is no plain name.
    """

    catalog: str
    db: str
    name: str
    full: str


def named_tables(sql: str) -> tuple[NamedTable, ...] | None:
    """The tables of a statement, in order and once; None = sqlglot cannot parse it."""
    template = Template(sql)
    known = _known.find(template)
    if known is None:
        try:
            tree = sqlglot.parse_one(sql, read="bigquery")
        except sqlglot.errors.SqlglotError:
            return None
        found = dict.fromkeys(map(_named, tree.find_all(exp.Table)))
        known = json.dumps([*found])
        _known.keep(template, known)
    return tuple(NamedTable(*each) for each in json.loads(known))


def _named(table: exp.Table) -> NamedTable:
    is_plain = isinstance(table.this, exp.Identifier)
    full = ".".join(part.name for part in table.parts) if is_plain else ""
    return NamedTable(table.catalog, table.db, table.name, full)
