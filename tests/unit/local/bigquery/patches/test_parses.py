from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from etlkit.local.bigquery.patches import parses

ROOT = Path(__file__).parents[5]
STATEMENTS = [
    *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "jobs" / "sql").glob("*.sql"))),
    "SELECT a.b[OFFSET(0)] AS c /* why */, * EXCEPT (d) FROM `p.d.t` AS a, UNNEST(a.e) WHERE f = r'x'",
    "MERGE d.t USING d.s ON t.k = s.k WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT ROW",
    "CREATE TABLE d.t (a ARRAY<STRUCT<b STRING(3), c NUMERIC(5, 2)>> NOT NULL) PARTITION BY DATE(x)",
    "WITH q AS (SELECT 1 AS n UNION ALL SELECT 2) SELECT SUM(n) OVER (ORDER BY n DESC) FROM q LIMIT 3",
]


def links(tree):
    """What each node says about its place in the tree, its position and its comments."""
    return [(repr(n), n.arg_key, n.index, n.comments, n._meta, n._type) for n in tree.walk()]


def places(tree):
    """The same without positions in lists: sqlglot's copy counts anew where its parser was wrong."""
    return [(*each[:2], *each[3:]) for each in links(tree)]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_copy_is_what_sqlglot_would_copy(sql):
    """Every node with its place, position and comments; a change of it changes no other copy."""
    trees = [tree for tree in sqlglot.parse(sql, read="bigquery") if tree is not None]
    assert trees
    for tree in trees:
        before = links(tree)
        copy = parses.copied(tree)
        assert links(copy) == before
        assert places(copy) == places(tree.copy())
        assert repr(copy) == repr(tree)
        assert all(
            node.parent is None or node in node.parent.iter_expressions() for node in copy.walk()
        )
        assert not {id(node) for node in copy.walk()} & {id(node) for node in tree.walk()}
        for node in [*copy.find_all(exp.Identifier)]:
            node.meta["changed"] = True
            node.add_comments(["changed"])
            node.replace(exp.to_identifier("changed"))
        assert links(tree) == before
