"""A text that ran before, after what it depends on has changed: it answers as a fresh server would.

Each case runs one text several times on the server that all tests share.
"""

from decimal import Decimal

import pytest
from google.cloud import bigquery

AVERAGE = "SELECT AVG(x) AS a FROM {t}"
ONES_AND_TWO = "UNNEST([1, 1, 2]) AS n"
THIRDS = {"NUMERIC": Decimal("1.333333333"), "FLOAT64": 4 / 3}
"""Their averages."""

RUNS = [f"20261130_01440{n}507_f90e323{n}" for n in range(6)]


@pytest.fixture
def ask(bq):
    """Run a text and give its values and the types of its columns."""

    def ask_server(sql, **options):
        config = bigquery.QueryJobConfig(**options)
        rows = bq.query(sql, job_config=config, retry=None, job_retry=None).result(retry=None)
        return [tuple(row) for row in rows], [field.field_type for field in rows.schema]

    return ask_server


def test_a_table_that_is_made_again_with_other_types(ask, dataset):
    sql = AVERAGE.format(t=f"{dataset}.t")
    for kind in ("NUMERIC", "FLOAT64", "NUMERIC"):
        ask(
            f"CREATE OR REPLACE TABLE {dataset}.t AS SELECT CAST(n AS {kind}) AS x FROM {ONES_AND_TWO}"
        )
        assert ask(sql) == ask(sql) == ([(THIRDS[kind],)], [kind.removesuffix("64")])
    ask(f"ALTER TABLE {dataset}.t ADD COLUMN y ARRAY<STRING>")
    with pytest.raises(Exception, match="Unrecognized name: z"):
        ask(f"SELECT z FROM {dataset}.t")
    ask(f"ALTER TABLE {dataset}.t ADD COLUMN z INT64")
    assert ask(f"SELECT z FROM {dataset}.t LIMIT 1") == ([(None,)], ["INTEGER"])
    ask(f"DROP TABLE {dataset}.t")
    with pytest.raises(Exception, match="Not found"):
        ask(sql)


def test_a_column_that_becomes_json_an_array_and_json_again(ask, dataset):
    sql = f"SELECT c[0] FROM {dataset}.t"
    for kind, value, found in (
        ("JSON", "JSON '[7, 8]'", "JSON"),
        ("ARRAY<INT64>", "[7, 8]", "INTEGER"),
        ("JSON", "JSON '[9]'", "JSON"),
    ):
        ask(f"CREATE OR REPLACE TABLE {dataset}.t (c {kind})")
        ask(f"INSERT INTO {dataset}.t SELECT {value}")
        rows, kinds = ask(sql)
        assert kinds == [found]
        assert rows[0][0] == (9 if value == "JSON '[9]'" else 7)


def test_tables_of_runs_differ_in_more_than_their_ids(ask, dataset):
    """Three runs with columns of one type teach the server their statement; the fourth has another."""
    kinds = ["NUMERIC", "NUMERIC", "NUMERIC", "FLOAT64", "NUMERIC", "FLOAT64"]
    for run, kind in zip(RUNS, kinds, strict=True):
        table = f"{dataset}.out_{run}_1_1"
        ask(f"CREATE TABLE {table} AS SELECT CAST(n AS {kind}) AS x FROM {ONES_AND_TWO}")
        found = ask(AVERAGE.format(t=table))
        assert found == ([(THIRDS[kind],)], [kind.removesuffix("64")])


def test_ids_in_literals_stay_what_they_are(ask):
    tokens = [f"774c72ae3501dc7{n}" for n in range(4)]
    for run, token in zip(RUNS, tokens, strict=False):
        sql = (
            rf"""SELECT '{run}', "{token}", b'\xff{run}', '{run}' < '{RUNS[2]}', LENGTH('{run}')"""
        )
        expected = (run, token, b"\xff" + run.encode(), run < RUNS[2], len(run))
        assert ask(sql)[0] == ask(sql)[0] == [expected]


def test_a_view_that_is_replaced(ask, dataset):
    sql = f"SELECT * FROM {dataset}.v"
    ask(f"CREATE VIEW {dataset}.v AS SELECT 1 AS a")
    assert ask(sql) == ask(sql) == ([(1,)], ["INTEGER"])
    ask(f"CREATE OR REPLACE VIEW {dataset}.v AS SELECT 'x' AS a, 2.5 AS b")
    assert ask(sql) == ([("x", 2.5)], ["STRING", "FLOAT"])
    ask(f"DROP VIEW {dataset}.v")
    ask(f"CREATE TABLE {dataset}.v AS SELECT DATE '2026-01-02' AS d")
    assert ask(sql)[1] == ["DATE"]


def test_row_access_policies_that_come_and_go(ask, dataset):
    ask(f"CREATE TABLE {dataset}.t AS SELECT n FROM UNNEST([1, 2, 3]) AS n")
    sql = f"SELECT COUNT(*) FROM {dataset}.t"
    assert ask(sql)[0] == ask(sql)[0] == [(3,)]
    ask(
        f"CREATE ROW ACCESS POLICY p ON {dataset}.t GRANT TO ('allAuthenticatedUsers') "
        "FILTER USING (n > 1)"
    )
    few = ask(sql)[0]
    assert few == ask(sql)[0]
    assert few[0][0] < 3
    ask(f"DROP ROW ACCESS POLICY p ON {dataset}.t")
    assert ask(sql)[0] == [(3,)]


