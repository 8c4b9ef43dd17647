"""Several read streams of a table at once."""

import threading

import grpc
import pyarrow as pa
import pytest
from google.api_core.exceptions import PermissionDenied
from google.cloud.bigquery_storage_v1 import types

from etlkit import ReadExpiredError
from etlkit.bigquery.names import TableName
from etlkit.bigquery.storage import side_by_side as module
from etlkit.bigquery.storage.read_rows import read_table

READ = "/google.cloud.bigquery.storage.v1.BigQueryRead/"
SCHEMA = pa.schema([("n", pa.int64())])
TABLE = TableName("p", "d", "t")
STREAMS, ROWS = 3, 10


def message(number):
    batch = pa.RecordBatch.from_pydict({"n": [number]}, schema=SCHEMA)
    rows = types.ArrowRecordBatch(serialized_record_batch=batch.serialize().to_pybytes())
    return types.ReadRowsResponse(arrow_record_batch=rows, row_count=1)


@pytest.fixture
def streams(service):
    """Three streams of ten rows; `before(stream, offset, context)` is called before each row."""
    state = {"before": lambda *_: None, "asked": [], "sent": 0}

    def create(request, context):
        schema = types.ArrowSchema(serialized_schema=SCHEMA.serialize().to_pybytes())
        state["max"] = request.max_stream_count
        names = [{"name": f"s/{number}"} for number in range(STREAMS)]
        return types.ReadSession(name="s", streams=names, arrow_schema=schema)

    def read(request, context):
        number = int(request.read_stream[-1])
        state["asked"].append((number, request.offset))
        for offset in range(request.offset, ROWS):
            state["before"](number, offset, context)
            state["sent"] += 1
            yield message(number * ROWS + offset)

    service.calls = {f"{READ}CreateReadSession": create, f"{READ}ReadRows": read}
    return state


def numbers(connection):
    for batch in read_table(connection, TABLE, max_streams=4):
        yield batch.column("n")[0].as_py()


def test_every_row_comes_once(connection, streams):
    """Whatever the order; those of one stream keep theirs."""
    found = [*numbers(connection)]
    assert streams["max"] == 4
    assert sorted(found) == list(range(STREAMS * ROWS))
    first = [n for n in found if n < ROWS]
    assert first == sorted(first)


def test_a_stream_that_stalls_does_not_stop_the_others(connection, streams):
    """Their rows come meanwhile."""
    go_on = threading.Event()
    streams["before"] = lambda number, *_: number == 0 and go_on.wait(30)
    rows = numbers(connection)
    meanwhile = [next(rows) for _ in range((STREAMS - 1) * ROWS)]
    assert sorted(meanwhile) == list(range(ROWS, STREAMS * ROWS))
    go_on.set()
    assert sorted(rows) == list(range(ROWS))


def test_a_stream_that_breaks_goes_on_at_its_own_offset(connection, streams):
    """The others go on as they are."""
    broken = []

    def break_once(number, offset, context):
        if (number, offset) == (1, 4) and not broken:
            broken.append(offset)
            context.abort(grpc.StatusCode.UNAVAILABLE, "reset")

    streams["before"] = break_once
    assert sorted(numbers(connection)) == list(range(STREAMS * ROWS))
    assert sorted(streams["asked"]) == [(0, 0), (1, 0), (1, 4), (2, 0)]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, ReadExpiredError),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
    ],
)
def test_the_error_of_one_stream_is_raised(connection, streams, code, kind):
    """The rows that nobody has seen are read again, or the run ends."""
    streams["before"] = lambda number, offset, context: (
        context.abort(code, "no") if (number, offset) == (2, 5) else None
    )
    with pytest.raises(kind):
        list(numbers(connection))


def test_what_waits_is_bounded_in_bytes(monkeypatch):
    """Streams wait for the reader, and end when it has gone."""
    size = len(message(1).arrow_record_batch.serialized_record_batch)
    monkeypatch.setattr(module, "_MAX_WAITING_BYTES", 5 * size)
    given, came, ended = [], threading.Semaphore(0), threading.Semaphore(0)

    def stream():
        try:
            for number in range(1000):
                given.append(number)
                came.release()
                yield message(number)
        finally:
            ended.release()

    messages = module.side_by_side([stream, stream])
    next(messages)
    for _ in range(7):  # five wait, and each stream has one in its hand
        assert came.acquire(timeout=30)
    next(messages)
    assert len(given) <= 5 + 2 + 2 + 1
    messages.close()
    assert all(ended.acquire(timeout=30) for _ in range(2))
    assert len(given) <= 5 + 2 + 2 + 1 + 2
