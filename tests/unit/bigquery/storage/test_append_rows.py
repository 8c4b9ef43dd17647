import math
import threading

import grpc
import pyarrow as pa
import pytest
from google.cloud.bigquery_storage_v1 import types

from etlkit import SinkError
from etlkit.bigquery.names import TableName
from etlkit.bigquery.storage import append_rows as module
from etlkit.bigquery.storage import append_window
from etlkit.bigquery.storage.append_rows import Appender
from etlkit.bigquery.storage.reconnect import RECONNECT
from etlkit.calls.backoff import BackoffPolicy
from etlkit.calls.clock import no_sleep

APPEND = "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows"
TABLE = TableName("p", "d", "out")


@pytest.fixture
def joining(monkeypatch):
    """A call of it sends each batch in a request of its own from now on, or joins them again."""
    whole = append_window.TARGET_BYTES

    def switch(*, on):
        monkeypatch.setattr(append_window, "TARGET_BYTES", whole if on else 0)

    switch(on=False)
    return switch


@pytest.fixture
def stored(service, joining):
    """Numbers in the order the server took them; `react(requests so far, numbers)` may interfere.

    Each batch is a request of its own.
    """
    rows = []
    state = {
        "requests": 0,
        "schemas": 0,
        "connections": 0,
        "not_sent": [],
        "sent": [],
        "react": lambda number, numbers: None,
    }

    def append(requests, context):
        schema = None
        state["connections"] += 1
        for request in requests:
            assert request.write_stream == f"{TABLE.path}/streams/_default"
            data = request.arrow_rows
            if data.writer_schema.serialized_schema:
                state["schemas"] += 1
                schema = pa.ipc.read_schema(pa.py_buffer(data.writer_schema.serialized_schema))
            batch = pa.ipc.read_record_batch(
                pa.py_buffer(data.rows.serialized_record_batch), schema
            )
            state["requests"] += 1
            state["not_sent"].append(request.default_missing_value_interpretation.name)
            state["sent"].append(dict(request.missing_value_interpretations))
            numbers = batch.column("n").to_pylist()
            answer = state["react"](state["requests"], numbers)
            if isinstance(answer, tuple):
                context.abort(*answer)
            if answer is not None:
                yield answer
                continue
            rows.extend(numbers)
            yield types.AppendRowsResponse(append_result={})

    service.calls = {APPEND: append}
    state["rows"] = rows
    return state


@pytest.fixture
def appender(connection, batch):
    made = Appender(connection.writer(), TABLE, batch(1).schema)
    yield made
    made.close()


def test_rows_are_durable_after_flush(appender, batch, stored):
    """All of them, in order, over one connection that sends its schema once."""
    for n in range(20):
        appender.append(batch(n))
    appender.flush()
    assert stored["rows"] == list(range(20))
    assert (stored["connections"], stored["schemas"]) == (1, 1)


def test_a_dropped_connection_loses_nothing(appender, batch, stored):
    """Everything unacknowledged is sent again: rows may come twice, but none is lost."""
    stored["react"] = lambda number, _: (
        (grpc.StatusCode.UNAVAILABLE, "reset") if number in {3, 7} else None
    )
    for n in range(10):
        appender.append(batch(n))
    appender.flush()
    assert set(stored["rows"]) == set(range(10))
    assert stored["connections"] == stored["schemas"] == 3


def test_an_idle_connection_that_was_closed_is_opened_again(appender, batch, stored):
    """The server closes a connection after 600 idle seconds; the next rows open another one."""
    stored["react"] = lambda number, _: (
        (grpc.StatusCode.ABORTED, "inactive for 600 seconds") if number == 2 else None
    )
    appender.append(batch(1))
    appender.flush()
    appender.append(batch(2))
    appender.flush()
    assert stored["rows"] == [1, 2]


