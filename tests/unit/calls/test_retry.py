import itertools
import threading
from concurrent import futures

import grpc
import pytest
from google.api_core import exceptions as google_exceptions
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from etlkit import (
    ApiError,
    CallFailedError,
    ConfigError,
    EtlBase,
    JobError,
    OutageError,
    RateLimit,
    RetryableError,
    RetryPolicy,
    RowError,
    TransferJob,
)
from etlkit.api.run import Interrupted, RunRequest
from etlkit.calls import clock
from etlkit.calls.breaker import Breaker, CallState
from etlkit.calls.classify import from_grpc, from_http
from etlkit.calls.limits import Meter
from etlkit.calls.run_calls import Calls, caller
from etlkit.engine.transfer import run_transfer
from etlkit.testing import MemorySink, MemorySource, no_sleep

RETRY_INFO = b"type.googleapis.com/google.rpc.RetryInfo"


@pytest.fixture
def calls():
    """The calls of a run whose waits move the clock forward and take no time."""
    with no_sleep():
        yield Calls()


def failing(*errors, then="answer"):
    """An attempt that raises these errors, one after the other, and then works."""
    left = list(errors)

    def attempt(_timeout_s):
        if left:
            raise left.pop(0)
        return then

    return attempt


def always(**values):
    def attempt(_timeout_s):
        raise RetryableError("it fails", **values)

    return attempt


class Api:
    """A service that is down at times by the clock, and counts its calls."""

    def __init__(self, **failure):
        self.failure = failure
        self.down_until = float("-inf")
        self.down_after_calls = float("inf")
        self.poison = set()
        self.asked = []
        self._lock = threading.Lock()

    def go_down(self, seconds):
        self.down_until = clock.now() + seconds

    def attempt(self, n):
        with self._lock:
            self.asked.append(n)
        if n in self.poison or clock.now() < self.down_until:
            raise RetryableError("the service fails", **self.failure)
        return n * 2


def etl_for(api, concurrency=4):
    class Etl(EtlBase):
        max_concurrency = concurrency

        def before_action(self):
            self.api = caller("api")

        def transform_row(self, row):
            row["double"] = self.api.call(lambda _timeout_s: api.attempt(row["n"]))
            return row

    return Etl


def transfer(api, num_rows, *, sink=None, concurrency=4, resume=None, source=None, **options):
    job = TransferJob(
        source=source or MemorySource([{"n": i} for i in range(num_rows)]),
        transform=etl_for(api, concurrency),
        sink=sink or MemorySink("replace"),
        **options,
    )
    return run_transfer(job, RunRequest("test", resume=resume))


def doubled(sink):
    return [(row["n"], row["double"]) for row in sink.rows]


def test_only_what_is_transient_is_repeated(calls):
    """A RetryableError is retried; everything else is raised at once, unchanged."""
    api = calls.caller("api")
    assert api.call(failing(RetryableError("1"), RetryableError("2", status=503))) == "answer"
    assert (calls.meter.calls, calls.meter.retries) == (3, 2)
    for error in (ApiError("no", service="api", status=403), RowError("bad"), KeyError("k")):
        with pytest.raises(type(error)) as caught:
            api.call(failing(error))
        assert caught.value is error
    assert calls.meter.retries == 2


def test_every_attempt_gets_its_deadline(calls):
    """The policy's seconds reach the attempt, which sets them on its socket."""
    api = calls.caller("api", RetryPolicy(attempt_timeout_s=7))
    assert api.call(lambda timeout_s: timeout_s) == 7


@pytest.mark.parametrize(("hint_s", "waits_s"), [(40, 40), (4000, 100)])
def test_a_servers_hint_is_kept_up_to_a_bound(calls, hint_s, waits_s):
    """The wait is the larger of hint and jitter, and a hint of an hour is cut."""
    policy = RetryPolicy(first_wait_s=1, max_hint_s=100)
    before = clock.now()
    calls.caller("api", policy).call(failing(RetryableError("wait", retry_after_s=hint_s)))
    assert waits_s <= clock.now() - before < waits_s * 10


def test_attempts_are_bounded_and_travel_on_the_error(calls):
    """The last failure is the cause; its code says what it was."""
    api = calls.caller("api", RetryPolicy(max_attempts=3))
    with pytest.raises(CallFailedError, match="it fails, after 3 attempts") as caught:
        api.call(always(status=500))
    assert (caught.value.attempts, caught.value.code) == (3, "500")
    assert type(caught.value.__cause__) is RetryableError


