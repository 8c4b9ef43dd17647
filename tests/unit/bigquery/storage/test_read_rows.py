import grpc
import pyarrow as pa
import pytest
from google.api_core.exceptions import PermissionDenied
from google.cloud.bigquery_storage_v1 import types

from etlkit import ReadExpiredError
from etlkit.bigquery.names import TableName
from etlkit.bigquery.storage import read_rows as module
from etlkit.bigquery.storage.read_rows import read_table
from etlkit.calls.backoff import BackoffPolicy

READ = "/google.cloud.bigquery.storage.v1.BigQueryRead/"
SCHEMA = pa.schema([("n", pa.int64())])
TABLE = TableName("p", "d", "t")


def message(*numbers):
    batch = pa.RecordBatch.from_pydict({"n": list(numbers)}, schema=SCHEMA)
    rows = types.ArrowRecordBatch(serialized_record_batch=batch.serialize().to_pybytes())
    return types.ReadRowsResponse(arrow_record_batch=rows, row_count=len(numbers))


@pytest.fixture
def script(service):
    """Serve the numbers 0 to 9, two a message; `fail(offset)` says what to do before a message."""
    asked = []
    faults = {}

    def create(request, context):
        schema = types.ArrowSchema(serialized_schema=SCHEMA.serialize().to_pybytes())
        assert request.max_stream_count == 1
        return types.ReadSession(name="s", streams=[{"name": "s/1"}], arrow_schema=schema)

    def read(request, context):
        asked.append(request.offset)
        for start in range(request.offset, 10, 2):
            if start in faults:
                context.abort(*faults.pop(start))
            yield message(start, start + 1)

    service.calls = {f"{READ}CreateReadSession": create, f"{READ}ReadRows": read}
    return asked, faults


def read_all(connection):
    return [n for batch in read_table(connection, TABLE) for n in batch.column("n").to_pylist()]


def test_progress_resets_the_number_of_attempts(connection, script, monkeypatch):
    """Four breaks with progress between them are fine, although two attempts are the limit."""
    monkeypatch.setattr(module, "RECONNECT", BackoffPolicy(max_attempts=2, first_wait_s=0.001))
    asked, faults = script
    faults |= dict.fromkeys((2, 4, 6, 8), (grpc.StatusCode.UNAVAILABLE, "reset"))
    assert read_all(connection) == list(range(10))
    assert asked == [0, 2, 4, 6, 8]


def test_a_cut_stream_goes_on_at_its_offset(connection, script):
    """No row is lost and none comes twice, however often the stream breaks."""
    asked, faults = script
    faults |= {
        4: (grpc.StatusCode.UNAVAILABLE, "reset"),
        6: (grpc.StatusCode.INTERNAL, "RST_STREAM"),
        8: (grpc.StatusCode.DEADLINE_EXCEEDED, "slow"),
    }
    assert read_all(connection) == list(range(10))
    assert asked == [0, 4, 6, 8]


@pytest.mark.parametrize("code", [grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND])
def test_an_expired_session_says_so(connection, script, code):
    """Six hours after its start a session is over; the caller opens another one for the rest."""
    asked, faults = script
    faults[4] = (code, "session expired at 2026-11-23T09:59:13+00:00")
    batches = read_table(connection, TABLE)
    assert [next(batches).column("n").to_pylist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(ReadExpiredError, match="session expired at"):
        next(batches)
    assert asked == [0]


def test_a_refusal_is_not_repeated(connection, script):
    """What another attempt cannot change is raised at once."""
    asked, faults = script
    faults[0] = (grpc.StatusCode.PERMISSION_DENIED, "no")
    with pytest.raises(PermissionDenied):
        read_all(connection)
    assert asked == [0]
