"""Queue and sender together, against a server that fails; the journal is a list."""

import json
import threading
from collections import Counter, defaultdict

import pytest

from etlkit import ApiError, OutageError, RetryableError, RetryPolicy, RunTakenOverError, SinkError
from etlkit.bigquery.http_sink.answer import AnswerReader
from etlkit.bigquery.http_sink.body import Body
from etlkit.bigquery.http_sink.bundle import Item, key_of
from etlkit.bigquery.http_sink.request_queue import OUTSTANDING_PER_SLOT, RequestQueue
from etlkit.bigquery.http_sink.sender import RequestFormat, Sender
from etlkit.bigquery.http_sink.url import UrlTemplate
from etlkit.calls.connections import HttpPool
from etlkit.calls.run_calls import Calls
from etlkit.rows.columns import Column
from etlkit.testing import FaultPlan, FaultServer, no_sleep
from tests.loopback import answering

WAIT_S = 30.0
QUICK = RetryPolicy(attempt_timeout_s=5, first_wait_s=0.001, max_wait_s=0.002)


def numbered(*numbers, **more):
    return [
        Item(f"r{n}", 0, 1, 1, n, json.dumps({"n": n, **{k: v(n) for k, v in more.items()}}))
        for n in numbers
    ]


class World:
    """A queue that sends to a server.

    Attributes:
        recorded: Outcomes in the order in which they became durable.
        refused: Those with an error, as the writer learns of them.
    """

    def __init__(self, server, *, is_batch=False, errors_at=None, check=lambda: None,
                 success=range(200, 300), journal=None, policy=QUICK,
                 before_record=lambda outcomes: None, **options):  # fmt: skip
        self.recorded, self.refused = [], []
        self.calls = Calls(policy)
        self.pool = HttpPool(server.url, service="crm", max_idle=4)
        self.sender = Sender(
            RequestFormat(
                "POST",
                UrlTemplate(f"{server.url}/rows"),
                {"Content-Type": "application/json"},
                Body(None, is_batch=is_batch),
                "Idempotency-Key",
            ),
            AnswerReader(success, errors_at, keeps=True),
            self.pool,
            self.calls.caller("crm"),
            "run",
            check,
        )
        self.queue = RequestQueue(
            lambda items, record, in_flight: self.sender.send(
                items, lambda outcomes: (before_record(outcomes), record(outcomes)), in_flight
            ),
            journal or self.recorded.extend,
            self.calls,
            on_refused=self.refused.extend,
            **{"max_concurrency": 2, **options},
        )

    def send(self, *bundles):
        for items in bundles:
            self.queue.add(items, is_durable=True)

    def wait(self, *, has_refused=lambda: False):
        self.queue.wait(has_refused=has_refused, stop_timeout_s=WAIT_S)

    def outcomes(self):
        return {each.item.row_id: each for each in self.recorded}


class Api(FaultServer):
    """A server that ends after those who send to it."""

    def __init__(self, *args, **options):
        self.worlds = []
        super().__init__(*args, **options)

    def close(self):
        for world in self.worlds:
            world.queue.close(WAIT_S)
            world.pool.close()
        super().close()


@pytest.fixture
def start():
    """Make a world of a server; no thread of it may be left."""

    def make(server, **options):
        server.worlds.append(World(server, **options))
        return server.worlds[-1]

    yield make
    left = [thread.name for thread in threading.enumerate()]
    assert [name for name in left if name.startswith("etlkit-request")] == []


def api(handler=lambda body: body, plan=None, **options):
    def key(body):
        return body["n"] if isinstance(body, dict) else ",".join(str(row["n"]) for row in body)

    return Api(plan, routes={"/rows": handler}, item_key=key, **options)


def test_each_item_is_accepted_once_under_faults(start):
    """429 with hints, 5xx, resets, half answers: the same key again and again, one effect."""
    plan = FaultPlan.seeded(
        5, http_429=0.1, http_5xx=0.1, reset=0.05, truncate=0.05, disconnect=0.05, hint_s=0.01
    )
    with api(plan=plan) as server, no_sleep():
        world = start(server, max_concurrency=4)
        world.send(*([item] for item in numbered(*range(120))))
        world.wait()
        assert len(world.recorded) == len(server.accepted) == 120
        assert {each.name for each in world.recorded} == {"accepted"}
        assert set(server.requests_by_key) == set(server.accepted)
        assert server.max_in_flight <= 4
        assert len(server.faults) >= 4
    assert world.outcomes()["r7"].answer == '{"n":7}'
    assert world.outcomes()["r7"].status == 200


