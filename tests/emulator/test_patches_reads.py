from decimal import Decimal

import pyarrow as pa
import pytest
from google.api_core.exceptions import NotFound, OutOfRange

from etlkit.local.bigquery.patches.reads import MAX_MESSAGE_BYTES


def test_read_has_the_arrow_types_of_bigquery(run, dataset, read_table):
    """Real BigQuery: GEOGRAPHY is WKT and JSON text, both marked; BIGNUMERIC is decimal256."""
    run(
        f"CREATE TABLE {dataset}.t AS SELECT JSON '{{}}' AS j, ST_GEOGPOINT(1, 2) AS g, "
        "CAST('1.5' AS NUMERIC) AS n, CAST('1.5' AS BIGNUMERIC) AS bn, "
        "TIMESTAMP '2024-01-02 03:04:05+00' AS ts, DATETIME '2024-01-02 03:04:05' AS dt, "
        "TIME '01:02:03' AS tm, DATE '2024-01-02' AS da, 1 AS i, b'x' AS b, "
        "[STRUCT(ST_GEOGPOINT(1, 2) AS g, JSON '1' AS j, 1 AS i)] AS a"
    )
    rows = read_table(f"{dataset}.t")
    types = {field.name: field.type for field in rows.schema}
    nested = types.pop("a").value_type
    assert types == {
        "j": pa.string(),
        "g": pa.string(),
        "n": pa.decimal128(38, 9),
        "bn": pa.decimal256(76, 38),
        "ts": pa.timestamp("us", "UTC"),
        "dt": pa.timestamp("us"),
        "tm": pa.time64("us"),
        "da": pa.date32(),
        "i": pa.int64(),
        "b": pa.binary(),
    }
    assert [field.type for field in nested] == [pa.string(), pa.string(), pa.int64()]
    marks = {
        field.name: (field.metadata or {}).get(b"ARROW:extension:name") for field in rows.schema
    }
    assert (marks["j"], marks["g"], marks["dt"], marks["i"]) == (
        b"google:sqlType:json",
        b"google:sqlType:geography",
        b"google:sqlType:datetime",
        None,
    )
    (row,) = rows.to_pylist()
    assert row["g"] == "POINT(1 2)"
    assert row["bn"] == Decimal("1.5")
    assert row["a"] == [{"g": "POINT(1 2)", "j": "1", "i": 1}]


def test_read_of_an_empty_table_has_the_schema(run, dataset, read_table):
    """Real BigQuery: a session over no rows has a schema and no streams."""
    run(f"CREATE TABLE {dataset}.t (a INT64, s STRUCT<x JSON>)")
    rows = read_table(f"{dataset}.t")
    assert rows.num_rows == 0
    assert rows.schema.names == ["a", "s"]


def test_read_keeps_the_order_and_continues_at_an_offset(run, dataset, read_table):
    """Real BigQuery: a broken stream continues at the requested row."""
    run(f"CREATE TABLE {dataset}.t AS SELECT n FROM UNNEST(GENERATE_ARRAY(0, 49999)) AS n")
    assert read_table(f"{dataset}.t")["n"].to_pylist() == list(range(50000))
    assert read_table(f"{dataset}.t", offset=30001)["n"].to_pylist() == list(range(30001, 50000))
    with pytest.raises(OutOfRange):
        read_table(f"{dataset}.t", offset=50001)


def test_read_selects_columns_and_rows(run, dataset, read_table):
    """Real BigQuery: columns have the table's order, and rows match the restriction."""
    run(f"CREATE TABLE {dataset}.t AS SELECT n, n * 2 AS m, 'x' AS s FROM UNNEST([1, 2, 3]) AS n")
    rows = read_table(f"{dataset}.t", selected_fields=["m", "n"], row_restriction="n > 1")
    assert rows.to_pylist() == [{"n": 2, "m": 4}, {"n": 3, "m": 6}]


def test_read_returns_empty_arrays_instead_of_null(run, dataset, read_table):
    """Real BigQuery: an array column has no NULL."""
    run(f"CREATE TABLE {dataset}.t (k INT64, a ARRAY<INT64>)")
    run(f"INSERT INTO {dataset}.t (k) VALUES (1)")
    assert read_table(f"{dataset}.t")["a"].to_pylist() == [[]]


def test_read_messages_are_small(run, dataset, read_table):
    """Real BigQuery: messages have about 1 MB; clients accept 4 MB by default."""
    run(
        f"CREATE TABLE {dataset}.t AS "
        "SELECT REPEAT('x', 1000) AS s FROM UNNEST(GENERATE_ARRAY(1, 10000)) AS n"
    )
    rows = read_table(f"{dataset}.t")
    assert rows.num_rows == 10000
    assert max(batch.nbytes for batch in rows.to_batches()) <= MAX_MESSAGE_BYTES


def test_read_of_a_missing_table_is_not_found(dataset, read_table):
    """Real BigQuery: the error is NOT_FOUND and has the table's name."""
    with pytest.raises(NotFound, match=f"local:{dataset}.nope"):
        read_table(f"{dataset}.nope")
