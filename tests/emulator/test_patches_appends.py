import datetime as dt
import threading
import time
from decimal import Decimal

import pyarrow as pa
import pytest
from google.cloud.bigquery_storage_v1 import types

INVALID_ARGUMENT = 3


def test_append_matches_columns_by_name(append, run, dataset):
    """Real BigQuery: the order of the fields sent does not matter; a field not sent is NULL."""
    run(f"CREATE TABLE {dataset}.t (a INT64, b STRING, c STRING)")
    (answer,) = append(f"{dataset}.t", pa.table({"b": ["x"], "a": pa.array([1], pa.int64())}))
    assert not answer.error.code
    assert run(f"SELECT a, b, c FROM {dataset}.t") == [(1, "x", None)]


def test_append_takes_nested_columns(append, run, dataset):
    """Real BigQuery: STRUCT and ARRAY<STRUCT> are matched by the names of their fields."""
    run(
        f"CREATE TABLE {dataset}.t (s STRUCT<x INT64, y STRING>, "
        "a ARRAY<STRUCT<p FLOAT64, q ARRAY<STRING>>>)"
    )
    person = {"y": "deux", "x": 2}
    rows = pa.table({"s": [person, None], "a": [[{"q": ["u", "v"], "p": 0.5}], None]})
    (answer,) = append(f"{dataset}.t", rows)
    assert not answer.error.code
    assert run(f"SELECT s.x, s.y, a[SAFE_OFFSET(0)].q FROM {dataset}.t ORDER BY s.x") == [
        (None, None, []),
        (2, "deux", ["u", "v"]),
    ]


def test_append_takes_every_type(append, run, dataset):
    """Real BigQuery: GEOGRAPHY comes as WKT, JSON as text, BIGNUMERIC as decimal256."""
    run(
        f"CREATE TABLE {dataset}.t (j JSON, g GEOGRAPHY, n NUMERIC, bn BIGNUMERIC, ts TIMESTAMP, "
        "dt DATETIME, da DATE, tm TIME, b BYTES, f FLOAT64, bo BOOL, "
        "nested STRUCT<j JSON, g GEOGRAPHY, bn BIGNUMERIC>)"
    )
    instant = dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
    big = pa.array([Decimal("1.5")], pa.decimal256(76, 38))
    rows = pa.table(
        {
            "j": ['{"a": [1]}'],
            "g": ["POINT(1 2)"],
            "n": pa.array([Decimal("1.123456789")], pa.decimal128(38, 9)),
            "bn": big,
            "ts": pa.array([instant], pa.timestamp("us", "UTC")),
            "dt": pa.array([instant.replace(tzinfo=None)], pa.timestamp("us")),
            "da": pa.array([instant.date()]),
            "tm": pa.array([instant.time()], pa.time64("us")),
            "b": [b"\x00\xff"],
            "f": [0.5],
            "bo": [True],
            "nested": pa.StructArray.from_arrays(
                [pa.array(["1"]), pa.array(["POINT(3 4)"]), big], ["j", "g", "bn"]
            ),
        }
    )
    (answer,) = append(f"{dataset}.t", rows)
    assert not answer.error.message
    assert run(f"SELECT * FROM {dataset}.t") == [
        (
            {"a": [1]},
            "POINT(1 2)",
            Decimal("1.123456789"),
            Decimal("1.5"),
            instant,
            instant.replace(tzinfo=None),
            instant.date(),
            instant.time(),
            b"\x00\xff",
            0.5,
            True,
            {"j": 1, "g": "POINT(3 4)", "bn": Decimal("1.5")},
        )
    ]
    assert run(f"SELECT ST_X(g), JSON_VALUE(j, '$.a[0]') FROM {dataset}.t") == [(1.0, "1")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": ["1"], "zz": ["1"]}, "extra fields: 'zz'"),
        ({"a": ["1"], "s": [{"x": 1, "y": 2}]}, "extra fields: 's.y'"),
    ],
)
def test_append_of_unknown_fields_is_refused(append, run, dataset, rows, message):
    """Real BigQuery: an unknown field is SCHEMA_MISMATCH_EXTRA_FIELDS, and nothing is written."""
    run(f"CREATE TABLE {dataset}.t (a STRING, s STRUCT<x INT64>)")
    (answer,) = append(f"{dataset}.t", pa.table(rows))
    assert answer.error.code == INVALID_ARGUMENT
    assert message in answer.error.message
    (detail,) = answer.error.details
    error = types.StorageError.deserialize(detail.value)
    assert error.code == types.StorageError.StorageErrorCode.SCHEMA_MISMATCH_EXTRA_FIELDS
    assert run(f"SELECT COUNT(*) FROM {dataset}.t") == [(0,)]