def test_a_refused_row_is_settled_with_its_error(start):
    """Status, the API's words and the number of attempts; the others are accepted."""

    def handler(body):
        return (422, {"message": "odd"}) if body["n"] % 2 else body

    with api(handler, FaultPlan.by_item({"1": ["503", "503"]})) as server:
        world = start(server)
        world.send(*([item] for item in numbered(*range(4))))
        world.wait()
    assert {i: each.name for i, each in world.outcomes().items()} == {
        "r0": "accepted",
        "r1": "refused",
        "r2": "accepted",
        "r3": "refused",
    }
    error = world.outcomes()["r1"].error
    assert (error.message, error.code, error.attempts) == (
        "crm refused the row with 422: odd",
        "422",
        3,
    )
    assert {each.item.row_id for each in world.refused} == {"r1", "r3"}


def test_a_row_whose_requests_keep_failing_is_settled(start):
    """The others were answered meanwhile, so it is the row."""
    plan = FaultPlan.by_item({"3": ["500"] * 99})
    with api(plan=plan) as server, no_sleep():
        world = start(server, policy=RetryPolicy(max_attempts=3, attempt_timeout_s=5))
        world.send(*([item] for item in numbered(*range(40))))
        world.wait()
    error = world.outcomes()["r3"].error
    assert (type(error).__name__, error.code, error.attempts) == ("CallFailedError", "500", 3)
    assert world.outcomes()["r3"].status == 500
    assert sum(each.error is None for each in world.recorded) == 39


def test_a_batch_that_is_refused_as_a_whole_is_halved(start):
    """Only the bad rows are refused; each half has its own key, in the order of the rows."""

    def handler(body):
        return (400, {"error": "bad"}) if any(row["n"] in {3, 6} for row in body) else body

    with api(handler) as server:
        world = start(server, is_batch=True)
        items = numbered(*range(8))
        world.send(items)
        world.wait()
        sent = [[row["n"] for row in body] for body in server.accepted.values()]
        assert sent == [[0, 1], [2], [4, 5], [7]]
        assert key_of("run", items[4:6]) in server.accepted
    assert [each.item.row_id for each in world.refused] == ["r3", "r6"]
    assert all(error.code == "400" for error in (each.error for each in world.refused))


def test_a_batch_that_kept_failing_is_not_halved(start):
    """It may have been applied, and halves have other keys: each row has an error of its own."""
    with api(plan=FaultPlan.by_item({"1,2": ["500"] * 9})) as server, no_sleep():
        world = start(server, is_batch=True, policy=RetryPolicy(max_attempts=2))
        world.send(numbered(3), numbered(1, 2), numbered(4))
        world.wait()
        assert sorted(len(body) for body in server.accepted.values()) == [1, 1]
    errors = [each.error for each in world.refused]
    assert [error.code for error in errors] == ["500", "500"]
    assert errors[0] is not errors[1]


def test_an_answer_settles_the_rows_of_a_batch_one_by_one(start):
    """Accepted, refused, and one that is sent again by itself until it is accepted."""
    asked = Counter()

    def handler(body):
        asked.update(row["n"] for row in body)
        return {"rows": [verdict(row["n"]) for row in body]}

    def verdict(n):
        if n == 1:
            return {"error": "bad"}
        return {"busy": True} if n == 2 and asked[2] < 3 else {"id": n}

    def errors_at(answer, rows):
        assert [row["n"] for row in rows] in ([0, 1, 2], [2])
        return [
            RetryableError("busy") if entry.get("busy") else entry.get("error")
            for entry in answer["rows"]
        ]

    with api(handler) as server:
        server._ask_once = lambda handler, parsed, key: handler(parsed)  # each answer is new
        world = start(server, is_batch=True, errors_at=errors_at)
        world.sender.columns = (Column("n", "INT64"),)
        world.send(numbered(0, 1, 2))
        world.wait()
    assert {i: each.name for i, each in world.outcomes().items()} == {
        "r0": "accepted",
        "r1": "refused",
        "r2": "accepted",
    }
    assert asked == {0: 1, 1: 1, 2: 3}