def test_tables_that_come_to_a_wildcard_and_to_the_list(ask, dataset):
    wildcard = f"SELECT COUNT(*) FROM `{dataset}.e_*`"
    listed = f"SELECT COUNT(*) FROM {dataset}.__TABLES__"
    for number in (1, 2):
        ask(f"CREATE TABLE {dataset}.e_{number} AS SELECT 1 AS n")
        assert ask(wildcard)[0] == ask(listed)[0] == [(number,)]


def test_parameters_of_other_values_and_types(ask):
    sql = "SELECT @p AS p, @p IS NULL AS is_null"
    for kind, value, shown in (
        ("INT64", 1, "INTEGER"),
        ("STRING", "a", "STRING"),
        ("INT64", None, "INTEGER"),
        ("STRING", None, "STRING"),
        ("FLOAT64", 2.5, "FLOAT"),
        ("INT64", 3, "INTEGER"),
    ):
        given = [bigquery.ScalarQueryParameter("p", kind, value)]
        assert ask(sql, query_parameters=given) == ([(value, value is None)], [shown, "BOOLEAN"])


def test_state_of_scripts_and_jobs(ask, dataset):
    """System variables, variables, temporary functions and tables, and transactions."""
    assert ask("SELECT @@current_job_id")[0] != ask("SELECT @@current_job_id")[0]
    for name, value in (("a", 1), ("b", 2)):
        ask(f"CREATE SCHEMA {dataset}_{name}")
        ask(f"CREATE TABLE {dataset}_{name}.t AS SELECT {value} AS n")
    for name, value in (("a", 1), ("b", 2), ("a", 1)):
        assert ask(f"SET @@dataset_id = '{dataset}_{name}'; SELECT n FROM t")[0] == [(value,)]
    for kind, value, shown in (
        ("INT64", "1", 1),
        ("STRING", "'x'", "x"),
        ("FLOAT64", "2.5", 2.5),
    ):
        assert ask(f"DECLARE v {kind}; SET v = {value}; SELECT v")[0] == [(shown,)]
        assert ask(f"CREATE TEMP FUNCTION f() AS ({value}); SELECT f()")[0] == [(shown,)]
        assert ask(f"CREATE TEMP TABLE q AS SELECT {value} AS v; SELECT v FROM q")[0] == [(shown,)]
    add = f"INSERT INTO {dataset}_a.t VALUES (5)"
    count = f"SELECT COUNT(*) FROM {dataset}_a.t"
    for end, after in (("ROLLBACK", 1), ("COMMIT", 2), ("ROLLBACK", 2)):
        script = f"BEGIN TRANSACTION; {add}; {count}; {end} TRANSACTION; {count}"
        assert ask(script)[0] == [(after,)]


def test_time_goes_on(ask):
    first, second = (ask("SELECT CURRENT_TIMESTAMP()")[0][0][0] for _ in range(2))
    assert first < second
    assert ask("SELECT GENERATE_UUID()")[0] != ask("SELECT GENERATE_UUID()")[0]


def test_functions_that_are_replaced(ask, dataset):
    for body, value in (("x + 1", 2), ("x * 10", 10), ("CAST(x AS STRING)", "1")):
        ask(f"CREATE OR REPLACE FUNCTION {dataset}.f(x INT64) AS ({body})")
        for _ in range(2):
            assert ask(f"SELECT {dataset}.f(1)")[0] == [(value,)]
    for value, body in ((1, "SELECT 1 AS a"), ("b", "SELECT 'b' AS a")):
        ask(f"CREATE OR REPLACE TABLE FUNCTION {dataset}.of_rows() AS {body}")
        for _ in range(2):
            assert ask(f"SELECT a FROM {dataset}.of_rows()")[0] == [(value,)]


def test_nulls_of_scripts_have_the_types_of_their_variables_and_parameters(ask, dataset):
    """A value and NULL in turn: they are written into the statement in different ways."""
    kinds = {"INT64": "INTEGER", "STRING": "STRING", "BOOL": "BOOLEAN", "FLOAT64": "FLOAT"}
    kinds |= {kind: kind for kind in ("NUMERIC", "DATE", "TIMESTAMP", "JSON", "BYTES")}
    columns = ", ".join(f"c{n} {kind}" for n, kind in enumerate(kinds))
    variables = "".join(f"DECLARE v{n} {kind}; " for n, kind in enumerate(kinds))
    names = ", ".join(f"v{n}" for n in range(len(kinds)))
    ask(f"CREATE TABLE {dataset}.t ({columns}, p STRING, n INT64)")
    insert = f"INSERT INTO {dataset}.t VALUES ({names}, @p, @n)"
    script = f"{variables}{insert}; SELECT {names}, CONCAT(@p, 'z') AS z, @n + 1 AS m"
    for text, number in ((None, 1), ("x", None), (None, None), ("y", 2)):
        given = [
            bigquery.ScalarQueryParameter("p", "STRING", text),
            bigquery.ScalarQueryParameter("n", "INT64", number),
        ]
        expected = (*[None] * len(kinds), text and f"{text}z", number and number + 1)
        found = ask(script, query_parameters=given)
        assert found == ([expected], [*kinds.values(), "STRING", "INTEGER"])
    assert ask(f"SELECT COUNTIF(p IS NULL), COUNTIF(c7 IS NULL) FROM {dataset}.t")[0] == [(2, 4)]