def test_append_of_a_wrong_type_is_refused(append, run, dataset):
    """Real BigQuery: nothing is converted from one kind of type to another."""
    run(f"CREATE TABLE {dataset}.t (a STRING)")
    (answer,) = append(f"{dataset}.t", pa.table({"a": pa.array([1], pa.int64())}))
    assert answer.error.code == INVALID_ARGUMENT
    assert "field 'a' is STRING in the table and int64" in answer.error.message


def test_append_of_a_bignumeric_that_does_not_fit_here_says_so(append, run, dataset):
    """A difference: BigQuery has 38 digits on both sides."""
    run(f"CREATE TABLE {dataset}.t (n BIGNUMERIC)")
    rows = pa.table({"n": pa.array([Decimal("1E-38")], pa.decimal256(76, 38))})
    (answer,) = append(f"{dataset}.t", rows)
    assert answer.error.code == INVALID_ARGUMENT
    assert "at most 20 digits before the point and 18 after it" in answer.error.message


def test_append_of_null_in_required_names_the_rows(append, run, dataset):
    """Real BigQuery: `row_errors` has the index of each bad row, and no row is written."""
    run(f"CREATE TABLE {dataset}.t (id STRING NOT NULL, n INT64)")
    rows = pa.table({"id": ["a", None, "c", None], "n": pa.array([1, 2, 3, 4], pa.int64())})
    (answer,) = append(f"{dataset}.t", rows)
    assert answer.error.code == INVALID_ARGUMENT
    assert [error.index for error in answer.row_errors] == [1, 3]
    assert run(f"SELECT COUNT(*) FROM {dataset}.t") == [(0,)]


def test_append_of_damaged_values_is_refused_whole(append, run, dataset):
    """Real BigQuery: text that is no JSON is refused; the connection goes on."""
    run(f"CREATE TABLE {dataset}.t (j JSON)")
    good, bad = pa.table({"j": ["1"]}), pa.table({"j": ["2", "{"]})
    answers = append(f"{dataset}.t", good, bad, good)
    assert [answer.error.code for answer in answers] == [0, INVALID_ARGUMENT, 0]
    assert run(f"SELECT COUNT(*) FROM {dataset}.t") == [(2,)]


@pytest.mark.parametrize("name_stream", ["first", "always"])
def test_append_needs_the_stream_on_the_first_request_alone(append, run, dataset, name_stream):
    """Real BigQuery: `write_stream` is needed once; sending it always is allowed."""
    run(f"CREATE TABLE {dataset}.t (a INT64)")
    rows = pa.table({"a": pa.array([1, 2], pa.int64())})
    answers = append(f"{dataset}.t", rows, rows, rows, name_stream=name_stream)
    assert [answer.error.code for answer in answers] == [0, 0, 0]
    assert run(f"SELECT COUNT(*) FROM {dataset}.t") == [(6,)]


def test_append_cost_does_not_grow_with_the_table(append, run, dataset):
    """Real BigQuery: appends do not copy the table; here 500 rows take a few milliseconds."""
    run(f"CREATE TABLE {dataset}.t AS SELECT n FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS n")
    rows = pa.table({"n": pa.array(range(500), pa.int64())})
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        append(f"{dataset}.t", rows)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05  # the fastest: a busy machine delays some, but not all


