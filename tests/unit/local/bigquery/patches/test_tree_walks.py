"""Our walks pass the same nodes as sqlglot's, in the same order, also if they change meanwhile."""

import pytest
import sqlglot
from sqlglot import exp

from etlkit.local.bigquery.patches import tree_walks

STATEMENTS = [
    "SELECT a.b[OFFSET(0)] AS c, * EXCEPT (d) FROM `p.d.t` AS a, UNNEST(a.e) WHERE f IN (1, 2, 3)",
    "MERGE d.t USING d.s ON t.k = s.k WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT ROW",
    "CREATE TABLE d.t (a ARRAY<STRUCT<b STRING(3), c NUMERIC(5, 2)>> NOT NULL) PARTITION BY DATE(x)",
    "WITH q AS (SELECT 1 AS n UNION ALL SELECT 2) SELECT SUM(n) OVER (ORDER BY n DESC) FROM q LIMIT 3",
]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_the_nodes_and_their_order_are_sqlglots(sql):
    tree = sqlglot.parse_one(sql, read="bigquery")
    assert [*map(id, tree_walks._bfs(tree))] == [*map(id, tree.bfs())]
    for bfs in (True, False):
        kinds = (exp.Column, exp.Literal, exp.Identifier)
        ours = tree_walks._find_all(tree, *kinds, bfs=bfs)
        assert [*map(id, ours)] == [*map(id, tree.find_all(*kinds, bfs=bfs))]

    def is_query(node):
        return isinstance(node, exp.Query | exp.Schema)

    assert [*map(id, tree_walks._bfs(tree, is_query))] == [*map(id, tree.bfs(prune=is_query))]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_what_a_walk_replaces_is_walked_as_in_sqlglot(sql):
    passed = []
    for walk in (lambda tree: tree.bfs(), tree_walks._bfs):
        tree, found = sqlglot.parse_one(sql, read="bigquery"), []
        for node in walk(tree):
            found.append(type(node))
            if isinstance(node, exp.Literal) and node.parent is not None:
                node.replace(exp.Paren(this=exp.column("inside")))
            elif isinstance(node, exp.Table):
                node.set("alias", exp.TableAlias(this=exp.to_identifier("other")))
        passed.append((found, tree.sql()))
    assert passed[0] == passed[1]
