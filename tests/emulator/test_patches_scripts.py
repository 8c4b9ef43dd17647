import threading

import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter


@pytest.fixture
def table(run, dataset) -> str:
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    return f"{dataset}.t"


def test_committed_transaction_appears_whole(run, table):
    """Real BigQuery: TRUNCATE and INSERT in a transaction replace the rows in one step."""
    run(
        f"BEGIN TRANSACTION; TRUNCATE TABLE {table}; INSERT INTO {table} VALUES (2), (3); "
        f"MERGE {table} AS t USING (SELECT 3 AS n) AS s ON t.n = s.n "
        "WHEN MATCHED THEN UPDATE SET n = 30; COMMIT TRANSACTION"
    )
    assert run(f"SELECT n FROM {table} ORDER BY n") == [(2,), (30,)]


@pytest.mark.parametrize(
    "script",
    [
        "BEGIN TRANSACTION; {write}; SELECT CAST('x' AS INT64); COMMIT TRANSACTION",
        "BEGIN TRANSACTION; {write}; SELECT nope FROM {table}; COMMIT TRANSACTION",
        "BEGIN TRANSACTION; {write}; ASSERT FALSE AS 'no'; COMMIT TRANSACTION",
        "BEGIN TRANSACTION; {write}; RAISE USING MESSAGE = 'no'; COMMIT TRANSACTION",
        "BEGIN TRANSACTION; {write}; CREATE TABLE {table}_2 AS SELECT 1 AS n; COMMIT TRANSACTION",
    ],
)
def test_error_in_a_transaction_undoes_all_of_it(run, table, script):
    """Real BigQuery: an error without a handler rolls back the whole transaction."""
    write = f"DELETE FROM {table} WHERE TRUE; INSERT INTO {table} VALUES (7)"
    with pytest.raises(BadRequest):
        run(script.format(write=write, table=table))
    assert run(f"SELECT n FROM {table}") == [(1,)]


def test_ddl_in_a_transaction_is_refused(run, table):
    """Real BigQuery: no DDL in a transaction, except for temporary objects."""
    with pytest.raises(BadRequest, match="DDL statements are not supported in a transaction"):
        run(f"BEGIN TRANSACTION; DROP TABLE {table}; COMMIT TRANSACTION")
    with pytest.raises(BadRequest, match="DDL statements are not supported in a transaction"):
        run(f"BEGIN TRANSACTION; EXECUTE IMMEDIATE 'DROP TABLE {table}'; COMMIT TRANSACTION")


def test_transaction_left_open_is_rolled_back(run, table):
    """Real BigQuery: "if execution ends before COMMIT, an automatic rollback occurs"."""
    run(f"BEGIN TRANSACTION; INSERT INTO {table} VALUES (2)")
    run("BEGIN TRANSACTION")
    assert run(f"SELECT n FROM {table}") == [(1,)]


def test_handler_may_roll_back_after_an_error(run, table):
    """Real BigQuery: an EXCEPTION handler rolls back and knows the message."""
    rows = run(
        f"BEGIN BEGIN TRANSACTION; INSERT INTO {table} VALUES (2); SELECT CAST('x' AS INT64); "
        "COMMIT TRANSACTION; EXCEPTION WHEN ERROR THEN ROLLBACK TRANSACTION; "
        "SELECT @@error.message AS message; END"
    )
    assert "Bad int64 value: x" in rows[0][0]
    assert run(f"SELECT n FROM {table}") == [(1,)]


def test_lost_transaction_refuses_writes(run, table):
    """The emulator's limit: after a caught error of execution only ROLLBACK can follow."""
    with pytest.raises(BadRequest, match="only ROLLBACK TRANSACTION can follow"):
        run(
            f"BEGIN TRANSACTION; INSERT INTO {table} VALUES (2); "
            "BEGIN SELECT CAST('x' AS INT64); EXCEPTION WHEN ERROR THEN SELECT 1; END; "
            f"INSERT INTO {table} VALUES (3); COMMIT TRANSACTION"
        )
    assert run(f"SELECT n FROM {table}") == [(1,)]


def test_append_does_not_join_a_transaction(append, run, table):
    """Real BigQuery: rows appended while a transaction runs stay when it is rolled back."""
    script = (
        f"BEGIN TRANSACTION; DELETE FROM {table} WHERE FALSE; {'SELECT 1; ' * 200} ASSERT FALSE"
    )
    failed = threading.Thread(target=_fail, args=(run, script))
    failed.start()
    rows = pa.table({"n": pa.array([5], pa.int64())})
    for _ in range(20):
        append(table, rows)
    failed.join(30)
    assert run(f"SELECT COUNT(*) FROM {table}") == [(21,)]


def test_parameters_work_in_scripts(run):
    """Real BigQuery: named and positional parameters are bound in every statement of a script."""
    named = [
        ScalarQueryParameter("x", "INT64", 5),
        ScalarQueryParameter("s", "STRING", None),
        ArrayQueryParameter("a", "STRING", ["p", "q"]),
    ]
    assert run(
        "DECLARE v INT64 DEFAULT @x; SET v = v + @x; SELECT v, @x, @s, ARRAY_LENGTH(@a)",
        query_parameters=named,
    ) == [(10, 5, None, 2)]
    positional = [ScalarQueryParameter(None, "INT64", 1), ScalarQueryParameter(None, "STRING", "?")]
    assert run("SELECT ?; SELECT CONCAT('?', ?)", query_parameters=positional) == [("??",)]


def test_assert_reports_its_description(run):
    """Real BigQuery: `Assertion failed: …`, also outside of scripts; NULL is a failure too."""
    run("ASSERT 1 = 1 AS 'fine'")
    run("ASSERT (SELECT COUNT(*) FROM UNNEST([1, 2])) = 2")
    for script in ("ASSERT 1 = 2 AS 'not equal'", "SELECT 1; ASSERT NULL AS 'not equal'"):
        with pytest.raises(BadRequest, match="Assertion failed: not equal"):
            run(script)


def test_dynamic_ddl_shows_in_the_catalog(bq, run, dataset):
    """Real BigQuery: a table made by EXECUTE IMMEDIATE is a table like any other."""
    run(f"EXECUTE IMMEDIATE 'CREATE TABLE {dataset}.dynamic AS SELECT 1 AS n'")
    assert bq.get_table(f"{dataset}.dynamic").num_rows == 1


def _fail(run, sql: str) -> None:
    with pytest.raises(BadRequest):
        run(sql)
