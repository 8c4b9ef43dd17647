"""`CREATE TABLE t (columns) … AS query`, as dbt sends it for models with a contract."""

from datetime import date

import pytest
from google.api_core.exceptions import BadRequest, Conflict
from google.cloud import bigquery


def test_declared_columns_take_the_rows_of_the_query(bq, run, dataset):
    """Names, types, modes and descriptions are those of the list, in the order of the query."""
    run(f"""
        CREATE OR REPLACE TABLE {dataset}.t (
          n FLOAT64 NOT NULL OPTIONS (description = 'A number'), day DATE
        )
        PARTITION BY day
        OPTIONS (description = 'Declared, AS SELECT')
        AS (WITH q AS (SELECT 1 AS x, DATE '2024-01-02' AS y) SELECT * FROM q)
    """)
    assert run(f"SELECT * FROM {dataset}.t") == [(1.0, date(2024, 1, 2))]
    table = bq.get_table(f"{dataset}.t")
    columns = [(each.name, each.field_type, each.mode, each.description) for each in table.schema]
    assert columns == [("n", "FLOAT", "REQUIRED", "A number"), ("day", "DATE", "NULLABLE", None)]
    assert table.description == "Declared, AS SELECT"
    assert table.time_partitioning.field == "day"


def test_the_job_says_what_it_was(bq, dataset):
    """One statement, with its parameters; an existing table is kept, and said to be."""
    config = bigquery.QueryJobConfig(
        query_parameters=[bigquery.ScalarQueryParameter("n", "INT64", 3)]
    )
    sql = f"CREATE TABLE IF NOT EXISTS {dataset}.t (n NUMERIC) AS SELECT @n"
    seen = []
    for _ in range(2):
        job = bq.query(sql, job_config=config)
        job.result()
        seen.append((job.statement_type, job.ddl_operation_performed))
    assert seen == [("CREATE_TABLE_AS_SELECT", "CREATE"), ("CREATE_TABLE_AS_SELECT", "SKIP")]
    assert [tuple(row) for row in bq.query_and_wait(f"SELECT n FROM {dataset}.t")] == [(3,)]


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("CREATE OR REPLACE TABLE {d}.t (a INT64, b INT64) AS SELECT 1", BadRequest, "number of"),
        ("CREATE OR REPLACE TABLE {d}.t (a INT64) AS SELECT ERROR('no')", BadRequest, "no"),
        ("CREATE OR REPLACE TABLE {d}.t (a INT64) AS SELECT nope", BadRequest, "nope"),
        ("CREATE TABLE {d}.t (a INT64) AS SELECT 1", Conflict, "Already Exists"),
    ],
)
def test_a_failure_changes_nothing(run, dataset, sql, error, message):
    """The table and its rows stay as they were."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 'old' AS s")
    with pytest.raises(error, match=message):
        run(sql.format(d=dataset))
    assert run(f"SELECT * FROM {dataset}.t") == [("old",)]


def test_in_a_script(run, dataset):
    """The statement works there too."""
    rows = run(f"""
        DECLARE top INT64 DEFAULT 2;
        CREATE TABLE {dataset}.t (n INT64) AS SELECT x FROM UNNEST([1, 2, 3]) AS x WHERE x <= top;
        SELECT SUM(n) FROM {dataset}.t;
    """)
    assert rows == [(3,)]


@pytest.mark.parametrize(
    ("argument", "items"),
    [
        ("x IGNORE NULLS ORDER BY x", [1, 2, 2]),
        ("DISTINCT x IGNORE NULLS ORDER BY x", [1, 2]),
        ("x IGNORE NULLS ORDER BY x LIMIT 2", [1, 2]),
        ("DISTINCT x IGNORE NULLS ORDER BY x DESC LIMIT 1", [2]),
    ],
)
def test_nulls_are_left_out_of_an_array(run, argument, items):
    """Before repeats are, and before the limit counts."""
    rows = run(f"SELECT ARRAY_AGG({argument}) FROM UNNEST([2, NULL, 1, 2]) AS x")
    assert rows == [(items,)]


def test_a_syntax_error_is_plain_text(run):
    """It has no codes for a terminal."""
    with pytest.raises(BadRequest, match="Syntax error") as caught:
        run("SELECT NOT DISTINCT 1")
    assert "\x1b" not in str(caught.value)
