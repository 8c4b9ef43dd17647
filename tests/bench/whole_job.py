"""A whole job beside a script of the same clients: `python -m tests.bench.whole_job`.

Both read the same table of photos from one local server, transform each row and replace a table with
the rows, one after the other in one process. The script does what a good engineer writes who does not
think of crashes: one query, one read stream, columns to lists and back, appends of about 4 MB, a
transaction at the end. It knows no row ids, no audit, no history and no resume.
"""

import argparse
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import requests
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob, local_world, run_job
from etlkit.api.run import Settings
from etlkit.bigquery.client import Connection
from tests.bench.figures import Figure

NUM_ROWS = 200_000
TIMES = 3
REQUEST_BYTES = 4 * 1024 * 1024
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PHOTOS = """
CREATE TABLE IF NOT EXISTS bench.photos_{n} AS
SELECT CONCAT('gs://bucket/photos/', CAST(i AS STRING), '.jpg') AS uri,
  1700000000000000 + i AS generation, 'image/jpeg' AS content_type, 100000 + i AS size,
  TO_HEX(MD5(CAST(i AS STRING))) AS md5_hash,
  TIMESTAMP_ADD(TIMESTAMP '2024-01-01', INTERVAL i SECOND) AS updated
FROM UNNEST(GENERATE_ARRAY(1, {n})) AS i
"""
QUERY = "SELECT uri, generation, content_type, size, md5_hash, updated FROM bench.photos_{n}"


class Etl(EtlBase):
    """Six columns in, seven out; the same function in both ways."""

    def transform_row(self, row):
        row["response"] = row["uri"] + "!"
        return row


def figures() -> list[Figure]:
    """The ratio of 200,000 rows."""
    with photos(NUM_ROWS) as connection:
        ours, by_hand = measure(connection, NUM_ROWS, TIMES)
    requests_of_a_run = ours[-1]["requests"]
    ratios = tuple(round(a["total"] / b["total"], 3) for a, b in zip(ours, by_hand, strict=True))
    fastest = [min(each, key=itemgetter("total")) for each in (ours, by_hand)]
    best = fastest[0]["total"] / fastest[1]["total"]
    profile = {
        f"{way}, {stage}": seconds / NUM_ROWS * 1e6
        for way, spent in zip(("etlkit", "by hand"), fastest, strict=True)
        for stage, seconds in spent.items()
        if stage not in {"total", "requests"}
    }
    return [
        Figure(
            key="whole_job.replace_200k",
            title="whole job on the local server, 200,000 rows, `replace`",
            value=round(best, 3),
            unit="x by hand",
            goal=1.3,
            beside={"a script of the same clients": 1.0},
            runs=ratios,
            profile=profile,
        ),
        Figure(
            key="whole_job.requests",
            title="REST requests of a run whose target exists",
            value=requests_of_a_run,
            unit="requests",
            beside={"a script of the same clients": by_hand[-1]["requests"]},
            runs=tuple(each["requests"] for each in ours),
        ),
    ]


@contextmanager
def photos(num_rows: int) -> Iterator[Connection]:
    """A local server of its own with the table of photos."""
    with tempfile.TemporaryDirectory() as folder, local_world(Path(folder) / ".etlkit"):
        connection = Connection(Settings(environ=dict(os.environ)), job_prefix="bench")
        connection.client.create_dataset("bench")
        connection.select(PHOTOS.format(n=num_rows))
        yield connection
        connection.close()


