import itertools
import logging
import math
import threading

import pytest

from etlkit import (
    CapReachedError,
    ConfigError,
    EtlBase,
    RateLimit,
    RetryableError,
    TransferJob,
)
from etlkit.api.run import RunRequest
from etlkit.calls import clock
from etlkit.calls.limits import Limiter
from etlkit.calls.run_calls import caller
from etlkit.engine.estimate import estimate
from etlkit.engine.transfer import run_transfer
from etlkit.engine.transform_spec import TransformSpec
from etlkit.testing import MemorySink, MemorySource, no_sleep


@pytest.fixture(autouse=True)
def _no_sleep():
    with no_sleep():
        yield


class Etl(EtlBase):
    max_concurrency = 8

    def transform_row(self, row):
        row["answer"] = caller("api").call(lambda _timeout_s: row["n"])
        return row


def job_of(num_rows, **options):
    parts = {
        "source": MemorySource([{"n": i} for i in range(num_rows)]),
        "transform": Etl,
        "sink": MemorySink("replace"),
    }
    return TransferJob(**{**parts, **options})


def transfer(job, resume=None):
    return run_transfer(job, RunRequest("test", resume=resume))


@pytest.mark.parametrize(
    ("text", "per_s"),
    [("30/s", 30), ("1800/min", 30), ("1,800 / min", 30), ("36_000/h", 10), ("86400/day", 1)],
)
def test_a_rate_is_a_number_and_a_period(text, per_s):
    """Spaces and separators are allowed."""
    assert RateLimit(text).per_s == per_s


@pytest.mark.parametrize("text", ["fast", "30", "30/sec", "0/s", "-1/s", "/min", "", "nan/s"])
def test_a_wrong_rate_is_refused_with_the_allowed_periods(text):
    """A job refuses it, too."""
    with pytest.raises(ConfigError, match="one of s, min, h, day"):
        job_of(1, rate_limit=text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_limit": 30}, "object of type int.*'1800/min'"),
        ({"retry": 3}, "needs a RetryPolicy"),
        ({"max_calls": 0}, "max_calls=0: it is a whole number, 1 or more"),
        ({"max_cost": 5.0}, "max_cost=5.0 needs price_per_unit"),
        ({"max_cost": -1, "price_per_unit": 1}, "max_cost=-1: it is 0 or more"),
        ({"price_per_unit": -1}, "price_per_unit=-1: it is 0 or more"),
        ({"price_per_unit": float("nan")}, "it is 0 or more"),
    ],
)
def test_a_job_with_wrong_limits_is_refused(options, message):
    """Before any I/O."""
    with pytest.raises(ConfigError, match=message):
        job_of(1, **options)


def test_all_threads_share_a_rate_and_retries_count():
    """100 calls and as many retries at 10 a second: no second has more than ten."""
    starts, failed, lock = [], set(), threading.Lock()

    class Twice(EtlBase):
        max_concurrency = 8

        def transform_row(self, row):
            return caller("api").call(lambda _timeout_s: self.once(row))

        def once(self, row):
            with lock:
                starts.append(clock.now())
                if row["n"] not in failed:
                    failed.add(row["n"])
                    raise RetryableError("once", status=500)
            return row

    report = transfer(job_of(100, transform=Twice, rate_limit="10/s"))
    assert (report.calls, report.retries) == (200, 100)
    assert max(starts) - min(starts) > 19.8  # 199 gaps of 0.1 s
    assert starts[-1] - starts[0] > 19


def test_a_rate_per_unit_counts_what_is_billed():
    """Ten calls of 16 units at 16 units a second take nine seconds, first to last."""
    limiter = Limiter(RateLimit("16/s", per="unit"), clock.Stop())
    before = clock.now()
    for _ in range(10):
        limiter.wait(16)
    assert 9 <= clock.now() - before < 10 * 16


def test_turns_are_taken_in_the_order_of_asking():
    """Each caller waits for its own slot, so none starves."""
    limiter = Limiter(RateLimit("1/s"), clock.Stop())
    slots = []
    for _ in range(5):
        limiter.wait(1)
        slots.append(clock.now())
    gaps = [after - before for before, after in itertools.pairwise(slots)]
    assert all(gap > 0.99 for gap in gaps)


def turns(limiter, number):
    """The next turns, in seconds from now."""
    return [max(0.0, limiter.reserve(1) - clock.now()) for _ in range(number)]


def test_turns_that_have_not_come_are_void_when_the_rate_changes():
    """What the first of them had waited for counts at the new rate."""
    limiter = Limiter(RateLimit("1/s"), clock.Stop())
    assert turns(limiter, 4) == pytest.approx([0, 1, 2, 3], abs=0.01)
    clock.skip_to(clock.now() + 0.5)
    limiter.set_rate(0.1)
    assert turns(limiter, 2) == pytest.approx([5, 15], abs=0.1)
    limiter.set_rate(100.0)
    assert turns(limiter, 2) == pytest.approx([0.005, 0.015], abs=0.01)


