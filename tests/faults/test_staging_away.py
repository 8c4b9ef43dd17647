"""When what is staged does not become durable, no more rows are paid for."""

import itertools
import threading

import pytest

import etlkit.bigquery.storage.append_rows
from etlkit import BigQuerySink, BigQuerySource, EtlBase, SinkError, TransferJob
from etlkit.bigquery.storage.append_rows import Appender
from etlkit.calls.backoff import BackoffPolicy
from etlkit.runner import run_job
from etlkit.testing.fault_proxy import Fault

NUM_ROWS = 1_500
MOST_BEFORE = 1_200
"""Later calls wait for the cut, so that there are rows left when it comes."""

WORKERS = 8
BEFORE = 2
"""Appends that get through."""

MAX_WAIT_S = 60
NUMBERS = itertools.count()


class Api:
    """Counts calls; each takes eight milliseconds.

    Attributes:
        calls: What was asked for, in order.
        cut: Set when staging is cut: from then on, no call ends before `noticed`.
        noticed: Set when the client knows of it.
    """

    def __init__(self):
        self.calls = []
        self.cut, self.noticed = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._never = threading.Event()

    def ask(self, n):
        with self._lock:
            self.calls.append(n)
            is_late = len(self.calls) > MOST_BEFORE
        self._never.wait(0.008)
        if is_late:
            assert self.cut.wait(MAX_WAIT_S)
        if self.cut.is_set():
            assert self.noticed.wait(MAX_WAIT_S)


@pytest.fixture
def api():
    return Api()


@pytest.fixture
def job(api, run):
    name = f"staging_away_{next(NUMBERS)}"
    run("CREATE SCHEMA IF NOT EXISTS away")

    class Etl(EtlBase):
        max_concurrency = WORKERS

        def transform_row(self, row):
            api.ask(row["n"])
            return row

    return TransferJob(
        source=BigQuerySource(f"SELECT n FROM UNNEST(GENERATE_ARRAY(1, {NUM_ROWS})) AS n"),
        transform=Etl,
        sink=BigQuerySink(f"away.{name}", create_dataset=True),
        name=name,
    )


def test_calls_stop_when_staging_is_cut(job, api, run, through_proxy, monkeypatch):
    """The run ends with what it had, and a resume pays for the rest once."""
    quick = BackoffPolicy(max_attempts=4, max_total_s=60.0, first_wait_s=0.2, max_wait_s=0.4)
    monkeypatch.setattr(etlkit.bigquery.storage.append_rows, "RECONNECT", quick)
    is_transient = Appender._is_transient
    paid = []

    def notice(self, error):
        answer = is_transient(self, error)
        api.noticed.set()
        return answer

    class Noting(Fault):
        def strike(self):
            paid.append(len(api.calls))
            api.cut.set()
            return super().strike()

    monkeypatch.setattr(Appender, "_is_transient", notice)
    away = Noting(b"/tables/out_", at="request", times=1_000, skip=BEFORE)
    with pytest.raises(SinkError, match=r"staging rows in .* failed"):
        run_job(job, settings=through_proxy(grpc=[away]))
    made = len(api.calls)
    assert made - paid[0] <= WORKERS  # those that begin before the client knows
    report = run_job(job, settings=through_proxy(), resume="last")
    assert report.rows_published == NUM_ROWS
    assert report.resumed > 0
    assert len(api.calls) == made + NUM_ROWS - report.resumed
    assert run(f"SELECT COUNT(*), COUNT(DISTINCT n) FROM {job.sink.table}") == [
        (NUM_ROWS, NUM_ROWS)
    ]


def test_calls_go_on_when_staging_is_back(job, api, run, through_proxy):
    """A connection that is cut a few times costs no call."""
    api.cut.set()
    api.noticed.set()
    cuts = Fault(b"/tables/out_", at="request", times=3, skip=BEFORE)
    report = run_job(job, settings=through_proxy(grpc=[cuts]))
    assert cuts.struck == 3
    assert (report.written, len(api.calls)) == (NUM_ROWS, NUM_ROWS)
    assert run(f"SELECT COUNT(*), COUNT(DISTINCT n) FROM {job.sink.table}") == [
        (NUM_ROWS, NUM_ROWS)
    ]
