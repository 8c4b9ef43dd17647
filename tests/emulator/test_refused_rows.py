"""What BigQuery refuses of rows, whichever way they come; over the official clients.

`rule` names the rule of `etlkit local rules`.
"""

import io
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest, InvalidArgument
from google.cloud import bigquery

from etlkit.calls.local_token import with_metadata
from etlkit.local import join_or_start

NARROW = (
    "(n INT64, s STRING(3), b BYTES(2), x NUMERIC(5, 2), tags ARRAY<STRING(3)>, "
    "deep STRUCT<s STRING(3)>)"
)

MODES = {"a": "REQUIRED", "b": "NULLABLE"}


@pytest.fixture
def table(run, dataset) -> str:
    run(f"CREATE TABLE {dataset}.t {NARROW}")
    return f"{dataset}.t"


@pytest.fixture
def appended(append, table):
    """Append rows to the table; gives the messages of bad rows by index."""

    def send(**columns):
        (answer,) = append(table, pa.table(columns))
        return {error.index: error.message for error in answer.row_errors}

    return send


@pytest.mark.rule("text_lengths")
def test_parameters_show_in_the_resource(bq, run, table, dataset):
    """After CREATE, LIKE and ALTER, and of tables from REST."""

    def shown(name):
        schema = bq.get_table(name).schema
        return [(c.name, c.max_length, c.precision, c.scale) for c in schema if c.name in "sbxyz"]

    columns = [("s", 3, None, None), ("b", 2, None, None), ("x", None, 5, 2)]
    assert shown(table) == columns
    run(f"CREATE TABLE {table}_like LIKE {table}")
    assert shown(f"{table}_like") == columns
    copy = bigquery.Table(f"local.{table}_rest", schema=bq.get_table(table).schema)
    bq.create_table(copy)
    assert shown(f"{table}_rest") == columns
    run(f"ALTER TABLE {table} ADD COLUMN y STRING(5)")
    run(f"ALTER TABLE {table} RENAME COLUMN b TO z")
    run(f"ALTER TABLE {table} ALTER COLUMN s SET DATA TYPE STRING(4)")
    assert shown(table) == [
        ("s", 4, None, None),
        ("z", 2, None, None),
        ("x", None, 5, 2),
        ("y", 5, None, None),
    ]
    assert bq.get_table(table).schema[-2].fields[0].max_length == 3
    run(f"ALTER TABLE {table} ALTER COLUMN s SET DATA TYPE STRING")
    assert shown(table)[0] == ("s", None, None, None)


@pytest.mark.rule("text_lengths")
@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {t} (n, s) VALUES (2, 'long')",
        "INSERT INTO {t} (n, b) VALUES (2, b'abc')",
        "INSERT INTO {t} (n, tags) VALUES (2, ['ok', 'long'])",
        "INSERT INTO {t} (n, deep) VALUES (2, STRUCT('long'))",
        "INSERT INTO {t} (n, x) VALUES (2, 1234.5)",
        "UPDATE {t} SET s = 'long' WHERE n = 1",
        "MERGE {t} USING (SELECT 1) ON FALSE WHEN NOT MATCHED THEN INSERT (s) VALUES ('long')",
        "INSERT INTO {t} (n, s) VALUES (2, 'ok'); INSERT INTO {t} (n, s) VALUES (3, 'long')",
        "BEGIN TRANSACTION; UPDATE {t} SET s = 'long' WHERE n = 1; COMMIT TRANSACTION",
    ],
)
def test_values_that_are_too_long_for_dml(run, table, sql):
    """A refused statement changes nothing."""
    run(f"INSERT INTO {table} (n, s, b, x) VALUES (1, 'äöü', b'ab', 123.45)")
    with pytest.raises(BadRequest):
        run(sql.format(t=table))
    assert run(f"SELECT n, s FROM {table} WHERE n IN (1, 3) OR n IS NULL") == [(1, "äöü")]


@pytest.mark.rule("text_lengths")
def test_values_that_are_too_long_for_a_load(bq, run, table):
    """No row of the job stays."""
    rows = [{"n": 1, "s": "abc"}, {"n": 2, "s": "long"}]
    config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON")
    lines = "\n".join(map(json.dumps, rows)).encode()
    with pytest.raises(BadRequest, match=r"STRING\(3\)"):
        bq.load_table_from_file(io.BytesIO(lines), f"local.{table}", job_config=config).result()
    assert run(f"SELECT COUNT(*) FROM {table}") == [(0,)]


