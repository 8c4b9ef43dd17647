import io

import pytest
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError, NotFound
from google.cloud import bigquery


@pytest.fixture
def load(bq, dataset):
    """Load CSV text, and return the job, the columns and the rows of the table."""

    def load_csv(text: str, *, table: str = "t", **options):
        config = bigquery.LoadJobConfig(source_format="CSV", **options)
        name = f"{dataset}.{table}"
        job = bq.load_table_from_file(io.BytesIO(text.encode()), name, job_config=config)
        job.result()
        columns = [(field.name, field.field_type) for field in bq.get_table(name).schema]
        return (
            job,
            columns,
            sorted(tuple(row) for row in bq.query_and_wait(f"SELECT * FROM {name}")),
        )

    return load_csv


@pytest.fixture
def query(bq, dataset):
    """Run a query with a destination table, and return the rows of the job."""

    def run_into(sql: str, table: str = "t", **options) -> list[tuple]:
        config = bigquery.QueryJobConfig(destination=f"local.{dataset}.{table}", **options)
        job = bq.query(sql, config, retry=None, job_retry=None)
        assert str(job.destination) == f"local.{dataset}.{table}"
        return [tuple(row) for row in job.result(retry=None, job_retry=None)]

    return run_into


def test_a_csv_without_a_header_gets_bigquery_s_names_and_keeps_its_first_row(load):
    """Real BigQuery: columns are `int64_field_0`, `string_field_1`, and the first row is data."""
    job, columns, rows = load("1,cat\n2,dog\n", autodetect=True)
    assert columns == [("int64_field_0", "INTEGER"), ("string_field_1", "STRING")]
    assert rows == [(1, "cat"), (2, "dog")]
    assert job.output_rows == 2


def test_each_type_has_its_own_name(load):
    """Real BigQuery: the name of a column without a header starts with its type."""
    _, columns, _ = load(
        "1,1.5,true,2024-01-02,03:04:05,2024-01-02 03:04:05,x\n2,2,false,2024-01-03,,,\n",
        autodetect=True,
    )
    assert columns == [
        ("int64_field_0", "INTEGER"),
        ("double_field_1", "FLOAT"),
        ("bool_field_2", "BOOLEAN"),
        ("date_field_3", "DATE"),
        ("time_field_4", "TIME"),
        ("timestamp_field_5", "TIMESTAMP"),
        ("string_field_6", "STRING"),
    ]


@pytest.mark.parametrize(
    ("text", "skip", "names", "num_rows"),
    [
        ("id,my name\n1,cat\n", None, ["id", "my_name"], 1),
        ("a,b\nc,d\n", None, ["string_field_0", "string_field_1"], 2),
        ("id,name\n1,cat\n", 0, ["string_field_0", "string_field_1"], 2),
        ("id,name\n1,cat\n", 1, ["id", "name"], 1),
        ("a,b\nc,d\n", 1, ["string_field_0", "string_field_1"], 1),
        ("about,this\nid,name\n1,cat\n", 2, ["id", "name"], 1),
    ],
)
def test_a_header_is_text_over_other_types(load, text, skip, names, num_rows):
    """Text over text is not a header; the last of N rows to skip may be one."""
    options = {} if skip is None else {"skip_leading_rows": skip}
    _, columns, rows = load(text, autodetect=True, **options)
    assert [name for name, _ in columns] == names
    assert len(rows) == num_rows


def test_with_a_schema_no_row_is_skipped_unless_the_job_says_so(load):
    """Real BigQuery: with a schema, the first row is data."""
    schema = [bigquery.SchemaField("n", "INTEGER"), bigquery.SchemaField("s", "STRING")]
    _, _, rows = load("1,cat\n2,dog\n", table="none", schema=schema)
    assert rows == [(1, "cat"), (2, "dog")]
    _, _, rows = load("n,s\n1,cat\n", table="one", schema=schema, skip_leading_rows=1)
    assert rows == [(1, "cat")]


def test_options_of_the_file_are_kept(load):
    """Delimiter, quote, null marker, short rows and BYTES are read as the job says."""
    schema = [
        bigquery.SchemaField(name, kind)
        for name, kind in (("n", "INTEGER"), ("s", "STRING"), ("b", "BYTES"))
    ]
    options = {"field_delimiter": "|", "null_marker": "-", "allow_jagged_rows": True}
    _, _, rows = load('1|"a|b"|AAE=\n2|-\n', schema=schema, **options)
    assert rows == [(1, "a|b", b"\x00\x01"), (2, None, None)]


def test_write_truncate_brings_its_own_columns(load):
    """Real BigQuery: the columns of the job replace those of the table."""
    load("1,cat\n", autodetect=True)
    job, columns, rows = load("2024-01-01\n", autodetect=True, write_disposition="WRITE_TRUNCATE")
    assert columns == [("date_field_0", "DATE")]
    assert (len(rows), job.output_rows) == (1, 1)


def test_a_load_that_fails_changes_nothing(load, run, dataset):
    """A job loads all of its rows or none, and a table that it would replace stays."""
    load("1,cat\n", autodetect=True)
    schema = [bigquery.SchemaField("n", "INTEGER")]
    with pytest.raises(GoogleAPICallError):
        load("1\nx\n", schema=schema, write_disposition="WRITE_TRUNCATE")
    assert run(f"SELECT * FROM {dataset}.t") == [(1, "cat")]


