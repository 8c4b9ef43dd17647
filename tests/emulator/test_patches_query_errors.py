import pytest
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError, NotFound
from google.cloud import bigquery


@pytest.fixture
def table(run, dataset) -> str:
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n, 'x' AS s")
    return f"{dataset}.t"


@pytest.fixture
def ask(bq):
    """Run SQL by `jobs.query` and give the rows as tuples; nothing is repeated."""

    def query(sql: str, **options) -> list[tuple]:
        config = bigquery.QueryJobConfig(**options)
        rows = bq.query_and_wait(sql, job_config=config, retry=None, job_retry=None)
        return [tuple(row) for row in rows]

    return query


@pytest.mark.parametrize(
    ("sql", "error", "reason", "message"),
    [
        ("SELECT nope FROM {t}", BadRequest, "invalidQuery", "Unrecognized name: nope"),
        ("SELEC 1", BadRequest, "invalidQuery", "Syntax error"),
        ("SELECT * FROM {t}_none", NotFound, "notFound", "Not found: Table local:{t}_none"),
        ("SELECT * FROM none.t", NotFound, "notFound", "Not found: Dataset local:none"),
        (
            "CREATE TABLE nope.t AS SELECT 1 AS n",
            NotFound,
            "notFound",
            "Not found: Dataset local:nope",
        ),
        ("CREATE TABLE {t} (n INT64)", Conflict, "duplicate", "Already Exists"),
        ("SELECT 1 / (n - 1) FROM {t}", BadRequest, "invalidQuery", "division by zero"),
        ("SELECT CAST(s AS INT64) FROM {t}", BadRequest, "invalidQuery", "Bad int64 value: x"),
        ("SELECT ERROR('my words')", BadRequest, "invalidQuery", "my words"),
        ("ASSERT FALSE AS 'not so'", BadRequest, "invalidQuery", "Assertion failed: not so"),
        ("SELECT 1; SELECT nope FROM {t}", BadRequest, "invalidQuery", "Unrecognized name: nope"),
        ("UPDATE {t} SET n = 'a' WHERE TRUE", BadRequest, "invalidQuery", "Value of type STRING"),
    ],
)
def test_failed_query_is_answered_with_its_error(bq, ask, table, sql, error, reason, message):
    """Real BigQuery: `jobs.query` answers 400, 404 or 409, and not 200 without rows."""
    with pytest.raises(GoogleAPICallError) as failed:
        ask(sql.format(t=table))
    assert type(failed.value) is error
    assert message.format(t=table) in failed.value.message
    assert failed.value.errors[0]["reason"] == reason
    assert failed.value.errors[0].get("location") == ("q" if error is BadRequest else None)
    if error is not Conflict:  # the job fails in the same way, by its own request
        with pytest.raises(error, match=message.format(t=table)):
            bq.query(sql.format(t=table), retry=None, job_retry=None).result(retry=None)


def test_out_of_range_time_travel_is_answered_with_its_error(ask, table):
    """Real BigQuery: the window of time travel is seven days."""
    with pytest.raises(GoogleAPICallError) as failed:
        ask(f"SELECT * FROM {table} FOR SYSTEM_TIME AS OF TIMESTAMP '2001-01-01'")
    assert failed.value.code == 400


def test_failed_query_has_a_failed_job(bq, ask, table):
    """Real BigQuery: the job of a `jobs.query` that failed is listed with its error."""
    with pytest.raises(BadRequest):
        ask(f"SELECT nope FROM {table}", labels={"team": "etl"})
    job = next(job for job in bq.list_jobs() if f"nope FROM {table}" in job.query)
    assert job.labels == {"team": "etl"}
    assert job.error_result["reason"] == "invalidQuery"
    with pytest.raises(BadRequest, match="Unrecognized name: nope"):
        job.result()


def test_query_has_a_job_with_its_labels(bq, table):
    """Real BigQuery: `jobs.query` makes a job like any other; it can be found and read again."""
    config = bigquery.QueryJobConfig(labels={"team": "etl", "kind": "audit"})
    rows = bq.query_and_wait(f"SELECT n FROM {table}", job_config=config)
    job = bq.get_job(rows.job_id)
    assert (job.labels, job.state, job.location) == (config.labels, "DONE", "US")
    assert job.query == f"SELECT n FROM {table}"
    assert rows.location == "US"
    assert [tuple(row) for row in job.result()] == [(1,)]
    assert next(j for j in bq.list_jobs() if j.job_id == rows.job_id).labels == config.labels


def test_pages_of_a_query_are_complete(bq):
    """Real BigQuery: the pages after the first come from `jobs.getQueryResults`."""
    rows = bq.query_and_wait(
        "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 25)) AS n ORDER BY n", page_size=10
    )
    assert [page.num_items for page in rows.pages] == [10, 10, 5]


def test_query_takes_the_default_dataset(ask, dataset, table):
    """Real BigQuery: names without a dataset are in the default dataset of the request."""
    default = bigquery.DatasetReference("local", dataset)
    assert ask("SELECT n FROM t", default_dataset=default) == [(1,)]


def test_request_that_is_sent_again_is_not_run_again(bq, run, table):
    """Real BigQuery: requests with the same `requestId` are one query; so are their errors."""

    def send(sql: str, request_id: str) -> dict:
        body = {"query": sql, "useLegacySql": False, "requestId": request_id}
        path = "/projects/local/queries"
        return bq._call_api(retry=None, method="POST", path=path, data=body)

    first = send(f"INSERT INTO {table} VALUES (2, 'y')", "one")
    again = send(f"INSERT INTO {table} VALUES (2, 'y')", "one")
    assert again["jobReference"] == first["jobReference"]
    assert run(f"SELECT COUNT(*) FROM {table}") == [(2,)]
    script = f"INSERT INTO {table} VALUES (3, 'z'); SELECT ERROR('after the insert')"
    for _ in range(2):
        with pytest.raises(BadRequest, match="after the insert"):
            send(script, "two")
    assert run(f"SELECT COUNT(*) FROM {table}") == [(3,)]


def test_insert_reports_how_many_rows_it_wrote(bq, table):
    """Real BigQuery: the answer of `jobs.query` has the number of affected rows."""
    rows = bq.query_and_wait(f"INSERT INTO {table} VALUES (2, 'y'), (3, 'z')")
    assert rows.num_dml_affected_rows == 2
    assert list(rows) == []
