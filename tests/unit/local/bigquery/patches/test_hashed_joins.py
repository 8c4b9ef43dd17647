import duckdb
import pytest
import sqlglot

from etlkit.local.bigquery.patches.hashed_joins import hashable

NULL_SAFE = "(T.k = S.k OR (T.k IS NULL AND S.k IS NULL))"
FORMS = (
    NULL_SAFE,
    "T.k IS NOT DISTINCT FROM S.k",
    "((S.k IS NULL) AND T.k IS NULL) OR T.k = S.k",
    f"{NULL_SAFE} AND (T.v = S.v OR (T.v IS NULL AND S.v IS NULL))",
)
MERGE = """
MERGE INTO t AS T USING (SELECT * FROM s) AS S ON {on}
WHEN MATCHED THEN UPDATE SET n = S.n
WHEN NOT MATCHED THEN INSERT (k, v, n) VALUES (S.k, S.v, S.n)
"""


@pytest.fixture
def connection():
    with duckdb.connect() as connection:
        for name, first in (("t", 0), ("s", 2)):
            connection.execute(
                f"CREATE TABLE {name} AS SELECT nullif(k, 4) AS k, 1 AS v, '{name}' AS n "
                f"FROM range({first}, {first + 5}) AS r(k)"
            )
        yield connection


def in_duckdb(sql: str) -> str:
    return sqlglot.transpile(hashable(sql), read="bigquery", write="duckdb")[0]


def plan(connection, sql: str) -> str:
    return connection.execute(f"EXPLAIN {in_duckdb(sql)}").fetchall()[0][1]


@pytest.mark.parametrize("on", FORMS)
@pytest.mark.parametrize("sql", [MERGE, "SELECT * FROM t AS T LEFT JOIN s AS S ON {on}"])
def test_a_null_safe_join_is_hashed(connection, sql, on):
    shown = plan(connection, sql.format(on=on))
    assert "HASH_JOIN" in shown
    assert "NL_JOIN" not in shown


PARTITIONS = """
MERGE INTO t AS T USING (SELECT * FROM s) AS S ON {on}
WHEN NOT MATCHED BY SOURCE AND T.v = 1 THEN DELETE
WHEN NOT MATCHED THEN INSERT (`k`, `v`, `n`) VALUES (`k`, `v`, `n`)
"""


@pytest.mark.parametrize("sql", [MERGE, PARTITIONS])
@pytest.mark.parametrize(
    "on",
    [
        f"{NULL_SAFE} AND (T.v IS NULL OR T.v IS NOT NULL)",
        f"{NULL_SAFE} AND T.v > 0",
        "T.k = S.k AND S.v > 0 AND T.n = 't'",
    ],
)
def test_further_conditions_of_a_merge_do_not_keep_it_from_being_hashed(connection, sql, on):
    shown = plan(connection, sql.format(on=on))
    assert "HASH_JOIN" in shown
    assert "NL_JOIN" not in shown


@pytest.mark.parametrize("on", ["FALSE", "(1 = 0)"])
def test_a_merge_that_replaces_partitions_is_hashed(connection, on):
    """dbt's `insert_overwrite`: all rows of the partitions go, and the new ones come."""
    sql = PARTITIONS.format(on=on)
    assert "NL_JOIN" not in plan(connection, sql)
    connection.execute(in_duckdb(sql))
    assert set(connection.execute("SELECT n FROM t").fetchall()) == {("s",)}
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (5,)


def test_a_further_condition_decides_what_matches(connection):
    connection.execute(in_duckdb(MERGE.format(on=f"{NULL_SAFE} AND S.k > 2 AND T.v = 1")))
    rows = connection.execute("SELECT k, n FROM t ORDER BY k, n").fetchall()
    assert rows == [
        (0, "t"), (1, "t"), (2, "s"), (2, "t"), (3, "s"), (5, "s"), (6, "s"), (None, "s"), (None, "t")
    ]  # fmt: skip


@pytest.mark.parametrize("on", FORMS)
def test_null_keys_match_each_other(connection, on):
    connection.execute(in_duckdb(MERGE.format(on=on)))
    rows = connection.execute("SELECT k, n FROM t ORDER BY k").fetchall()
    expected = [(0, "t"), (1, "t"), (2, "s"), (3, "s"), (5, "s"), (6, "s"), (None, "s")]
    assert rows == expected


@pytest.mark.parametrize(
    "on",
    [
        "T.k = S.k OR (T.k IS NULL AND S.v IS NULL)",
        "T.k = S.k OR (T.k IS NULL OR S.k IS NULL)",
        "T.k > S.k OR (T.k IS NULL AND S.k IS NULL)",
        "NOT (T.k = S.k OR (T.k IS NULL AND S.k IS NULL))",
    ],
)
def test_other_conditions_stay(on):
    sql = MERGE.format(on=on)
    assert hashable(sql) == sql
