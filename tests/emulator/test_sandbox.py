"""SQL and jobs reach no file outside of the buckets and of what is uploaded, and no network."""

import re

import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError
from google.cloud import bigquery

SECRET = "the content of a file of the user"


@pytest.fixture
def secret(tmp_path):
    """A file of the user that is none of the server's business."""
    path = tmp_path / "secret.csv"
    path.write_text(f"text\n{SECRET}\n")
    return path


@pytest.fixture
def refused(bq):
    """The message with which SQL is refused."""

    def ask(sql):
        with pytest.raises(GoogleAPICallError) as caught:
            bq.query(sql, retry=None, job_retry=None).result(retry=None, job_retry=None)
        assert SECRET not in str(caught.value)
        return caught.value.message

    return ask


FUNCTIONS = (
    "read_text('{}')", "read_blob('{}')", "read_csv('{}')", "read_csv_auto('{}')", "read_json('{}')",
    "read_parquet('{}')", "parquet_scan('{}')", "read_duckdb('{}')", "sniff_csv('{}')",
    "read_avro('{}')", "ST_Read('{}')", "st_readshp('{}')", "ST_ReadOSM('{}')", "`read_text`('{}')",
    "parquet_metadata('{}')", "duckdb_secrets()", "duckdb_settings()", "query('SELECT 1')",
    "query_table('{}')", "arrow_scan(1, 2, 3)", "pandas_scan(1)", "which_secret('{}', 's3')",
)  # fmt: skip


def test_duckdbs_table_functions_are_not_found(refused, secret):
    """BigQuery has none of them; some would read files, one any memory of the server."""
    for call in FUNCTIONS:
        name = call.partition("(")[0].strip("`").lower()
        message = refused(f"SELECT * FROM {call.format(secret)}")
        assert message.casefold().startswith(f"table-valued function not found: {name}"), call


PLACES = (
    "SELECT (SELECT content FROM {})",
    "SELECT * FROM UNNEST([1]) CROSS JOIN {}",
    "WITH a AS (SELECT * FROM {}) SELECT * FROM a",
    "SELECT 1 UNION ALL SELECT LENGTH(content) FROM {}",
    "SELECT 1 FROM UNNEST([1]) WHERE EXISTS (SELECT 1 FROM {})",
    "CREATE TABLE {d}.made AS SELECT * FROM {}",
    "CREATE VIEW {d}.made AS SELECT * FROM {}",
    "CREATE FUNCTION {d}.made() AS ((SELECT content FROM {}))",
    "CREATE TABLE FUNCTION {d}.made() AS SELECT * FROM {}",
    "CREATE TABLE {d}.made (a STRING DEFAULT (SELECT content FROM {}))",
    "INSERT INTO {d}.t SELECT 1 FROM {}",
    "UPDATE {d}.t SET n = (SELECT 1 FROM {}) WHERE true",
    "DELETE FROM {d}.t WHERE EXISTS (SELECT 1 FROM {})",
    "MERGE {d}.t USING (SELECT 1 AS n FROM {}) s ON t.n = s.n WHEN MATCHED THEN DELETE",
    "SELECT * FROM {d}.t FOR SYSTEM_TIME AS OF (SELECT CAST(content AS TIMESTAMP) FROM {})",
    'EXECUTE IMMEDIATE "SELECT * FROM {}"',
    "DECLARE x STRING; SET x = (SELECT content FROM {}); SELECT x",
    "DECLARE x STRING DEFAULT (SELECT content FROM {}); SELECT x",
    "IF EXISTS (SELECT 1 FROM {}) THEN SELECT 1; END IF",
    "FOR r IN (SELECT * FROM {}) DO SELECT 1; END FOR",
    "BEGIN SELECT * FROM {}; END",
    "CREATE PROCEDURE {d}.p() BEGIN SELECT * FROM {}; END; CALL {d}.p()",
    "EXPORT DATA OPTIONS(uri = 'gs://taken/*.csv', format = 'CSV') AS SELECT * FROM {}",
    "CREATE MATERIALIZED VIEW {d}.made AS SELECT n, content FROM {d}.t, {}",
)