def measure(
    connection: Connection, num_rows: int, times: int
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Seconds and requests of each stage, `times` times each way, one after the other."""
    job = TransferJob(
        source=BigQuerySource(QUERY.format(n=num_rows)),
        transform=Etl,
        sink=BigQuerySink("bench.ours", mode="replace"),
        name="whole_job",
    )
    ours, by_hand = [], []
    for number in range(times + 1):
        with counted_requests() as asked:
            began = time.monotonic()
            report = run_job(job)
            total = time.monotonic() - began
        spent = {**report.seconds, "total": total, "requests": len(asked)}
        with counted_requests() as asked:
            hand = script(connection, num_rows)
        hand["requests"] = len(asked)
        if number:  # the first of each makes the target and imports modules
            ours.append(spent)
            by_hand.append(hand)
    published = "SELECT COUNT(*) AS n, COUNT(DISTINCT response) AS d FROM bench.{}"
    for name in ("ours", "by_hand"):
        assert connection.select(published.format(name)) == [{"n": num_rows, "d": num_rows}]
    return ours, by_hand


@contextmanager
def counted_requests() -> Iterator[list[str]]:
    """The REST requests of the block, by all clients of this process."""
    asked: list[str] = []
    send = requests.Session.send

    def counting(self, request, **options):
        asked.append(f"{request.method} {request.path_url}")
        return send(self, request, **options)

    requests.Session.send = counting
    try:
        yield asked
    finally:
        requests.Session.send = send


def script(connection: Connection, num_rows: int) -> dict[str, float]:
    """The hand-written way; gives the seconds of its stages."""
    marks = [time.monotonic()]
    client = connection.client
    query = client.query(QUERY.format(n=num_rows))
    query.result()
    marks.append(time.monotonic())
    reader, batches = read(connection, query.destination)
    fields = [bigquery.SchemaField(*each) for each in FIELDS]
    staging = client.create_table(bigquery.Table(f"{client.project}.bench.staging", fields))
    writer = connection.writer()
    append(writer, staging, (transformed(batch) for batch in batches))
    marks.append(time.monotonic())
    client.query(
        "CREATE TABLE IF NOT EXISTS bench.by_hand LIKE bench.staging; BEGIN TRANSACTION; "
        "TRUNCATE TABLE bench.by_hand; INSERT INTO bench.by_hand SELECT * FROM bench.staging; "
        "COMMIT TRANSACTION"
    ).result()
    client.delete_table(staging)
    for each in (reader, writer):
        each.transport.close()
    marks.append(time.monotonic())
    spent = [b - a for a, b in pairwise(marks)]
    return {"query": spent[0], "transform": spent[1], "publish": spent[2], "total": sum(spent)}


FIELDS = [
    ("uri", "STRING"),
    ("generation", "INT64"),
    ("content_type", "STRING"),
    ("size", "INT64"),
    ("md5_hash", "STRING"),
    ("updated", "TIMESTAMP"),
    ("response", "STRING"),
]
ARROW = pa.schema(
    [
        (name, {"STRING": pa.string(), "INT64": pa.int64()}.get(kind, pa.timestamp("us", "UTC")))
        for name, kind in FIELDS
    ]
)


def read(connection: Connection, table) -> tuple[object, Iterator[pa.RecordBatch]]:
    """The batches of a table, in one stream."""
    reader = connection.reader()
    session = reader.create_read_session(
        parent=f"projects/{connection.project}",
        read_session=types.ReadSession(
            table=f"projects/{table.project}/datasets/{table.dataset_id}/tables/{table.table_id}",
            data_format=types.DataFormat.ARROW,
        ),
        max_stream_count=1,
    )
    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
    messages = reader.read_rows(read_stream=session.streams[0].name)
    return reader, (
        pa.ipc.read_record_batch(
            pa.py_buffer(each.arrow_record_batch.serialized_record_batch), schema
        )
        for each in messages
    )


def transformed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns to lists, a dict for each row, the function, and lists to columns again."""
    transform, names = Etl().transform_row, ARROW.names
    columns = [values(column) for column in batch.columns]
    rows = [transform(dict(zip(names, each, strict=False))) for each in zip(*columns, strict=True)]
    arrays = [pa.array([row[field.name] for row in rows], field.type) for field in ARROW]
    return pa.RecordBatch.from_arrays(arrays, schema=ARROW)


def values(column: pa.Array) -> list[object]:
    """A column's values; times by their integers, the way that is ten times as fast."""
    if not pa.types.is_timestamp(column.type):
        return column.to_pylist()
    moments = column.cast(pa.timestamp("us", "UTC")).view(pa.int64()).to_pylist()
    return [None if each is None else EPOCH + timedelta(microseconds=each) for each in moments]


def append(writer, table, batches: Iterator[pa.RecordBatch]) -> None:
    """Append batches in requests of about 4 MB, four of them unanswered at most."""
    stream = f"projects/{table.project}/datasets/{table.dataset_id}/tables/{table.table_id}"
    stream += "/streams/_default"
    schema = types.ArrowSchema(serialized_schema=ARROW.serialize().to_pybytes())
    due: deque[object] = deque()

    def requests_of() -> Iterator[object]:
        data = types.AppendRowsRequest.ArrowData(writer_schema=schema)
        for payload in joined(batches):
            data.rows = types.ArrowRecordBatch(serialized_record_batch=payload)
            due.append(payload)
            yield types.AppendRowsRequest(write_stream=stream, arrow_rows=data)
            data = types.AppendRowsRequest.ArrowData()

    metadata = [("x-goog-request-params", f"write_stream={stream}")]
    for answer in writer.append_rows(requests_of(), metadata=metadata):
        assert not answer.error.code, answer
        due.popleft()
    assert not due


def joined(batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    """The batches as messages of about 4 MB."""
    parts, num_bytes = [], 0

    def payload() -> bytes:
        table = pa.Table.from_batches(parts).combine_chunks()
        return table.to_batches()[0].serialize().to_pybytes()

    for batch in batches:
        parts.append(batch)
        num_bytes += batch.nbytes
        if num_bytes >= REQUEST_BYTES:
            yield payload()
            parts, num_bytes = [], 0
    if parts:
        yield payload()


def main() -> None:
    """Print the stages of each run, and the requests of the last one."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=NUM_ROWS)
    arguments.add_argument("--times", type=int, default=TIMES)
    given = arguments.parse_args()
    print(f"load of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with photos(given.rows) as connection:
        for ours, by_hand in zip(*measure(connection, given.rows, given.times), strict=True):
            print("ours   ", shown(ours))
            print("by hand", shown(by_hand), f"   ratio {ours['total'] / by_hand['total']:.2f}")


def shown(spent: dict[str, float]) -> str:
    """One line."""
    return "  ".join(
        f"{name} {value:.0f}" if name == "requests" else f"{name} {value:.2f} s"
        for name, value in spent.items()
    )


if __name__ == "__main__":
    main()