def test_addresses_with_a_star_load_all_that_match(bq, local_server, dataset, run):
    """All matching files are loaded, each with its own header."""
    folder = local_server.local_dir / "buckets" / "csv-parts"
    folder.mkdir(parents=True)
    for number in (1, 2):
        (folder / f"{number}.csv").write_text(f"n\n{number}\n")
    config = bigquery.LoadJobConfig(autodetect=True)
    bq.load_table_from_uri("gs://csv-parts/*.csv", f"{dataset}.t", job_config=config).result()
    assert sorted(run(f"SELECT n FROM {dataset}.t")) == [(1,), (2,)]


def test_the_id_of_a_load_or_copy_job_is_used_once(bq, dataset, run):
    """Real BigQuery: a second job with the same id is a 409, also if a file is sent with it."""
    run(f"CREATE TABLE {dataset}.source AS SELECT 1 AS n")
    config = bigquery.LoadJobConfig(autodetect=True)

    def upload() -> bigquery.LoadJob:
        file = io.BytesIO(b"1\n")
        job_id = f"load-{dataset}"
        return bq.load_table_from_file(file, f"{dataset}.t", job_id=job_id, job_config=config)

    assert upload().result().job_id == f"load-{dataset}"
    with pytest.raises(Conflict, match=f"Already Exists: Job local:US.load-{dataset}"):
        upload()
    assert run(f"SELECT COUNT(*) FROM {dataset}.t") == [(1,)]
    tables = (f"local.{dataset}.source", f"local.{dataset}.copy")
    bq.copy_table(*tables, job_id=f"copy-{dataset}", retry=None).result()
    with pytest.raises(Conflict, match="Already Exists: Job"):
        bq.copy_table(*tables, job_id=f"copy-{dataset}", retry=None)


def test_the_destination_table_receives_the_rows(bq, dataset, query, run):
    """Real BigQuery: the rows of the query are in the table."""
    rows = query("SELECT 1 AS n, JSON '{\"a\": 1}' AS j, [1, 2] AS a -- end\n;")
    assert rows == run(f"SELECT * FROM {dataset}.t") == [(1, {"a": 1}, [1, 2])]
    assert [field.field_type for field in bq.get_table(f"{dataset}.t").schema] == [
        "INTEGER",
        "JSON",
        "INTEGER",
    ]


def test_write_dispositions(dataset, query, run):
    """EMPTY refuses a table with rows, TRUNCATE replaces it, APPEND matches columns by name."""
    query("SELECT 1 AS n, 'a' AS s")
    with pytest.raises(Conflict, match=f"Already Exists: Table local:{dataset}.t"):
        query("SELECT 2 AS n, 'b' AS s")
    append = {"write_disposition": "WRITE_APPEND"}
    assert len(query("SELECT @s AS s, 2 AS n", **append, query_parameters=[S])) == 2
    assert run(f"SELECT n, s FROM {dataset}.t ORDER BY n") == [(1, "a"), (2, "b")]
    query("SELECT DATE '2024-01-01' AS d", write_disposition="WRITE_TRUNCATE")
    assert len(run(f"SELECT d FROM {dataset}.t")) == 1


S = bigquery.ScalarQueryParameter("s", "STRING", "b")


def test_appending_other_columns_is_refused_unless_allowed(dataset, query, run):
    """A new column needs ALLOW_FIELD_ADDITION; a changed type is always refused."""
    append = {"write_disposition": "WRITE_APPEND"}
    query("SELECT 1 AS n")
    with pytest.raises(BadRequest, match=r"Cannot add fields \(field: s\)"):
        query("SELECT 2 AS n, 'b' AS s", **append)
    with pytest.raises(BadRequest, match="Field n has changed type from INTEGER to STRING"):
        query("SELECT 'x' AS n", **append)
    query("SELECT 2 AS n, 'b' AS s", **append, schema_update_options=["ALLOW_FIELD_ADDITION"])
    assert run(f"SELECT * FROM {dataset}.t ORDER BY n") == [(1, None), (2, "b")]


def test_what_a_destination_refuses(dataset, query, run):
    """Missing tables and datasets, views, other statements and failed queries are errors."""
    run(f"CREATE VIEW {dataset}.v AS SELECT 1 AS n")
    with pytest.raises(NotFound, match="Not found: Table"):
        query("SELECT 1 AS n", create_disposition="CREATE_NEVER")
    with pytest.raises(BadRequest, match="currently a VIEW"):
        query("SELECT 1 AS n", table="v")
    for sql, kind in (
        (f"CREATE TABLE {dataset}.x (n INT64)", "DDL"),
        (f"DELETE {dataset}.x", "DML"),
    ):
        with pytest.raises(BadRequest, match=f"Cannot set destination table in jobs with {kind}"):
            query(sql)
    with pytest.raises(BadRequest, match="cannot be set for scripts"):
        query("SELECT 1; SELECT 2")
    with pytest.raises(BadRequest):
        query("SELECT nothing")
    with pytest.raises(NotFound):
        run(f"SELECT * FROM {dataset}.t")


def test_partitioning_and_clustering_of_a_destination(bq, dataset, query):
    """The table has the partitioning and clustering of the job."""
    query(
        "SELECT DATE '2024-01-01' AS d, 1 AS n",
        time_partitioning=bigquery.TimePartitioning(field="d"),
        clustering_fields=["n"],
    )
    table = bq.get_table(f"{dataset}.t")
    assert (table.time_partitioning.field, table.clustering_fields) == ("d", ["n"])