def test_nor_anywhere_else_in_a_statement(refused, run, dataset, secret):
    """In sub-queries, in DDL, in scripts, in dynamic SQL, in bodies of routines."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    for number, place in enumerate(PLACES):
        sql = (
            place.replace("{d}", dataset)
            .replace("made", f"made_{number}")
            .replace("{}", f"read_text('{secret}')")
        )
        message = refused(sql)
        assert SECRET not in message, place
        assert re.search("Table-valued function not found: read_text|must not include", message), (
            place
        )


def test_nor_through_the_api(bq, run, dataset, secret, read_table):
    """Views, functions and filters that come without a statement."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    text = f"(SELECT content FROM read_text('{secret}'))"
    view = bigquery.Table(f"local.{dataset}.v")
    view.view_query = f"SELECT {text} AS x"
    routine = bigquery.Routine(
        f"local.{dataset}.f", type_="SCALAR_FUNCTION", language="SQL", body=text,
        return_type=bigquery.StandardSqlDataType(bigquery.StandardSqlTypeNames.STRING),
    )  # fmt: skip
    with pytest.raises(BadRequest, match="Table-valued function not found"):
        bq.create_table(view, retry=None)
    with pytest.raises(BadRequest, match="Table-valued function not found"):
        bq.create_routine(routine, retry=None)
    with pytest.raises(GoogleAPICallError) as caught:
        read_table(f"{dataset}.t", row_restriction=f"n = {text}")
    assert SECRET not in str(caught.value)
    assert read_table(f"{dataset}.t", row_restriction="n = 1").num_rows == 1


def test_duckdbs_statements_are_no_sql(refused, dataset, tmp_path):
    """They would write files, load code, or unlock what is locked."""
    target = tmp_path / "made"
    for sql in (
        "COPY (SELECT 1) TO '{}'", "ATTACH '{}' AS other", "INSTALL httpfs", "LOAD httpfs", "LOAD '{}'",
        "EXPORT DATABASE '{}'", "IMPORT DATABASE '{}'", "PRAGMA database_list", "CHECKPOINT", "VACUUM",
        "USE memory", "DETACH memory", "SHOW TABLES", "DESCRIBE x", "SUMMARIZE x",
        "# why\n/* and */ COPY (SELECT 1) TO '{}'", "(COPY (SELECT 1) TO '{}')",
    ):  # fmt: skip
        assert "Syntax error" in refused(sql.format(target)), sql
        dynamic = sql.format(target).replace("\n", "\\n")
        assert "Syntax error" in refused(f'EXECUTE IMMEDIATE "{dynamic}"'), sql
    assert "Unknown variable" in refused("SET enable_external_access = true")
    for call in ("current_setting('home_directory')", "getenv('HOME')", "getvariable('x')"):
        assert refused(f"SELECT {call}").startswith("Function not found")
    assert "Syntax error" in refused("SELECT * FROM '/etc/passwd'")
    assert "was not found" in refused("SELECT * FROM `/etc/passwd`")
    assert not target.exists()


def test_words_of_duckdb_are_names_in_bigquery(run, dataset):
    """A table, a column or a function of one's own may be called so."""
    run(f"CREATE TABLE {dataset}.query AS SELECT 1 AS platform, 'a' AS read_text")
    run(f"CREATE FUNCTION {dataset}.repeat(n INT64) AS (n + 1)")
    found = run(
        f"WITH summary AS (SELECT platform, REPEAT(read_text, 2) AS checkpoint FROM {dataset}.query) "
        f"SELECT {dataset}.repeat(platform), checkpoint FROM summary AS pragma"
    )
    assert found == [(2, "aa")]


SOURCES = (
    "file://{}", "{}", "http://127.0.0.1:1/x.csv", "https://storage.googleapis.com/b/x.csv",
    "s3://bucket/x.csv", "gs://door-files/../../secret.csv", "gs://../secret.csv", "gs:///etc/passwd",
    "gs://door-files/out.csv", "gs://door-files/folder/secret.csv",
)  # fmt: skip


@pytest.fixture
def bucket(local_server, secret):
    """A bucket with a link to a file outside of it, and one to the folder of that file."""
    folder = local_server.local_dir / "buckets" / "door-files"
    folder.mkdir(parents=True, exist_ok=True)
    links = {folder / "out.csv": secret, folder / "folder": secret.parent}
    for link, target in links.items():
        link.symlink_to(target)
    yield folder
    for link in links:
        link.unlink()