def test_one_bad_row_is_refused_and_its_batch_is_not(appender, batch, stored):
    """The bad row is reported with BigQuery's reason; the others of its request are stored."""

    def refuse_three(number, numbers):
        bad = [i for i, n in enumerate(numbers) if n == 3]
        if not bad:
            return None
        errors = [{"index": i, "message": "Invalid geography", "code": 1} for i in bad]
        return types.AppendRowsResponse(
            error={"code": 3, "message": "row errors"}, row_errors=errors
        )

    stored["react"] = refuse_three
    appender.append(batch(1, 2, 3, 4))
    appender.append(batch(5))
    appender.flush()
    assert sorted(stored["rows"]) == [1, 2, 4, 5]
    (refused,) = appender.take_refused()
    assert (refused.row_id, refused.num_parts) == ("id3", 1)
    assert "Invalid geography" in refused.message
    assert appender.take_refused() == []


def test_a_refusal_ends_the_run(appender, batch, stored):
    """What another attempt cannot change is raised, at the latest by flush, and not repeated."""
    stored["react"] = lambda number, _: (grpc.StatusCode.PERMISSION_DENIED, "no access")
    appender.append(batch(1))
    with pytest.raises(SinkError, match=r"staging rows in p\.d\.out failed: .*no access"):
        appender.flush()
    assert stored["connections"] == 1


def test_an_outage_that_goes_on_ends_the_run(appender, batch, stored):
    """The number of attempts without an acknowledgement is bounded."""
    stored["react"] = lambda number, _: (grpc.StatusCode.UNAVAILABLE, "down")
    with no_sleep():
        appender.append(batch(1))
        with pytest.raises(SinkError, match="down"):
            appender.flush()
    assert stored["connections"] == RECONNECT.max_attempts


def test_progress_resets_the_number_of_attempts(appender, batch, stored):
    """A connection that breaks after every acknowledgement still brings all rows."""
    stored["react"] = lambda number, _: (
        (grpc.StatusCode.UNAVAILABLE, "reset") if number % 2 == 0 else None
    )
    with no_sleep():
        for n in range(30):
            appender.append(batch(n))
        appender.flush()
    assert set(stored["rows"]) == set(range(30))
    assert stored["connections"] > RECONNECT.max_attempts


def test_a_table_that_was_just_made_may_be_unknown_for_a_moment(appender, batch, stored):
    """NOT_FOUND is repeated while the table is new, and ends the run later."""
    stored["react"] = lambda number, _: (
        (grpc.StatusCode.NOT_FOUND, "no table") if number < 3 else None
    )
    with no_sleep():
        appender.append(batch(1))
        appender.flush()
        appender._opened_at -= module._NEW_TABLE_S
        stored["react"] = lambda number, _: (grpc.StatusCode.NOT_FOUND, "no table")
        appender.append(batch(2))
        with pytest.raises(SinkError, match="no table"):
            appender.flush()
    assert stored["rows"] == [1]


def test_close_ends_the_wait_between_two_attempts(appender, batch, stored, monkeypatch):
    """A run that ends does not wait for the next attempt."""
    policy = BackoffPolicy(first_wait_s=1e6, max_wait_s=1e6, max_total_s=math.inf)
    monkeypatch.setattr(module, "RECONNECT", policy)
    stored["react"] = lambda number, _: (grpc.StatusCode.UNAVAILABLE, "down")
    waits = threading.Event()
    monkeypatch.setattr("etlkit.calls.backoff.log.info", lambda *_: waits.set())
    appender.append(batch(1))
    assert waits.wait(timeout=30)
    appender.close()
    assert stored["connections"] == 1
    assert not appender._thread.is_alive()


def test_a_silent_connection_is_dropped(appender, batch, stored, monkeypatch):
    """A connection on which nothing is acknowledged is closed, and another one is opened."""
    monkeypatch.setattr(module, "_ACK_DEADLINE_S", 0.3)
    silence = threading.Event()
    stored["react"] = lambda number, _: silence.wait(timeout=20) and None if number == 1 else None
    appender.append(batch(1))
    appender.flush()
    silence.set()
    assert set(stored["rows"]) == {1}
    assert stored["connections"] >= 2  # more, if an answer takes this long on a busy machine