@pytest.mark.rule("appended_lengths", "appended_digits", "appended_elements")
def test_appended_rows_that_do_not_fit(appended, run, table):
    """Each bad row has its message, and no row is written."""
    numbers = pa.array([Decimal("999.99"), Decimal(1000), None, Decimal(0)], pa.decimal128(38, 9))
    errors = appended(
        n=[1, 2, 3, 4],
        s=["abc", "ok", "long", None],
        x=numbers,
        tags=[["a"], [], None, ["a", None]],
    )
    assert sorted(errors) == [1, 2, 3]
    assert "NUMERIC(5, 2) has precision 5 and scale 2" in errors[1]
    assert "STRING(3) has maximum length 3 but got a value with length 4" in errors[2]
    assert "cannot have a null element" in errors[3]
    assert run(f"SELECT COUNT(*) FROM {table}") == [(0,)]
    assert appended(n=[1], s=["äöü"], b=[b"ab"]) == {}
    assert appended(n=[1], b=[b"abc"]).keys() == {0}


@pytest.mark.rule("appended_lengths", "json_limits")
def test_rows_of_insert_all_that_do_not_fit(bq, run, table):
    """The same rules, and one answer a row."""
    rows = [{"n": 1, "s": "abc"}, {"n": 2, "s": "long"}]
    errors = bq.insert_rows_json(table, rows, skip_invalid_rows=True)
    assert [error["index"] for error in errors] == [1]
    assert run(f"SELECT n FROM {table}") == [(1,)]


@pytest.mark.rule("required_columns", "known_columns", "column_types")
def test_fields_of_appends(append, bq, dataset):
    """More about columns is in test_patches_appends.py."""
    inner = [bigquery.SchemaField(name, "INT64", mode) for name, mode in MODES.items()]
    schema = [
        bigquery.SchemaField("n", "INT64", "REQUIRED"),
        bigquery.SchemaField("deep", "RECORD", fields=inner),
    ]
    bq.create_table(bigquery.Table(f"local.{dataset}.t", schema=schema))
    deep = [{"a": 1, "b": None}, {"a": None, "b": 1}, None]
    (answer,) = append(f"{dataset}.t", pa.table({"n": [1, 2, None], "deep": deep}))
    assert {error.index: error.message for error in answer.row_errors} == {
        1: "Field deep.a is required but is missing.",
        2: "Field n is required but is missing.",
    }
    (answer,) = append(f"{dataset}.t", pa.table({"n": [1], "more": [2]}))
    assert "extra fields: 'more'" in answer.error.message
    (answer,) = append(f"{dataset}.t", pa.table({"n": ["1"]}))
    assert "of another type" in answer.error.message


@pytest.mark.rule("json_limits")
def test_json_that_cannot_be_appended(append, run, dataset):
    """Integers beyond 64 bits, more than 500 levels, and what is no JSON."""
    run(f"CREATE TABLE {dataset}.t (j JSON)")
    good = ["1", "null", "[" * 500 + "]" * 500, str(2**64 - 1), '"[[[\\"[["', None, "1e3"]
    assert append(f"{dataset}.t", pa.table({"j": good}))[0].error.message == ""
    bad = [str(2**64), str(-(2**63) - 1), "[" * 501 + "]" * 501, "NaN", "{'a': 1}", ""]
    (answer,) = append(f"{dataset}.t", pa.table({"j": bad}))
    assert [error.index for error in answer.row_errors] == list(range(len(bad)))


@pytest.mark.rule("result_elements", "written_elements")
def test_null_in_arrays(run, dataset):
    """Not in results and not in tables; within a query it is allowed."""
    for sql in (
        "SELECT [1, NULL] AS a",
        "SELECT STRUCT([1, NULL] AS b) AS a",
        "SELECT ARRAY_AGG(x) AS a FROM UNNEST([1, NULL]) AS x",
        "SELECT 1; SELECT [1, NULL] AS a",
        f"CREATE TABLE {dataset}.t AS SELECT ['x', NULL] AS a",
    ):
        with pytest.raises(BadRequest, match="Array cannot have a null element"):
            run(sql)
    run(f"CREATE TABLE {dataset}.t (a ARRAY<INT64>, s STRUCT<b ARRAY<INT64>>)")
    for values in ("([1, NULL], NULL)", "([], STRUCT([NULL]))"):
        with pytest.raises(BadRequest, match="Array cannot have a null element"):
            run(f"INSERT INTO {dataset}.t VALUES {values}")
    assert run(f"SELECT COUNT(*) FROM {dataset}.t") == [(0,)]
    assert run("SELECT ARRAY_LENGTH([1, NULL]) AS n") == [(2,)]
    assert run("SELECT [1, 2] AS a, CAST(NULL AS ARRAY<INT64>) AS b")[0][0] == [1, 2]


