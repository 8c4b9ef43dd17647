"""Column lineage, read from the tree of GoogleSQL's own analyzer."""

import pytest

pytest.importorskip("zetasql")

from etlkit.local.bigquery.googlesql import engine
from etlkit.local.bigquery.sql_catalog import Catalog, Table


class Shop(Catalog):
    def find_table(self, path):
        columns = {"id": "INT64", "name": "STRING", "price": "FLOAT64", "tags": "ARRAY<STRING>"}
        return Table.of(".".join(path), columns)


SAME, T, A = "IDENTITY", "TRANSFORMATION", "AGGREGATION"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "SELECT id, UPPER(name) AS big, CONCAT(name, id) AS both FROM d.t",
            {
                "id": [("d.t", "id", SAME)],
                "big": [("d.t", "name", T)],
                "both": [("d.t", "id", T), ("d.t", "name", T)],
            },
        ),
        (
            """WITH w AS (SELECT id, UPPER(name) AS n FROM d.t)
            SELECT w.id AS key, MAX(n) AS most, (SELECT MAX(id) FROM d.u) AS other
            FROM w GROUP BY key""",
            {
                "key": [("d.t", "id", SAME)],
                "most": [("d.t", "name", A)],
                "other": [("d.u", "id", A)],
            },
        ),
        (
            "SELECT id, name FROM d.t UNION ALL SELECT id, LOWER(name) FROM d.u",
            {
                "id": [("d.t", "id", SAME), ("d.u", "id", SAME)],
                "name": [("d.t", "name", SAME), ("d.u", "name", T)],
            },
        ),
        (
            "SELECT t.id, u.price, tag FROM d.t JOIN d.u USING (id), UNNEST(t.tags) AS tag",
            {
                "id": [("d.t", "id", SAME)],
                "price": [("d.u", "price", SAME)],
                "tag": [("d.t", "tags", T)],
            },
        ),
        (
            "SELECT id, SUM(price) OVER (PARTITION BY name) AS s, 1 AS one FROM d.t",
            {"id": [("d.t", "id", SAME)], "s": [("d.t", "price", A)]},
        ),
        (
            "CREATE TABLE d.new AS SELECT id AS key FROM (SELECT * FROM d.t WHERE price > 1)",
            {"key": [("d.t", "id", SAME)]},
        ),
        (
            "INSERT INTO d.u (id, name) SELECT id, TRIM(name) FROM d.t",
            {"id": [("d.t", "id", SAME)], "name": [("d.t", "name", T)]},
        ),
        (
            "INSERT INTO d.u (id, name) VALUES (1, (SELECT MAX(name) FROM d.t)), (2, 'b')",
            {"name": [("d.t", "name", A)]},
        ),
        (
            """UPDATE d.u AS u SET price = u.price + t.price, name = t.name
            FROM d.t AS t WHERE u.id = t.id""",
            {
                "price": [("d.t", "price", T), ("d.u", "price", T)],
                "name": [("d.t", "name", SAME)],
            },
        ),
        (
            """MERGE d.u AS u USING (SELECT id, UPPER(name) AS big, price FROM d.t) AS t
            ON u.id = t.id
            WHEN MATCHED THEN UPDATE SET name = t.big, price = 0
            WHEN NOT MATCHED BY TARGET THEN INSERT (id, name) VALUES (t.id, CONCAT(t.big, t.price))
            WHEN NOT MATCHED BY SOURCE THEN DELETE""",
            {
                "id": [("d.t", "id", SAME)],
                "name": [("d.t", "name", T), ("d.t", "price", T)],
            },
        ),
        (
            "MERGE d.u USING d.t ON FALSE WHEN NOT MATCHED THEN INSERT ROW",
            {name: [("d.t", name, SAME)] for name in ("id", "name", "price", "tags")},
        ),
        ("DELETE FROM d.t WHERE id = 1", {}),
    ],
)
def test_each_column_has_its_sources(sql, expected):
    """As they are, changed, or aggregated, over all that is between."""
    found = engine().column_sources(sql, Shop(), None)
    flat = {
        name: [(each.table, each.column, each.how) for each in sources]
        for name, sources in found.columns.items()
    }
    assert flat == expected
    written = dict.fromkeys(["INSERT", "UPDATE", "MERGE"], "d.u")
    written |= {"CREATE": "d.new", "DELETE": "d.t"}
    assert found.writes == written.get(sql.split()[0], "")