def test_the_window_is_bounded(appender, batch, stored, monkeypatch):
    """`append` waits while too much is unacknowledged."""
    monkeypatch.setattr(append_window, "_MAX_BATCHES", 4)
    gate = threading.Semaphore(0)
    stored["react"] = lambda number, _: gate.acquire(timeout=30) and None
    sent = []

    def send():
        for n in range(10):
            appender.append(batch(n))
            sent.append(n)

    sender = threading.Thread(target=send)
    sender.start()
    while stored["requests"] < 1 or len(sent) < 4:
        sender.join(timeout=0.01)
    assert len(sent) == 4
    for _ in range(10):
        gate.release()
    sender.join(timeout=30)
    appender.flush()
    assert stored["rows"] == list(range(10))


def test_rows_that_come_faster_than_they_are_stored_are_sent_together(
    appender, batch, stored, joining
):
    """While two requests are unanswered, batches wait; the next request has all of them."""
    joining(on=True)
    asked, gate, seen = threading.Semaphore(0), threading.Event(), []

    def hold(_number, numbers):
        seen.append(numbers)
        asked.release()
        assert gate.wait(30)

    stored["react"] = hold
    appender.append(batch(0))
    assert asked.acquire(timeout=30)
    appender.append(batch(1))
    for n in range(2, 100):
        appender.append(batch(n))
    gate.set()
    appender.flush()
    assert [n for numbers in seen for n in numbers] == list(range(100))
    assert len(seen) <= 3


def test_joined_requests_stay_small(appender, batch, stored, monkeypatch):
    """However many batches wait, a request has about as many bytes as is meant."""
    monkeypatch.setattr(append_window, "TARGET_BYTES", 10 * batch(0).nbytes)
    gate, seen = threading.Event(), []

    def hold(_number, numbers):
        seen.append(len(numbers))
        assert gate.wait(30)

    stored["react"] = hold
    for n in range(200):
        appender.append(batch(n))
    gate.set()
    appender.flush()
    assert stored["rows"] == list(range(200))
    assert 5 < max(seen) <= 10


def test_the_window_is_bounded_in_bytes(batch, monkeypatch):
    """Batches that wait count as much as those that are sent."""
    monkeypatch.setattr(append_window, "_MAX_BYTES", 10 * batch(0).nbytes)
    window = append_window.AppendWindow()
    while window.has_room:
        window.add(batch(1))
        window.next_request()
    assert not window.is_empty
    assert len(window.unacked) == 2
    window.acknowledge()
    assert window.has_room


def test_large_batches_are_split_between_source_rows(appender, stored, monkeypatch):
    """Requests stay small, and the parts of one source row stay together."""
    monkeypatch.setattr(module, "TARGET_BYTES", 400)
    seen = []
    stored["react"] = lambda number, numbers: seen.append(numbers)
    ids = [f"row{i // 3}" for i in range(30)]
    rows = pa.RecordBatch.from_pydict(
        {
            "_etlkit_row_id": ids,
            "_etlkit_part": [i % 3 for i in range(30)],
            "_etlkit_parts": [3] * 30,
            "n": list(range(30)),
        }
    )
    appender.append(rows)
    appender.flush()
    assert stored["rows"] == list(range(30))
    assert len(seen) > 2
    assert all(numbers[0] % 3 == 0 and len(numbers) % 3 == 0 for numbers in seen)


def test_a_row_larger_than_a_request_is_refused_alone(appender, batch, stored, monkeypatch):
    """BigQuery takes no request of 20 MB; the rows beside it are stored."""
    monkeypatch.setattr(module, "MAX_REQUEST_BYTES", 3000)
    monkeypatch.setattr(module, "TARGET_BYTES", 100)
    schema = pa.schema([*batch(1).schema, ("s", pa.string())])
    rows = [["x"], ["y" * 5000], ["z"]]
    appender._schema = schema.serialize().to_pybytes()
    columns = [*batch(1, 2, 3).columns, pa.array([text for (text,) in rows])]
    appender.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    appender.flush()
    assert sorted(stored["rows"]) == [1, 3]
    assert [refused.row_id for refused in appender.take_refused()] == ["id2"]