@pytest.mark.rule("missing_value")
def test_missing_values_have_a_test_of_their_own(append, run, dataset):
    """See test_missing_values_are_interpreted in test_patches_appends.py."""
    run(f"CREATE TABLE {dataset}.t (a INT64, b INT64 DEFAULT 7)")
    append(f"{dataset}.t", pa.table({"a": [1]}))
    assert run(f"SELECT a, b FROM {dataset}.t") == [(1, None)]


@pytest.mark.rule("required_restriction")
def test_a_read_session_needs_the_filter(read_table, run, dataset):
    """In its row restriction."""
    run(
        f"CREATE TABLE {dataset}.t PARTITION BY d OPTIONS (require_partition_filter = TRUE) "
        "AS SELECT DATE '2026-01-02' AS d, 1 AS n"
    )
    for options in ({}, {"row_restriction": "n = 1"}):
        with pytest.raises(InvalidArgument, match=r"without a filter over column\(s\) 'd'"):
            read_table(f"{dataset}.t", **options)
    rows = read_table(f"{dataset}.t", row_restriction="d = DATE '2026-01-02'")
    assert rows.column("n").to_pylist() == [1]


@pytest.mark.rule("unseen_columns", "one_location", "job_location")
def test_a_world_elsewhere_that_sees_columns_late(local_dir, connect):
    """`--local-location asia-northeast1` and `--late-columns-s`, on a server of the test's own."""
    import grpc
    from google.api_core.exceptions import NotFound
    from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types
    from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
        BigQueryWriteGrpcTransport,
    )

    with (
        join_or_start(local_dir, location="asia-northeast1", late_columns_s=3600) as server,
        connect(server) as bq,
    ):
        assert bq.create_dataset("here").location == "asia-northeast1"
        bq.query_and_wait("CREATE SCHEMA made_by_sql")
        assert bq.get_dataset("made_by_sql").location == "asia-northeast1"
        home = bigquery.Dataset("local.there")
        home.location = "US"
        bq.create_dataset(home)
        job = bq.query("CREATE TABLE here.t AS SELECT 1 AS a")
        job.result()
        assert job.location == "asia-northeast1"
        for call in (bq.get_job, bq.cancel_job):
            with pytest.raises(NotFound, match="Not found: Job local:US"):
                call(job.job_id, retry=None)
            assert call(job.job_id, location="Asia-Northeast1").job_id == job.job_id
        us = bq.query("CREATE TABLE there.t AS SELECT 1 AS a")
        us.result()
        assert bq.get_job(us.job_id).location == us.location == "US"
        with pytest.raises(NotFound, match="Dataset local:there was not found in location asia"):
            bq.query("SELECT * FROM here.t AS x JOIN there.t AS y USING (a)", retry=None).result(
                retry=None
            )
        with pytest.raises(NotFound, match="Dataset local:here was not found in location US"):
            bq.query("SELECT * FROM here.t", location="US", retry=None).result(retry=None)
        assert bq.query_and_wait("SELECT a FROM here.t").location == "asia-northeast1"

        bq.query_and_wait("ALTER TABLE here.t ADD COLUMN late STRING")
        with grpc.insecure_channel(server.endpoints.bigquery_grpc) as channel:
            told = with_metadata(channel, ("authorization", f"Bearer {server.endpoints.token}"))
            writer = BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=told))
            for columns, words in (
                ({"a": [2], "late": ["x"]}, "extra fields: 'late'"),
                ({"a": [2]}, ""),
            ):
                rows = pa.table(columns)
                request = types.AppendRowsRequest(
                    write_stream="projects/local/datasets/here/tables/t/streams/_default"
                )
                schema = rows.schema.serialize().to_pybytes()
                request.arrow_rows.writer_schema.serialized_schema = schema
                (batch,) = rows.to_batches()
                request.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
                (answer,) = writer.append_rows(iter([request]))
                assert words in answer.error.message
        bq.query_and_wait("INSERT INTO here.t (a, late) VALUES (3, 'y')")