def test_the_total_time_is_bounded(calls):
    """A wait that would exceed `max_total_s` is not begun."""
    api = calls.caller("api", RetryPolicy(max_total_s=50))
    with pytest.raises(CallFailedError) as caught:
        api.call(always(code="timeout", retry_after_s=20))
    assert caught.value.attempts == 3  # 20 + 20 s; the next wait would end after 60


@pytest.mark.parametrize("failure", [{"status": 503}, {"code": "timeout"}])
def test_a_poisonous_row_is_rejected_with_its_attempts(calls, failure):
    """Other rows are answered meanwhile, so only this row is rejected."""
    turn, answered = threading.Semaphore(0), threading.Semaphore(0)

    class Etl(EtlBase):
        max_concurrency = 2

        def transform_row(self, row):
            if row["n"] == 0:
                try:
                    return caller("api").call(self.poison)
                finally:
                    turn.release(100)  # from here on, the others need not take turns with it
            turn.acquire(timeout=30)
            row["answer"] = caller("api").call(failing())
            answered.release()
            return row

        def poison(self, _timeout_s):
            turn.release()
            answered.acquire(timeout=30)
            raise RetryableError("bad row", **failure)

    sink = MemorySink("replace")
    job = TransferJob(
        source=MemorySource([{"n": i} for i in range(50)]),
        transform=Etl,
        sink=sink,
        on_row_error="reject",
        retry=RetryPolicy(max_attempts=4),
    )
    report = run_transfer(job, RunRequest("test"))
    assert [row["n"] for row in sink.rows] == list(range(1, 50))
    rejected = [(r.error_class, r.code, r.attempts) for r in sink.rejects]
    assert rejected == [("CallFailedError", str(next(iter(failure.values()))), 4)]
    assert (report.calls, report.retries, report.rejected) == (53, 3, 1)


@pytest.mark.parametrize("concurrency", [1, 2, 16])
def test_an_outage_costs_its_time_and_no_row(calls, concurrency):
    """In an outage of a minute every caller pauses, few calls are wasted, and every row is written."""
    api, sink = Api(status=503), MemorySink("replace")
    api.go_down(60)
    before = clock.now()
    report = transfer(api, 300, sink=sink, concurrency=concurrency, on_row_error="reject")
    assert doubled(sink) == [(n, n * 2) for n in range(300)]
    assert (report.rejected, report.calls) == (0, len(api.asked))
    assert 60 <= clock.now() - before < 180  # a lone caller may sit in its own wait at the end
    assert report.retries < 30 + concurrency


def test_a_long_outage_ends_the_run_which_can_be_resumed(calls):
    """No row is rejected: finished rows are kept, and a resume pays only for the rest."""
    api, sink = Api(code="unreachable"), MemorySink("replace")
    source = MemorySource([{"n": i} for i in range(100)])
    answer = api.attempt

    def down_after_40(n):
        if len(api.asked) == 40:
            api.go_down(10_000)
        return answer(n)

    api.attempt = down_after_40
    policy = RetryPolicy(max_outage_s=30)
    options = {"sink": sink, "source": source, "retry": policy, "on_row_error": "reject"}
    with pytest.raises(OutageError, match=r"api has failed for .* max_outage_s=30") as caught:
        transfer(api, 100, **options)
    report = caught.value.report
    assert (report.state, report.rejected, sink.rows) == ("failed", 0, [])
    api.down_until, settled = clock.now(), report.read
    assert 0 < settled <= 40
    again = transfer(api, 100, resume=report.run_id, **options)
    assert (again.resumed, again.calls, again.written) == (settled, 100 - settled, 100)
    assert sorted(doubled(sink)) == [(n, n * 2) for n in range(100)]


def test_an_answer_between_failure_and_decision_opens_no_breaker():
    """An answer to another call just before a failure is judged means no pause and no decision."""
    breaker = Breaker("api", 100)
    call, error = CallState(1), RetryableError("busy", status=503)
    breaker.failed(call, error, 0.0)
    breaker.succeeded()
    assert breaker.blames_service(call, error, 0.0)
    assert not breaker.is_open
    breaker.failed(call, error, 0.0)
    breaker.succeeded()
    breaker.failed(call, error, 0.0)
    assert not breaker.blames_service(call, error, 0.0)  # twice by now: it is the row


