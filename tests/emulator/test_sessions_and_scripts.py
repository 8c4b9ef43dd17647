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