def test_a_status_can_be_told_to_be_a_success(start):
    """409: the row exists already."""
    with api(lambda _: (409, {"error": "exists"})) as server:
        world = start(server, success={200, 409})
        world.send(numbered(1))
        world.wait()
    (outcome,) = world.recorded
    assert (outcome.name, outcome.status) == ("accepted", 409)


def test_a_refused_key_ends_the_run(start):
    """Nothing is recorded for the rows in flight, and no further request begins."""
    with api(lambda _: (401, {})) as server:
        world = start(server, max_concurrency=1)
        world.send(*([item] for item in numbered(*range(9))))
        with pytest.raises(ApiError, match="check the key"):
            world.wait()
        with pytest.raises(ApiError):
            world.queue.check()
        world.queue.close(WAIT_S)
        assert server.calls <= OUTSTANDING_PER_SLOT
    assert world.recorded == []


def test_an_outage_that_lasts_ends_the_run(start):
    """Its rows have no outcome: a resume sends them again."""
    with api() as server, no_sleep():
        world = start(server, policy=RetryPolicy(max_outage_s=5))
        server.go_down()
        world.send(*([item] for item in numbered(*range(9))))
        with pytest.raises(OutageError):
            world.wait()
    assert world.recorded == []


@pytest.mark.parametrize("max_concurrency", [1, 4])
def test_an_outage_that_ends_costs_no_row(start, max_concurrency):
    """All requests wait, one at a time looks whether the API is back, and has a place to do so."""
    with api(outage_after=5, outage_s=0.3) as server:
        world = start(server, max_concurrency=max_concurrency)
        world.send(*([item] for item in numbered(*range(40))))
        world.wait()
        assert server.faults["outage"] > 0
    assert {each.name for each in world.recorded} == {"accepted"}
    assert len(world.recorded) == 40


def test_a_process_that_lost_its_run_makes_no_request(start):
    """It asks before each of them."""

    def check():
        raise RunTakenOverError("it is another one's now")

    with api() as server:
        world = start(server, check=check)
        world.send(numbered(1))
        with pytest.raises(RunTakenOverError):
            world.wait()
        assert server.calls == 0


def test_rows_with_the_same_key_go_in_order(start):
    """One after the other, also under retries, and in whatever batches; others side by side."""

    def keys_of(items):
        return frozenset(json.loads(item.text)["who"] for item in items)

    applied, lock = defaultdict(list), threading.Lock()

    def handler(body):
        with lock:
            for row in body:
                applied[row["who"]].append(row["n"])
        return body

    plan = FaultPlan.seeded(3, http_5xx=0.2, http_429=0.1, reset=0.1, hint_s=0.01)
    with api(handler, plan, latency_s=0.002) as server, no_sleep():
        world = start(server, is_batch=True, keys_of=keys_of, max_concurrency=4)
        items = numbered(*range(120), who=lambda n: n * n % 7)
        world.send(*(items[at : at + 3] for at in range(0, 120, 3)))
        world.wait()
        assert server.max_in_flight > 1
    assert len(world.recorded) == 120
    assert dict(applied) == {
        who: [n for n in range(120) if n * n % 7 == who] for who in (0, 1, 2, 4)
    }


def test_a_request_that_waits_for_its_retry_does_not_stop_others(start):
    """It gives its place away; with one place, all others go by."""
    plan, done, recorded = FaultPlan.by_item({"0": ["429 retry-after=300"]}), threading.Event(), []

    def journal(outcomes):
        recorded.extend(outcomes)
        if len(recorded) == 19:
            done.set()

    with api(plan=plan) as server:
        world = start(server, max_concurrency=1, policy=RetryPolicy(), journal=journal)
        world.send(*([item] for item in numbered(*range(20))))
        assert done.wait(WAIT_S)
        assert server.accepted.keys() == {f"run-1-r{n}" for n in range(1, 20)}