def test_one_worker_alone_cannot_tell_a_poisonous_row_from_an_outage(calls):
    """A 500 may be caused by the row, so it is given up; but only one row pays for that doubt."""
    api, sink = Api(status=500), MemorySink("replace")
    api.poison = {3}
    transfer(api, 10, sink=sink, concurrency=1, on_row_error="reject")
    assert [r.attempts for r in sink.rejects] == [8]
    api.poison = set(range(3, 10))
    with pytest.raises(OutageError) as caught:
        transfer(api, 10, concurrency=1, on_row_error="reject")
    assert (caught.value.report.row_errors, caught.value.report.read) == (1, 4)


def test_waits_end_when_another_worker_fails():
    """One worker waits five minutes for a server's hint, and the other ends the run: none hangs."""
    waits = threading.Event()

    class Etl(EtlBase):
        max_concurrency = 2

        def transform_row(self, row):
            if row["n"] == 0:
                caller("api").call(self.throttled)
            waits.wait(timeout=60)
            raise JobError("the other one")

        def throttled(self, _timeout_s):
            waits.set()
            raise RetryableError("later", retry_after_s=300)

    job = TransferJob(
        source=MemorySource([{"n": 0}, {"n": 1}]), transform=Etl, sink=MemorySink("replace")
    )
    with pytest.raises(JobError, match="the other one"):
        run_transfer(job, RunRequest("test"))
    assert [t.name for t in threading.enumerate() if t.name.startswith("etlkit-worker")] == []


@pytest.mark.parametrize("failure", [{"status": 503, "retry_after_s": 250}, {"status": 503}])
def test_waits_end_when_the_run_is_asked_to_stop(failure):
    """Ctrl-C ends the waits of all workers, for a hint or for the service to be back."""
    everyone = threading.Barrier(3)
    runs, calls = [], itertools.count()

    class Etl(EtlBase):
        max_concurrency = 3

        def transform_row(self, row):
            return caller("api").call(self.fails)

        def fails(self, _timeout_s):
            if next(calls) < 3 and everyone.wait(timeout=60) == 0:
                runs[0].request_stop(2)
            raise RetryableError("down", **failure)

    job = TransferJob(
        source=MemorySource([{"n": i} for i in range(9)]),
        transform=Etl,
        sink=MemorySink("replace"),
    )
    with pytest.raises(Interrupted) as caught:
        run_transfer(job, RunRequest("test"), on_start=runs.append)
    assert caught.value.report.state == "interrupted"
    assert [t.name for t in threading.enumerate() if t.name.startswith("etlkit-worker")] == []


def test_retries_are_a_fifth_of_recent_calls_beyond_a_floor(calls):
    """If every other call fails once, retries wait for enough calls or for enough time."""
    api = calls.caller("api", RetryPolicy(first_wait_s=1e-9))
    before = clock.now()
    for _ in range(2000):
        api.call(failing(RetryableError("now and then", status=500)))
    floor_s = (clock.now() - before) * 2
    assert calls.meter.retries == 2000
    assert calls.meter.retries <= 20 + 0.2 * calls.meter.calls + floor_s
    assert floor_s > 1000  # they did have to wait


def test_threads_of_one_run_share_a_caller():
    """Health and limits of a service belong to the run; another run has its own."""
    seen = set()

    class Etl(EtlBase):
        max_concurrency = 4

        def transform_row(self, row):
            seen.add(caller("api"))
            return row

    for _ in range(2):
        job = TransferJob(
            source=MemorySource([{"n": i} for i in range(40)]),
            transform=Etl,
            sink=MemorySink("replace"),
        )
        run_transfer(job, RunRequest("test"))
    assert len(seen) == 2
    assert caller("api") not in seen
    assert caller("api") is caller("api")


