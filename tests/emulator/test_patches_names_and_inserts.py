import socket
from urllib.parse import urlsplit

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud.bigquery import LoadJobConfig, QueryJobConfig, SchemaField

from etlkit.local.server.endpoints import KEEP_ALIVE_S


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT 1 AS n, 2 AS N", "N"),
        ("SELECT q.* FROM (SELECT 1 AS n, 2 AS N) AS q", "N"),
        ("SELECT 'id' AS i, q.* FROM (SELECT 1 AS n, 2 AS n, 3 AS x, 4 AS x) AS q", "n, x"),
        ("WITH q AS (SELECT 1 AS n, 2 AS n) SELECT * FROM q", "n"),
        ("WITH p AS (SELECT 1 AS n), q AS (SELECT n, n FROM p) SELECT * FROM q", "n"),
        ("SELECT * FROM {t} JOIN (SELECT 1 AS n) AS b ON TRUE", "n"),
        ("SELECT * FROM (SELECT 1 AS n, 2 AS n UNION ALL SELECT 3, 4)", "n"),
    ],
)
def test_duplicate_column_names_are_refused(bq, run, dataset, sql, names):
    """Real BigQuery: they are also refused in dry runs and in CREATE TABLE AS."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    sql = sql.format(t=f"{dataset}.t")
    message = (
        r"Duplicate column names in the result are not supported\. "
        rf"Found duplicate\(s\): {names}(?!\w)"
    )
    with pytest.raises(BadRequest, match=message) as refused:
        run(sql)
    (error,) = refused.value.errors
    assert error["reason"] == "invalidQuery"
    assert error["message"].startswith("Duplicate column names")
    with pytest.raises(BadRequest, match=message):
        bq.query(sql, job_config=QueryJobConfig(dry_run=True), retry=None, job_retry=None)
    for making in ("CREATE TABLE {t}2 AS {sql}", "SELECT 1; CREATE TABLE {t}2 AS {sql}"):
        with pytest.raises(BadRequest, match="CREATE TABLE has columns with duplicate name"):
            run(making.format(t=f"{dataset}.t", sql=sql))
    assert [table.table_id for table in bq.list_tables(dataset)] == ["t"]


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("SELECT q.x FROM (SELECT 1 AS n, 2 AS n, 3 AS x) AS q", (3,)),
        ("SELECT * EXCEPT (n) FROM (SELECT 1 AS n, 3 AS x) AS q", (3,)),
        ("SELECT * FROM {t} JOIN (SELECT 1 AS n, 2 AS m) AS b USING (n)", (1, 2)),
        ("SELECT @p AS a, q.* FROM (SELECT @p AS b) AS q", (7, 7)),
    ],
)
def test_inner_queries_may_have_duplicate_names(run, dataset, sql, row):
    """Real BigQuery: only the columns of the result itself must have different names."""
    from google.cloud.bigquery import ScalarQueryParameter

    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    seven = ScalarQueryParameter("p", "INT64", 7)
    assert run(sql.format(t=f"{dataset}.t"), query_parameters=[seven]) == [row]


def test_bytes_literals_hold_any_byte(run, dataset):
    """Real BigQuery: literals have hexadecimal, octal and named escapes, also in triple quotes."""
    assert run(r"""SELECT b'\xff\x00', B"\377a\n\\", b'''\'it's\t''', b'é', b'' """) == [
        (b"\xff\x00", b"\xffa\n\\", b"'it's\t", "é".encode(), b"")
    ]
    run(rf"CREATE TABLE {dataset}.t AS SELECT b'\x00' AS b")
    assert run(f"SELECT b FROM {dataset}.t WHERE b = b'\\x00'") == [(b"\x00",)]
    assert run(r"SELECT 1; SELECT b'\xfe'") == [(b"\xfe",)]


def test_insert_all_matches_by_name(bq, run, dataset):
    """Real BigQuery: the order of the fields does not matter, also after ALTER TABLE."""
    run(f"CREATE TABLE {dataset}.t (a STRING, b STRING)")
    run(f"ALTER TABLE {dataset}.t DROP COLUMN a")
    run(f"ALTER TABLE {dataset}.t ADD COLUMN a STRING")
    rows = [{"a": "1", "B": "2"}, {"b": "4"}]
    assert bq.insert_rows_json(f"{dataset}.t", rows) == []
    assert run(f"SELECT a, b FROM {dataset}.t ORDER BY b") == [("1", "2"), (None, "4")]


def test_insert_all_reports_errors_per_row(bq, run, dataset):
    """Real BigQuery: one bad row stops the others, unless bad rows are skipped."""
    run(f"CREATE TABLE {dataset}.t (a INT64 NOT NULL)")
    rows = [{"a": 1}, {"a": 2, "zz": 3}, {"a": "x"}, {}]
    found = bq.insert_rows_json(f"{dataset}.t", rows)
    assert [error["errors"][0]["reason"] for error in found] == ["stopped", *["invalid"] * 3]
    assert found[1]["errors"][0]["message"] == "no such field: zz."
    assert run(f"SELECT COUNT(*) FROM {dataset}.t") == [(0,)]
    found = bq.insert_rows_json(f"{dataset}.t", rows, skip_invalid_rows=True)
    assert [error["index"] for error in found] == [1, 2, 3]
    assert run(f"SELECT a FROM {dataset}.t") == [(1,)]


def test_load_job_takes_rows_from_the_client(bq, run, dataset):
    """Real BigQuery: `load_table_from_json` sends a file with the content type `*/*`."""
    schema = [SchemaField("n", "INTEGER"), SchemaField("s", "STRING")]
    rows = [{"s": "é\r", "n": 1}, {"n": 2, "s": None}]
    bq.load_table_from_json(
        rows, f"{dataset}.t", job_config=LoadJobConfig(schema=schema), num_retries=0
    ).result(timeout=30, retry=None)
    assert run(f"SELECT n, s FROM {dataset}.t ORDER BY n") == [(1, "é\r"), (2, None)]


def test_idle_connections_stay_open(local_server):
    """Real BigQuery: a connection survives a pause between two requests."""
    url = urlsplit(local_server.endpoints.bigquery)
    request = f"GET {url.path}/bigquery/v2/projects HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode()
    with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
        connection.sendall(request)
        assert b"200 OK" in connection.recv(65536)
    assert KEEP_ALIVE_S > 60