def test_many_connections_append_while_queries_run(append, run, dataset):
    """Real BigQuery: streams and jobs do not disturb one another; no row is lost or doubled."""
    run(f"CREATE TABLE {dataset}.t (a INT64)")
    rows = pa.table({"a": pa.array(range(10), pa.int64())})
    failures = []

    def write() -> None:
        answers = append(f"{dataset}.t", *[rows] * 10)
        failures.extend(answer.error.message for answer in answers if answer.error.code)

    writers = [threading.Thread(target=write) for _ in range(12)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert run("SELECT 1 AS one, 'x' AS x") == [(1, "x")]
    assert failures == []
    assert run(f"SELECT COUNT(*), SUM(a) FROM {dataset}.t") == [(1200, 5400)]


def test_pending_streams_are_published_together(write_client, run, dataset):
    """Real BigQuery: rows of PENDING streams appear when all of them are committed, by name."""
    run(f"CREATE TABLE {dataset}.t (a INT64, b STRING)")
    table = f"projects/local/datasets/{dataset}/tables/t"
    rows = pa.table({"b": ["x"], "a": pa.array([1], pa.int64())})
    names = []
    for _ in range(2):
        wanted = types.WriteStream(type_=types.WriteStream.Type.PENDING)
        stream = write_client.create_write_stream(parent=table, write_stream=wanted)
        request = types.AppendRowsRequest(write_stream=stream.name, offset=0)
        request.arrow_rows.writer_schema.serialized_schema = rows.schema.serialize().to_pybytes()
        (batch,) = rows.to_batches()
        request.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
        (answer,) = write_client.append_rows(iter([request]))
        assert not answer.error.message
        write_client.finalize_write_stream(name=stream.name)
        names.append(stream.name)
    assert run(f"SELECT COUNT(*) FROM {dataset}.t") == [(0,)]
    committed = write_client.batch_commit_write_streams(
        types.BatchCommitWriteStreamsRequest(parent=table, write_streams=names)
    )
    assert not committed.stream_errors
    assert run(f"SELECT a, b FROM {dataset}.t") == [(1, "x"), (1, "x")]


UNSPECIFIED, NULL_VALUE, DEFAULT_VALUE = types.AppendRowsRequest.MissingValueInterpretation


@pytest.mark.parametrize(
    ("default", "by_column", "written"),
    [
        (UNSPECIFIED, {}, [(1, None, None), (2, 5, None)]),
        (NULL_VALUE, {}, [(1, None, None), (2, 5, None)]),
        (DEFAULT_VALUE, {}, [(1, 7, 9), (2, 5, 9)]),
        (DEFAULT_VALUE, {"sent": NULL_VALUE}, [(1, None, 9), (2, 5, 9)]),
        (DEFAULT_VALUE, {"not_sent": NULL_VALUE}, [(1, 7, None), (2, 5, None)]),
        (NULL_VALUE, {"sent": DEFAULT_VALUE}, [(1, 7, None), (2, 5, None)]),
    ],
)
def test_missing_values_are_interpreted(write_client, run, dataset, default, by_column, written):
    """Real BigQuery: requests say whether missing values are NULL or the default of their column."""
    run(
        f"CREATE TABLE {dataset}.t (id INT64, sent INT64 DEFAULT 7, not_sent INT64 DEFAULT 9, "
        "more STRING, big BIGNUMERIC, list ARRAY<STRUCT<big BIGNUMERIC>>)"
    )
    rows = pa.table({"id": pa.array([1, 2]), "sent": pa.array([None, 5], pa.int64())})
    stream = f"projects/local/datasets/{dataset}/tables/t/streams/_default"
    request = types.AppendRowsRequest(write_stream=stream)
    request.arrow_rows.writer_schema.serialized_schema = rows.schema.serialize().to_pybytes()
    (batch,) = rows.to_batches()
    request.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
    request.default_missing_value_interpretation = default
    request.missing_value_interpretations = by_column
    again = types.AppendRowsRequest()
    again.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
    again.missing_value_interpretations = by_column
    answers = write_client.append_rows(
        iter([request, again]), metadata=[("x-goog-request-params", f"write_stream={stream}")]
    )
    assert [answer.error.code for answer in answers] == [0, 0]
    found = run(f"SELECT id, sent, not_sent FROM {dataset}.t WHERE more IS NULL ORDER BY id")
    assert found == sorted([*written, *written])