def test_sources_outside_of_the_buckets_are_refused(bq, run, dataset, secret, bucket):
    """Of load jobs and of external tables, with a schema and without."""
    schema = [bigquery.SchemaField("text", "STRING")]
    for given in SOURCES:
        uri = given.format(secret)
        for options in ({"schema": schema}, {"autodetect": True}):
            config = bigquery.LoadJobConfig(source_format="CSV", **options)
            with pytest.raises(GoogleAPICallError) as caught:
                bq.load_table_from_uri(uri, f"{dataset}.t", job_config=config, retry=None).result()
            assert SECRET not in str(caught.value)
        sql = f"CREATE EXTERNAL TABLE {dataset}.e OPTIONS (format = 'CSV', uris = ['{uri}'])"
        with pytest.raises(GoogleAPICallError):
            run(sql)
    assert [table.table_id for table in bq.list_tables(dataset)] == []
    options = "OPTIONS (format = 'CSV', uris = ['gs://door-files/*'])"
    run(f"CREATE EXTERNAL TABLE {dataset}.e (text STRING) {options}")
    assert run(f"SELECT * FROM {dataset}.e") == []


def test_a_file_of_another_upload_is_no_source(bq, dataset, local_server):
    """Only the load job that comes with an upload reads it."""
    left = local_server.local_dir / "uploads" / "left.csv"
    left.write_text(SECRET)
    config = bigquery.LoadJobConfig(source_format="CSV", autodetect=True)
    uri, target = f"file://{left}", f"{dataset}.t"
    with pytest.raises(BadRequest, match="must be a Google Cloud Storage location"):
        bq.load_table_from_uri(uri, target, job_config=config, retry=None).result(retry=None)
    left.unlink()


def test_exports_stay_in_the_buckets(bq, run, refused, dataset, bucket, tmp_path):
    """The statement and the job, also through links."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    before = sorted(tmp_path.iterdir())
    content = (tmp_path / "secret.csv").read_text()
    for uri in (
        "gs://door-files/../../x.csv",
        "gs://door-files/out.csv",
        "gs://door-files/folder/x.csv",
    ):
        sql = (
            f"EXPORT DATA OPTIONS(uri = '{uri}', format = 'CSV', overwrite = true) AS SELECT 1 AS n"
        )
        assert "URI" in refused(sql)
        with pytest.raises(GoogleAPICallError):
            bq.extract_table(f"{dataset}.t", uri, retry=None).result(retry=None)
    for uri in (f"file://{tmp_path}/x.csv", f"{tmp_path}/x.csv"):
        with pytest.raises(GoogleAPICallError, match="must be a Google Cloud Storage location"):
            bq.extract_table(f"{dataset}.t", uri, retry=None).result(retry=None)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "secret.csv").read_text() == content
    run("EXPORT DATA OPTIONS(uri = 'gs://door-files/ok/*.csv', format = 'CSV') AS SELECT 1 AS n")
    bq.extract_table(f"{dataset}.t", "gs://door-files/ok/extracted.csv").result()
    exported = sorted((bucket / "ok").iterdir())
    assert [path.read_text() for path in exported] == ["n\n1\n", "n\n1\n"]
    for path in exported:
        path.unlink()


def test_formats_are_read_and_written_without_external_access(bq, run, dataset, bucket):
    """Avro, Parquet and JSON Lines, whose readers are DuckDB's: they may open buckets, and no more."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n, 'é' AS s")
    for kind, name in (
        ("AVRO", "a.avro"),
        ("PARQUET", "a.parquet"),
        ("NEWLINE_DELIMITED_JSON", "a.json"),
    ):
        uri = f"gs://door-files/formats/{name}"
        config = bigquery.ExtractJobConfig(destination_format=kind)
        (bucket / "formats").mkdir(exist_ok=True)
        bq.extract_table(f"{dataset}.t", uri, job_config=config).result()
        load = bigquery.LoadJobConfig(
            source_format=kind,
            schema=[bigquery.SchemaField("n", "INT64"), bigquery.SchemaField("s", "STRING")],
        )
        bq.load_table_from_uri(uri, f"{dataset}.{kind}", job_config=load).result()
        assert run(f"SELECT n, s FROM {dataset}.{kind}") == [(1, "é")]
        (bucket / "formats" / name).unlink()
