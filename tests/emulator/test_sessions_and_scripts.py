import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from google.cloud import bigquery


@pytest.fixture
def table(run, dataset) -> str:
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    return f"{dataset}.t"


@pytest.fixture
def session(bq):
    """Begin a session, and give what runs SQL in it."""
    first = bq.query("SELECT 1", job_config=bigquery.QueryJobConfig(create_session=True))
    first.result()

    def run_in_session(sql: str, **options) -> tuple[list[tuple], bigquery.QueryJob]:
        key = bigquery.ConnectionProperty("session_id", first.session_info.session_id)
        config = bigquery.QueryJobConfig(connection_properties=[key], **options)
        job = bq.query(sql, job_config=config, retry=None, job_retry=None)
        rows = [tuple(row) for row in job.result(retry=None, job_retry=None)]
        assert job.session_info.session_id == first.session_info.session_id
        return rows, job

    run_in_session.session_id = first.session_info.session_id
    return run_in_session


def test_temporary_tables_end_with_their_script(run, dataset):
    """Real BigQuery: a script can run again, and nobody else sees its temporary tables."""
    script = (
        "CREATE TEMP TABLE etlkit_tt AS SELECT 2 AS n; UPDATE etlkit_tt SET n = 3 WHERE TRUE; "
        "SELECT n FROM _SESSION.etlkit_tt"
    )
    assert run(script) == [(3,)]
    assert run(script) == [(3,)]
    with pytest.raises(NotFound, match="etlkit_tt"):
        run("SELECT * FROM etlkit_tt")
    with pytest.raises(BadRequest):
        run("CREATE TEMP TABLE etlkit_tt AS SELECT 1 AS n; SELECT CAST('x' AS INT64)")
    with pytest.raises(NotFound, match="etlkit_tt"):
        run("SELECT * FROM etlkit_tt")
    with pytest.raises(BadRequest, match="requires a script or session"):
        run("CREATE TEMP TABLE etlkit_tt AS SELECT 1 AS n")
    run(f"CREATE TABLE {dataset}.etlkit_tt AS SELECT 1 AS n")
    assert run(script, default_dataset=f"local.{dataset}") == [(3,)]
    assert run("SELECT n FROM etlkit_tt", default_dataset=f"local.{dataset}") == [(1,)]


def test_session_keeps_tables_variables_and_functions(run, session):
    """Real BigQuery: jobs of a session share what is temporary; others do not see it."""
    session("CREATE TEMP TABLE etlkit_st AS SELECT 5 AS n")
    session("CREATE TEMP FUNCTION ten_times(x INT64) AS (x * 10)")
    session("DECLARE factor INT64 DEFAULT 7; SET factor = 8")
    sql = "SELECT ten_times(n) + factor + @more FROM etlkit_st"
    for more in (1, 2):
        given = bigquery.ScalarQueryParameter("more", "INT64", more)
        rows, job = session(sql, query_parameters=[given])
        assert rows == [(58 + more,)]
        assert (job.statement_type, job.num_child_jobs) == ("SELECT", 0)
    assert session("SELECT @@session_id")[0] == [(session.session_id,)]
    assert run("SELECT @@session_id") == [(None,)]
    with pytest.raises(NotFound):
        run("SELECT n FROM etlkit_st")
    session("CALL BQ.ABORT_SESSION()")
    with pytest.raises(BadRequest, match="session"):
        session("SELECT 1")