def test_a_rate_of_nothing_lets_no_call_through_and_keeps_what_was_used():
    """A worker that is granted nothing, and then something again."""
    limiter = Limiter(RateLimit("1/s"), clock.Stop())
    assert turns(limiter, 1) == [0]
    limiter.set_rate(0.0)
    assert limiter.reserve(1) == math.inf
    limiter.throttled(1)
    clock.skip_to(clock.now() + 10)
    limiter.set_rate(0.5)
    assert turns(limiter, 2) == pytest.approx([2, 4], abs=0.1)


def test_a_service_that_refuses_never_makes_a_rate_faster_than_declared():
    limiter = Limiter(RateLimit("1/min"), clock.Stop())
    for _ in range(20):
        limiter.wait(1)
        limiter.throttled(1)
    assert limiter.per_s <= 1 / 60


def send(limiter, num_calls, refuse_every, within_s):
    """Send calls evenly over some seconds; every n-th is refused."""
    begun = clock.now()
    for number in range(1, num_calls + 1):
        clock.skip_to(begun + within_s * number / num_calls)
        limiter.wait(1)
        if number % refuse_every == 0:
            limiter.throttled(1)


@pytest.mark.parametrize("limit", [RateLimit("100/s"), None], ids=["declared", "undeclared"])
def test_many_429s_slow_all_down_to_what_the_server_takes(limit):
    """If half of 50 calls a second are refused, 25 a second are allowed, then slowly more."""
    limiter = Limiter(limit, clock.Stop())
    full = limiter.per_s
    send(limiter, 52, refuse_every=2, within_s=1.04)
    assert limiter.per_s == pytest.approx(25, rel=0.1)
    before = clock.now()
    while limiter.per_s < 50:
        limiter.wait(1)
    assert clock.now() - before > 6.9  # 25 to 50 at a tenth a second
    while limiter.per_s < full:  # nobody needs half of it any more
        clock.skip_to(clock.now() + 1)
        limiter.wait(1)


def test_a_burst_of_refusals_is_one_overload():
    """64 calls that are refused at the same moment slow the rate down once, not 64 times."""
    limiter = Limiter(RateLimit("100/s"), clock.Stop())
    send(limiter, 64, refuse_every=100, within_s=1.0)
    for _ in range(64):
        limiter.throttled(1)
    assert limiter.per_s > 30


@pytest.mark.parametrize("limit", [RateLimit("100/s"), None], ids=["declared", "undeclared"])
def test_a_few_429s_do_not_slow_other_calls_down(limit):
    """If one call in ten is refused at any rate, its own wait is enough."""
    limiter = Limiter(limit, clock.Stop())
    full = limiter.per_s
    send(limiter, 1000, refuse_every=10, within_s=10.0)
    assert limiter.per_s == full


def test_a_cap_on_calls_is_never_passed():
    """Eight threads make exactly 50 calls; their results are kept, and a resume continues."""
    source = MemorySource([{"n": i} for i in range(120)])
    job = job_of(0, source=source, max_calls=50)
    with pytest.raises(CapReachedError, match="max_calls=50 is reached") as caught:
        transfer(job)
    report = caught.value.report
    assert (report.state, report.calls, report.read) == ("failed", 50, 50)
    with pytest.raises(CapReachedError) as caught:
        transfer(job, resume=report.run_id)
    assert (caught.value.report.calls, caught.value.report.resumed) == (50, 50)
    last = transfer(job, resume=report.run_id)
    assert (last.calls, last.resumed, last.written) == (20, 100, 120)
    # Of two rows that are at work, the second may get the last call; the first comes with the resume.
    assert sorted(row["answer"] for row in job.sink.rows) == list(range(120))


@pytest.mark.parametrize("batched", [False, True], ids=["rows", "batches"])
def test_a_cap_ends_the_run_although_the_transform_catches_everything(batched):
    """Otherwise the rest of the table would be published as rows with errors."""

    def ask(row):
        try:
            row["answer"] = caller("api").call(lambda _timeout_s: row["n"])
        except Exception as error:
            row["answer"] = repr(error)
        return row

    rows = {"transform_row": lambda _self, row: ask(row)}
    batches = {"transform_batch": lambda _self, rows: list(map(ask, rows)), "batch_size": 5}
    etl = type("Lenient", (EtlBase,), {"max_concurrency": 4, **(batches if batched else rows)})
    with pytest.raises(CapReachedError) as caught:
        transfer(job_of(100, transform=etl, max_calls=30))
    report = caught.value.report
    assert (report.state, report.calls, report.row_errors) == ("failed", 30, 0)
    assert report.read <= 30


def _row(answer, row):
    return {**row, "answer": answer}


