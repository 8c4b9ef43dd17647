"""The tables that statements name, once parsed and for the statements of other runs."""

import pytest
import sqlglot
from sqlglot import exp

from etlkit.local.bigquery.named_tables import NamedTable, named_tables

RUNS = [f"20261130_01440{n}507_f90e323{n}" for n in range(4)]
SQL = """
WITH q AS (SELECT * FROM `p.d.a_{run}`)
SELECT * FROM q JOIN d.b USING (x), `d`.c AS e, UNNEST(e.f), ML.PREDICT(MODEL d.m, TABLE d.g)
WHERE EXISTS (SELECT 1 FROM d.INFORMATION_SCHEMA.TABLES) AND h IN (SELECT 1 FROM d.b)
"""


@pytest.mark.parametrize("run", [*RUNS, RUNS[0]])
def test_each_table_is_named_as_in_the_tree(run):
    sql = SQL.format(run=run)
    tree = sqlglot.parse_one(sql, read="bigquery")
    found = named_tables(sql)
    assert NamedTable("p", "d", f"a_{run}", f"p.d.a_{run}") in found
    assert len({*found}) == len(found)
    assert {each.full for each in found if each.full} == {
        ".".join(part.name for part in table.parts)
        for table in tree.find_all(exp.Table)
        if isinstance(table.this, exp.Identifier)
    }
    assert {(t.catalog, t.db, t.name) for t in tree.find_all(exp.Table)} == {
        each[:3] for each in found
    }


def test_a_text_that_is_no_statement():
    assert named_tables("SELECT FROM WHERE (") is None