@pytest.mark.parametrize("max_concurrency", [1, 3])
def test_what_a_kill_may_repeat_is_bounded(start, max_concurrency):
    """While nothing is recorded, no more requests are made than in flight twice."""
    held, reached = threading.Event(), threading.Semaphore(0)
    most = max_concurrency * OUTSTANDING_PER_SLOT

    def handler(body):
        reached.release()
        return body

    def journal(outcomes):
        assert held.wait(WAIT_S)

    with api(handler) as server:
        world = start(server, max_concurrency=max_concurrency, journal=journal)
        world.send(*([item] for item in numbered(*range(30))))
        for _ in range(most):
            assert reached.acquire(timeout=WAIT_S)
        assert not reached.acquire(timeout=0.1)
        assert server.calls == most
        held.set()
        world.wait()
        assert server.calls == 30


def test_a_journal_that_fails_ends_the_run(start):
    """What cannot be recorded must not go on."""

    def journal(_):
        raise SinkError("no")

    with api() as server:
        world = start(server, journal=journal)
        world.send(*([item] for item in numbered(*range(30))))
        with pytest.raises(SinkError):
            world.wait()
        world.queue.close(WAIT_S)
        assert server.calls < 30


def test_rows_are_sent_when_they_are_staged(start):
    """Not before, and never if they could not be; the others of the batch go without them."""
    with api() as server:
        world = start(server, is_batch=True)
        first, second = numbered(0, 1, 2), numbered(3)
        for items in (first, second):
            world.queue.add(items, is_durable=False)
        world.queue.durable([("r0", 0), ("r1", 0), ("r9", 0)])
        world.queue.drop(["r3"])
        assert server.calls == 0
        world.queue.drop(["r2"])
        world.wait()
        assert list(server.accepted.values()) == [[{"n": 0}, {"n": 1}]]
        assert list(server.accepted) == [key_of("run", first[:2])]


def test_there_is_room_until_enough_rows_wait(start):
    """Then no more are transformed; the requests make room."""
    held = threading.Event()
    with api(lambda body: body) as server:
        world = start(server, journal=lambda _: held.wait(WAIT_S), max_rows=10, max_concurrency=1)
        assert world.queue.has_room
        world.send(*([item] for item in numbered(*range(20))))
        assert not world.queue.has_room
        held.set()
        world.wait()
        assert world.queue.has_room
        world.queue.wait_for_room()


def test_a_stop_lets_requests_in_flight_end(start):
    """They are recorded; those that wait are not sent."""
    reached, held = threading.Event(), threading.Event()

    def check():
        reached.set()
        assert held.wait(WAIT_S)

    with api() as server:
        world = start(server, max_concurrency=1, check=check)
        world.send(*([item] for item in numbered(*range(9))))
        assert reached.wait(WAIT_S)
        world.queue.ask_to_halt()
        held.set()
        world.wait()
        assert server.calls == len(world.recorded) == 1


def test_under_fail_nothing_begins_after_a_refused_row(start):
    """The run ends there; what is in flight is recorded. Also if the record comes late."""

    def others_have_ended(outcomes):
        if outcomes[0].error is not None:
            for thread in set(world.queue._threads) - {threading.current_thread()}:
                thread.join(WAIT_S / 6)

    with api(lambda body: (422, {}) if body["n"] == 1 else body) as server:
        world = start(server, max_concurrency=1, halts=True, before_record=others_have_ended)
        world.send(*([item] for item in numbered(*range(50))))
        world.wait()
        assert list(server.requests_by_key)[-1] == "run-1-r1"
    assert world.outcomes()["r1"].name == "refused"


def test_a_wait_ends_when_rows_are_refused(start):
    """So that a job with too many of them ends early."""
    with api(lambda _: (422, {})) as server:
        world = start(server)
        world.send(*([item] for item in numbered(*range(30))))
        world.wait(has_refused=lambda: bool(world.refused))
        assert world.refused


@pytest.mark.parametrize("errors_at", ["items[].error", "errors[index].message"])
def test_a_204_accepts_all_rows_of_a_request(start, errors_at):
    """It has no content, so there is nothing to read an error from, and nothing to ask for again."""
    with (
        answering(lambda asked: (204, {}, b"")) as server,
        api() as owner,  # ends what sends
    ):
        owner.url = server.url
        world = start(owner, is_batch=True, errors_at=errors_at)
        world.send(numbered(1, 2, 3))
        world.wait()
        assert [each.error for each in world.recorded] == [None] * 3
        assert len(server.asked) == 1