def test_transaction_of_a_session_stays_open(run, session, table):
    """Real BigQuery: others see the changes after COMMIT, and conflict with them before it."""
    session("BEGIN TRANSACTION")
    _, insert = session(f"INSERT INTO {table} VALUES (2), (3)")
    assert (insert.statement_type, insert.num_dml_affected_rows) == ("INSERT", 2)
    session(f"UPDATE {table} SET n = 20 WHERE n = 2")
    assert session(f"SELECT n FROM {table} ORDER BY n")[0] == [(1,), (3,), (20,)]
    assert run(f"SELECT n FROM {table}") == [(1,)]
    run(f"INSERT INTO {table} VALUES (9)")
    with pytest.raises(BadRequest, match="Could not serialize access to table"):
        run(f"DELETE FROM {table} WHERE n = 1")
    with pytest.raises(BadRequest, match="Transaction is aborted due to concurrent update"):
        run(f"BEGIN TRANSACTION; DELETE FROM {table} WHERE n = 1; COMMIT TRANSACTION")
    with pytest.raises(BadRequest, match="DDL statements are not supported in a transaction"):
        session(f"DROP TABLE {table}")
    session("COMMIT TRANSACTION")
    assert run(f"SELECT n FROM {table} ORDER BY n") == [(1,), (3,), (9,), (20,)]

    session("BEGIN TRANSACTION")
    session(f"DELETE FROM {table} WHERE TRUE")
    run(f"CREATE TABLE {table}_2 AS SELECT 1 AS n")
    session("ROLLBACK TRANSACTION")
    assert len(run(f"SELECT n FROM {table}")) == 4
    assert run(f"SELECT n FROM {table}_2") == [(1,)]

    session("BEGIN TRANSACTION")
    session(f"DELETE FROM {table} WHERE TRUE")
    run(f"CALL BQ.ABORT_SESSION('{session.session_id}')")
    assert run(f"DELETE FROM {table} WHERE n = 20") == []
    assert run(f"SELECT n FROM {table} ORDER BY n") == [(1,), (3,), (9,)]


def test_session_that_does_not_exist_is_refused(bq):
    """Real BigQuery: a job with an unknown session id does not run."""
    key = bigquery.ConnectionProperty("session_id", "nobody")
    config = bigquery.QueryJobConfig(connection_properties=[key])
    with pytest.raises(GoogleAPICallError, match="session id"):
        bq.query("SELECT 1", job_config=config, retry=None, job_retry=None)


def test_script_has_child_jobs(bq, table):
    """Real BigQuery: each statement and each query in an expression is a job, the last one first."""
    script = (
        f"DECLARE x INT64 DEFAULT (SELECT MAX(n) FROM {table});\n"
        "CREATE TEMP TABLE etlkit_ct AS SELECT x AS n;\n"
        f"INSERT INTO {table} SELECT n FROM etlkit_ct;\nSELECT * FROM etlkit_ct"
    )
    parent = bq.query(script)
    parent.result()
    children = list(bq.list_jobs(parent_job=parent.job_id))
    assert (parent.statement_type, parent.num_child_jobs) == ("SCRIPT", len(children))
    assert [child.statement_type for child in children] == [
        "SELECT",
        "INSERT",
        "CREATE_TABLE_AS_SELECT",
        "SELECT",
    ]
    assert {child.parent_job_id for child in children} == {parent.job_id}
    assert [tuple(row) for row in children[0].result()] == [(1,)]
    assert children[1].num_dml_affected_rows == 1
    (frame,) = children[0].script_statistics.stack_frames
    assert (frame.start_line, frame.start_column, frame.text) == (4, 1, "SELECT * FROM etlkit_ct")
    assert children[3].script_statistics.evaluation_kind == "EXPRESSION"
    listed = {job.job_id for job in bq.list_jobs()}
    assert parent.job_id in listed
    assert not listed & {child.job_id for child in children}
    failed = bq.query("SELECT 1; SELECT nope", retry=None, job_retry=None)
    with pytest.raises(BadRequest):
        failed.result(retry=None, job_retry=None)
    last, first = bq.list_jobs(parent_job=failed.job_id)
    assert last.error_result["reason"] == "invalidQuery"
    assert first.error_result is None
    plain = bq.query("CREATE TEMP FUNCTION f(x INT64) AS (x + 1); SELECT f(2)")
    assert [tuple(row) for row in plain.result()] == [(3,)]
    assert (plain.statement_type, plain.num_child_jobs) == ("SELECT", 0)