@pytest.mark.parametrize(
    "options", [{"max_attempts": 0}, {"max_attempts": 2.5}, {"max_wait_s": -1}, {"max_total_s": 0}]
)
def test_a_policy_that_cannot_work_is_refused(options):
    """The error names the value."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        RetryPolicy(**options)


@pytest.mark.parametrize(
    ("status", "headers", "body", "hint_s"),
    [
        (503, {}, b"<html>down", None),
        (429, {"Retry-After": "7"}, b"", 7),
        (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"", 0),
        (429, {"Retry-After": "soon"}, b"", None),
        (
            429,
            {"Retry-After": "1"},
            b'{"error": {"details": [{"@type": "%b", "retryDelay": "2.5s"}]}}' % RETRY_INFO,
            2.5,
        ),
        (409, {}, b'{"error": {"status": "ABORTED"}}', None),
        (403, {}, b'{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}', None),
        (500, {}, b'[{"error": {"status": "INTERNAL", "details": "odd"}}]', None),
    ],
)
def test_transient_http_answers(status, headers, body, hint_s):
    """Status, Google's code and hints are read in every form."""
    error = from_http(status, headers, body, "api", "/v1/x")
    assert type(error) is RetryableError
    assert error.retry_after_s == hint_s


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 501])
def test_permanent_http_answers(status):
    """Google's message is shown, but nothing else of the body."""
    body = b'{"error": {"message": "no such method", "secret": "sk-1"}}'
    error = from_http(status, {}, body, "api", "/v1/x")
    assert (type(error), error.status, error.reason) == (ApiError, status, "no such method")
    assert "sk-1" not in repr(error)


class Refusing(grpc.GenericRpcHandler):
    """Ends every call with a status and trailing metadata."""

    def __init__(self, code, in_details, in_metadata):
        self._code, self._details, self._metadata = code, in_details, in_metadata

    def service(self, _details):
        def refuse(_request, context):
            if self._metadata is not None:
                info = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=self._metadata))
                context.set_trailing_metadata(
                    (("google.rpc.retryinfo-bin", info.SerializeToString()),)
                )
            if self._details is None:
                context.abort(self._code, "said no")
            detail = AnyMessage()
            detail.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=self._details)))
            status = status_pb2.Status(
                code=self._code.value[0], message="said no", details=[detail]
            )
            context.abort_with_status(rpc_status.to_status(status))

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.mark.parametrize("wrapped", [False, True], ids=["grpc", "google.api_core"])
@pytest.mark.parametrize(
    ("code", "in_details", "in_metadata", "kind", "expected"),
    [
        ("UNAVAILABLE", None, None, RetryableError, None),
        ("RESOURCE_EXHAUSTED", 9, None, RetryableError, 9),
        ("RESOURCE_EXHAUSTED", None, 4, RetryableError, 4),
        ("DEADLINE_EXCEEDED", None, None, RetryableError, None),
        ("INTERNAL", None, None, RetryableError, None),
        ("ABORTED", None, None, RetryableError, None),
        ("INVALID_ARGUMENT", None, None, ApiError, 400),
        ("PERMISSION_DENIED", None, None, ApiError, 403),
        ("UNAUTHENTICATED", None, None, ApiError, 401),
        ("NOT_FOUND", None, None, ApiError, 404),
        ("UNKNOWN", None, None, ApiError, 500),
    ],
)
def test_grpc_answers(code, in_details, in_metadata, kind, expected, wrapped):
    """The errors of a real server, as gRPC raises them and as Google's clients do."""
    server = grpc.server(
        futures.ThreadPoolExecutor(1),
        handlers=[Refusing(grpc.StatusCode[code], in_details, in_metadata)],
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with (
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary("/a/b")(b"", timeout=30)
    server.stop(None).wait()
    raised = caught.value
    error = from_grpc(google_exceptions.from_grpc_error(raised) if wrapped else raised, "api")
    assert type(error) is kind
    assert code in error.message
    assert (error.retry_after_s if kind is RetryableError else error.status) == expected


def test_other_errors_of_a_client_stay_what_they_are():
    """A broken connection of the REST transport is transient; a bug of the user stays a bug."""
    import requests

    assert from_grpc(requests.ConnectionError("https://host/?key=sk-1"), "api").code == "reset"
    assert from_grpc(requests.Timeout("sk-1"), "api").message == "api: Timeout"
    bug = TypeError("wrong argument")
    assert from_grpc(bug, "api") is bug


def test_a_part_has_its_own_rate_and_counts_in_the_whole():
    """Its calls are past the caps, and its units are nobody's; it ends when the run ends."""
    calls = Calls(RetryPolicy(max_attempts=2), RateLimit("1/h"), Meter(max_calls=1))
    part = calls.part(None, RateLimit("1000/s"))
    caller = part.caller("api")
    assert caller.policy == RetryPolicy(max_attempts=2)
    assert [caller.call(str) for _ in range(3)] == ["60.0"] * 3
    assert (calls.meter.calls, calls.meter.units, part.meter.units) == (3, 0, 3)
    calls.stop()
    with pytest.raises(clock.Stopped):
        part.stopping.check()