EXTRA_FIELDS = "Schema mismatch due to extra fields in user schema. Entity: projects/p/datasets/d"


def as_status(_number, _numbers):
    return grpc.StatusCode.INVALID_ARGUMENT, EXTRA_FIELDS


def as_response(_number, _numbers):
    message = "SCHEMA_MISMATCH_EXTRA_FIELDS: n"
    return types.AppendRowsResponse(error={"code": 3, "message": message})


@pytest.mark.parametrize("answer", [as_status, as_response])
def test_new_columns_of_an_old_table_may_be_unknown_for_minutes(connection, batch, stored, answer):
    """Right after ALTER TABLE the service is asked again, for about ten minutes."""
    stored["react"] = lambda number, numbers: answer(number, numbers) if number < 20 else None
    appender = Appender(connection.writer(), TABLE, batch(1).schema, is_altered=True)
    with no_sleep():
        appender.append(batch(1))
        appender.flush()
        assert stored["rows"] == [1]
        stored["react"] = answer
        appender.append(batch(2))
        with pytest.raises(SinkError, match=r"(?i)extra.fields"):
            appender.flush()
    appender.close()


@pytest.mark.parametrize("answer", [as_status, as_response])
def test_unknown_columns_of_a_table_that_was_not_altered(appender, batch, stored, answer):
    """There the same error is final."""
    stored["react"] = answer
    appender.append(batch(1))
    with pytest.raises(SinkError, match=r"(?i)extra.fields"):
        appender.flush()
    assert stored["connections"] == 1


@pytest.mark.parametrize(("fills", "expected"), [(False, "NULL_VALUE"), (True, "DEFAULT_VALUE")])
def test_columns_that_are_not_sent(connection, batch, stored, fills, expected):
    """Direct appends ask for the default value, staging for NULL; once a connection.

    A null that is sent stays NULL, which each request has to say.
    """
    appender = Appender(connection.writer(), TABLE, batch(1).schema, fills_defaults=fills)
    appender.append(batch(1))
    appender.append(batch(2))
    appender.flush()
    appender.close()
    assert stored["not_sent"] == [expected, "MISSING_VALUE_INTERPRETATION_UNSPECIFIED"]
    null = types.AppendRowsRequest.MissingValueInterpretation.NULL_VALUE
    assert stored["sent"] == [dict.fromkeys(batch(1).schema.names if fills else (), null)] * 2


def test_a_connection_that_breaks_while_nothing_is_sent_leaves_staging_ready(
    service, connection, batch
):
    """Nothing is waited for, so no acknowledgement would ever say that more rows may come."""
    opened, break_it = threading.Semaphore(0), threading.Event()
    connections = []

    def append(requests, context):
        connections.append(1)
        opened.release()
        for _ in requests:
            yield types.AppendRowsResponse(append_result={})
            if len(connections) == 1:
                assert break_it.wait(30)
                context.abort(grpc.StatusCode.UNAVAILABLE, "idle for too long")

    service.calls = {APPEND: append}
    appender = Appender(connection.writer(), TABLE, batch(1).schema)
    appender.append(batch(1))
    appender.flush()
    assert opened.acquire(timeout=30)
    assert appender.is_ready()
    break_it.set()
    assert opened.acquire(timeout=30)  # so the break was noticed
    assert appender.is_ready()
    appender.append(batch(2))
    appender.flush()
    appender.close()


def test_tells_which_rows_are_durable(connection, batch, stored):
    """Each batch once, when it is acknowledged; a connection that breaks before says nothing."""
    told = []
    stored["react"] = lambda number, _: (grpc.StatusCode.UNAVAILABLE, "") if number == 1 else None
    schema = batch(1).schema
    made = Appender(connection.writer(), TABLE, schema, on_durable=told.append)
    with no_sleep():
        made.append(batch(1, 2))
        made.append(batch(3))
        made.flush()
    made.close()
    assert [b.column("n").to_pylist() for b in told] == [[1, 2], [3]]