def test_system_variables(run, table):
    """Real BigQuery: statements read them, and scripts set some of them."""
    dataset = table.split(".", maxsplit=1)[0]
    assert run("SELECT @@project_id, @@location, @@time_zone") == [("local", "US", "UTC")]
    assert run(f"INSERT INTO {table} VALUES (2), (3); SELECT @@row_count") == [(2,)]
    assert run(f"SET @@dataset_id = '{dataset}'; SELECT COUNT(*) FROM t") == [(3,)]
    with pytest.raises(BadRequest, match="Unrecognized name: @@nope"):
        run("SELECT @@nope")
    with pytest.raises(BadRequest, match="Cannot assign to system variable @@project_id"):
        run("SET @@project_id = 'x'; SELECT 1")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("DECLARE v DEFAULT 1; SET v = v + 1; SELECT v", [(2,)]),
        (
            "DECLARE a, b INT64 DEFAULT 3; DECLARE l, m DEFAULT [1, 2]; SET a = 5; SELECT a, b, m",
            None,
        ),
        (
            "DECLARE s DEFAULT STRUCT(1 AS a, 'x' AS b); SET s = (2, 'y'); SELECT s.a, s.b",
            [(2, "y")],
        ),
        (
            (
                "DECLARE l ARRAY<STRUCT<a INT64, b STRING>> DEFAULT [(1, 'x'), (2, 'y')]; "
                "SELECT b FROM UNNEST(l) ORDER BY a DESC"
            ),
            [("y",), ("x",)],
        ),
        (
            'DECLARE j JSON DEFAULT JSON \'{"a": {"b": [1, 2]}}\'; SELECT JSON_VALUE(j.a.b[1]), j.a',
            [("2", {"b": [1, 2]})],
        ),
        (
            (
                "DECLARE i, n DEFAULT 0; REPEAT SET i = i + 1; IF i = 2 THEN CONTINUE; "
                "END IF; SET n = n + i; UNTIL i >= 4 END REPEAT; SELECT i, n"
            ),
            [(4, 8)],
        ),
        (
            (
                "DECLARE k DEFAULT 'b'; CASE k WHEN 'a' THEN SELECT 1; WHEN 'b' THEN SELECT 2; "
                "ELSE SELECT 3; END CASE"
            ),
            [(2,)],
        ),
        (
            (
                "IF CASE WHEN 1 = 1 THEN TRUE END THEN CASE WHEN 1 > 2 THEN SELECT 1; ELSE SELECT 2; "
                "END CASE; END IF"
            ),
            [(2,)],
        ),
        (
            (
                "DECLARE x INT64; DECLARE y STRING; EXECUTE IMMEDIATE 'SELECT @n + 1, @t' INTO x, y "
                "USING 1 AS n, 't' AS t; SELECT x, y"
            ),
            [(2, "t")],
        ),
        ("EXECUTE IMMEDIATE 'SELECT @l AS l, @d AS d IS NULL' USING [1, 2] AS l", BadRequest),
        (
            (
                "BEGIN SELECT 1/0; EXCEPTION WHEN ERROR THEN SELECT @@error.message, "
                "@@error.statement_text; END"
            ),
            [("division by zero: 1 / 0", "SELECT 1/0")],
        ),
        (
            (
                "BEGIN BEGIN SELECT ERROR('boom'); EXCEPTION WHEN ERROR THEN RAISE; END; "
                "EXCEPTION WHEN ERROR THEN SELECT @@error.message; END"
            ),
            [("boom",)],
        ),
        ("DECLARE v; SELECT v", BadRequest),
        ("DECLARE v DEFAULT 1; SET v = 'x'", BadRequest),
        ("REPEAT SELECT 1; END REPEAT", BadRequest),
    ],
)
def test_procedural_language(run, script, expected):
    """Real BigQuery: types may be those of defaults; REPEAT, CASE and named values are there."""
    if expected is BadRequest:
        with pytest.raises(BadRequest):
            run(script)
    else:
        assert run(script) == (expected or [(5, 3, [1, 2])])


def test_bodies_of_procedures(run, dataset):
    """Real BigQuery: any statement, also one that ends with END, and handlers of errors."""
    run(
        f"CREATE PROCEDURE {dataset}.p(n INT64, OUT r STRING) BEGIN IF n > 1 THEN SET r = 'many'; "
        "ELSE SET r = CASE WHEN n = 1 THEN 'one' ELSE 'none' END; END IF; "
        "BEGIN SELECT 1/0; EXCEPTION WHEN ERROR THEN SET r = r || '!'; END; END"
    )
    run(
        f"CREATE PROCEDURE {dataset}.q() BEGIN SELECT 1/0; "
        "EXCEPTION WHEN ERROR THEN SELECT 'caught' AS r; END"
    )
    for number, expected in ((0, "none!"), (1, "one!"), (2, "many!")):
        script = f"DECLARE r STRING; CALL {dataset}.p({number}, r); SELECT r"
        assert run(script) == [(expected,)]
    assert run(f"CALL {dataset}.q()") == [("caught",)]