def _nothing_if_refused(answer, row):
    return None if answer is None else _row(answer, row)


def _parts(answer, row):
    yield _row(answer, row)


def _from_a_generator(ask):
    def transform_row(_self, row):
        yield _row(ask(row), row)

    return transform_row


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("made", [_row, _nothing_if_refused, _parts, None])
def test_a_row_whose_call_was_refused_has_no_outcome_whatever_came_back(made, declared, workers):
    """A resume calls for it: also where rows are fast, skipped, or made by a generator."""

    def ask(row):
        try:
            return caller("api").call(lambda _timeout_s: row["n"])
        except Exception:
            return None

    def transform_row(_self, row):
        return made(ask(row), row)

    hooks = {"transform_row": _from_a_generator(ask) if made is None else transform_row}
    if declared:
        hooks["output_schema"] = {"n": "INT64", "answer": "INT64"}
    etl = type("Lenient", (EtlBase,), {"max_concurrency": workers, **hooks})
    job = job_of(3000, transform=etl, max_calls=2500)
    with pytest.raises(CapReachedError) as caught:
        transfer(job)
    report = caught.value.report
    assert report.calls == 2500
    assert report.read <= 2500
    last = transfer(job, resume=report.run_id)
    assert (last.read, last.written, last.skipped) == (3000, 3000, 0)
    assert sorted(row["answer"] for row in job.sink.rows) == list(range(3000))


def test_a_cap_on_money_counts_retries_and_units():
    """At 0.1 per unit and 3 units per call, 3.0 pays for exactly ten calls, retries included."""
    failures = [RetryableError("now and then", status=500) for _ in range(4)]

    class Priced(EtlBase):
        def transform_row(self, row):
            return caller("api").call(lambda _timeout_s: self.once(row), units=3)

        def once(self, row):
            if row["n"] % 2 and failures:
                raise failures.pop()
            return row

    job = job_of(100, transform=Priced, price_per_unit=0.1, max_cost=3.0)
    with pytest.raises(
        CapReachedError, match=r"max_cost=3.0 USD would be exceeded: 30 units"
    ) as caught:
        transfer(job)
    report = caught.value.report
    assert (report.calls, report.retries, report.units, report.cost) == (10, 4, 30, 3.0)
    assert report.read == 6


def test_unbilled_calls_are_not_limited_or_capped():
    """A download is retried like any call, but neither limited nor counted."""

    class Free(EtlBase):
        def transform_row(self, row):
            return caller("web").call(lambda _timeout_s: row, units=0)

    report = transfer(job_of(20, transform=Free, max_calls=1, rate_limit="1/day"))
    assert (report.calls, report.units, report.written) == (0, 0, 20)


def estimated(num_rows, transform=Etl, resumed=0, **options):
    job = job_of(0, transform=transform, **options)
    return estimate(job, TransformSpec(job), num_rows, resumed=resumed)


class Packed(EtlBase):
    batch_size = 16
    units_per_row = 2

    def transform_batch(self, rows):
        return rows


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, ""),
        (
            {"rate_limit": "1800/min"},
            "; about 1,600 calls, 1,600 units; at least 54 s at 1800/min",
        ),
        (
            {"transform": Packed, "rate_limit": RateLimit("10/min", per="unit")},
            "; about 100 calls, 3,200 units; at least 5 h 20 min at 10/min units",
        ),
        (
            {"transform": Packed, "price_per_unit": 0.0015, "currency": "EUR", "max_cost": 1},
            "; about 100 calls, 3,200 units; about 4.80 EUR; max_cost=1 will end the run early",
        ),
        (
            {"max_calls": 9, "resumed": 4},
            (
                " (4 have a result already); about 1,600 calls, 1,600 units; "
                "max_calls=9 will end the run early"
            ),
        ),
        ({"rate_limit": "10/s"}, None),
    ],
)
def test_the_estimate_says_what_is_known(options, text):
    """Rows are always known; calls, time and money only if the job declares what they depend on."""
    if text is None:
        assert estimated(None, **options) == "to transform: an unknown number of rows"
    else:
        assert estimated(1600, **options) == f"to transform: 1,600 rows{text}"


def test_the_estimate_comes_before_the_first_call(caplog):
    """The estimate of a resumed run is only about the remaining rows."""
    caplog.set_level(logging.INFO, "etlkit")
    job = job_of(0, source=MemorySource([{"n": i} for i in range(30)]), max_calls=20)
    with pytest.raises(CapReachedError) as caught:
        transfer(job)
    transfer(job, resume=caught.value.report.run_id)
    output = [text for text in caplog.messages if text.startswith("to transform")]
    assert output == [
        "to transform: 30 rows; about 30 calls, 30 units; max_calls=20 will end the run early",
        "to transform: 10 rows (20 have a result already); about 10 calls, 10 units",
    ]
