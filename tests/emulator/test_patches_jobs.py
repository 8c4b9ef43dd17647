import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud.bigquery import QueryJobConfig, ScalarQueryParameter


def test_job_id_is_used_once(bq, run, dataset):
    """Real BigQuery: a second job with the same id is a 409, and is not run."""
    run(f"CREATE TABLE {dataset}.t (n INT64)")
    insert = f"INSERT INTO {dataset}.t VALUES (1)"
    bq.query(insert, job_id=f"{dataset}_once", job_retry=None).result()
    with pytest.raises(Conflict, match=f"{dataset}_once"):
        bq.query(insert, job_id=f"{dataset}_once", job_retry=None)
    assert run(f"SELECT COUNT(*) FROM {dataset}.t") == [(1,)]
    assert bq.get_job(f"{dataset}_once").state == "DONE"


def test_failed_job_keeps_its_id(bq, dataset):
    """Real BigQuery: also a job that failed has used its id; its error can be fetched."""
    with pytest.raises(BadRequest):
        bq.query("SELECT nope", job_id=f"{dataset}_failed", job_retry=None).result()
    with pytest.raises(Conflict):
        bq.query("SELECT 1", job_id=f"{dataset}_failed", job_retry=None)
    assert bq.get_job(f"{dataset}_failed").error_result["reason"] == "invalidQuery"


def test_dry_run_of_a_table_in_a_missing_dataset(bq):
    """Real BigQuery: it is a 404 that names the dataset."""
    config = QueryJobConfig(dry_run=True)
    with pytest.raises(NotFound, match="Not found: Dataset local:no_ds"):
        bq.query("CREATE OR REPLACE TABLE no_ds.t AS SELECT 1 AS n", config, retry=None)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {t} VALUES (2)",
        "CREATE OR REPLACE TABLE {t} AS SELECT 9 AS n",
        "DROP TABLE {t}",
        "BEGIN TRANSACTION; DELETE FROM {t} WHERE TRUE; COMMIT TRANSACTION",
        "DECLARE x INT64; DELETE FROM {t} WHERE TRUE",
        "ASSERT FALSE",
        "EXECUTE IMMEDIATE 'DROP TABLE {t}'",
    ],
)
def test_dry_run_changes_nothing(bq, run, dataset, sql):
    """Real BigQuery: a dry run is checked, priced, and not run."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    job = bq.query(sql.format(t=f"{dataset}.t"), job_config=QueryJobConfig(dry_run=True))
    assert job.total_bytes_processed == 0
    assert run(f"SELECT n FROM {dataset}.t") == [(1,)]
    with pytest.raises(NotFound):
        bq.get_job(job.job_id)


def test_dry_run_of_a_query_has_its_schema(bq):
    """Real BigQuery: the schema is known without running, parameters included."""
    config = QueryJobConfig(
        dry_run=True, query_parameters=[ScalarQueryParameter("x", "STRING", "a")]
    )
    job = bq.query("SELECT @x AS s, 1 AS i, ERROR('run') AS e, JSON '1' AS j", job_config=config)
    assert [(f.name, f.field_type) for f in job.schema[:2]] == [("s", "STRING"), ("i", "INTEGER")]
    with pytest.raises(BadRequest, match="Unrecognized name: nope"):
        bq.query("SELECT nope FROM (SELECT 1 AS n)", job_config=QueryJobConfig(dry_run=True))


def test_job_keeps_its_labels(bq):
    """Real BigQuery: labels and limits come back with the job."""
    config = QueryJobConfig(labels={"step": "two"}, maximum_bytes_billed=10**9)
    job = bq.query("SELECT 1", job_config=config, location="US")
    job.result()
    found = bq.get_job(job.job_id, location="US")
    assert found.labels == {"step": "two"}
    assert found.maximum_bytes_billed == 10**9
    assert found.location == "US"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT xx FROM {t}", "Unrecognized name: xx at [1:8]"),
        ("SELECT n,\n  yy\nFROM {t}", "Unrecognized name: yy at [2:3]"),
        ("SELECT t.zz FROM {t} AS t", "Name zz not found inside t at [1:10]"),
        ("SELECT 1;\nSELECT xx FROM {t}", "Unrecognized name: xx at [2:8]"),
        ("SELEC 1", 'Syntax error: Unexpected identifier "SELEC" at [1:1]'),
        ("SELECT CAST('x' AS INT64)", "Bad int64 value: x"),
    ],
)
def test_error_speaks_of_the_users_sql(run, dataset, sql, message):
    """Real BigQuery: the message has the user's names and a position in the user's text."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    with pytest.raises(BadRequest) as caught:
        run(sql.format(t=f"{dataset}.t"))
    assert message in caught.value.message
    assert f"local__{dataset}" not in caught.value.message
    assert "LINE 1" not in caught.value.message
