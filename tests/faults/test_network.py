"""Connections that break or stall at each step of a run: nothing is lost, nothing is doubled.

A run meets a fault at each of its steps; `ETLKIT_STATEMENTS=all` is the long form, with a run for each.
"""

import itertools
import os

import pytest

import etlkit.bigquery.storage.append_rows
import etlkit.bigquery.storage.read_rows
from etlkit import BigQuerySink, BigQuerySource, EtlBase, RowError, TransferJob
from etlkit.runner import run_job
from etlkit.testing.fault_proxy import Fault

FEW_ROWS = 400
MANY_ROWS = 4000
MESSAGE_BYTES = 1_000_000
NUMBERS = itertools.count(1)


class Etl(EtlBase):
    """Skips, fans out, fails."""

    max_concurrency = 4

    def transform_row(self, row):
        n = row["n"]
        del row["ballast"]
        if n % 10 == 0:
            return None
        if n % 10 == 1:
            return [dict(row, part=part) for part in range(3)]
        if n % 50 == 7:
            raise RowError(f"number {n} is bad")
        return dict(row, part=0)


@pytest.fixture(scope="module")
def source(run):
    """Rows so wide that many of them are several messages of a read stream."""
    run("CREATE SCHEMA IF NOT EXISTS network")
    run(
        "CREATE TABLE network.rows AS SELECT n, REPEAT('x', 1500) AS ballast "
        f"FROM UNNEST(GENERATE_ARRAY(0, {MANY_ROWS - 1})) AS n"
    )
    return "SELECT n, ballast FROM network.rows"


@pytest.fixture
def transfer(source, run, through_proxy):
    """Run a job through faults and check everything that it has left."""

    def run_it(*, rest=(), grpc=(), mode="append", target_exists=True, num_rows=FEW_ROWS):
        numbers = range(num_rows)
        written = [n for n in numbers if n % 10 and n % 50 != 7]
        rows = sorted((n, part) for n in written for part in range(3 if n % 10 == 1 else 1))
        bad = [n for n in numbers if n % 50 == 7]
        target = f"network.target_{next(NUMBERS)}"
        there = []
        if target_exists:
            run(f"CREATE TABLE {target} AS SELECT -1 AS n, 0 AS part")
            there = [(-1, 0)] if mode == "append" else []
        job = TransferJob(
            source=BigQuerySource(f"{source} WHERE n < {num_rows}"),
            transform=Etl,
            sink=BigQuerySink(target, mode=mode),
            name=target,
            on_row_error="reject",
        )
        report = run_job(job, settings=through_proxy(rest=rest, grpc=grpc))
        assert all(fault.struck == fault.times for fault in (*rest, *grpc))
        assert (report.state, report.read) == ("published", num_rows)
        counts = (report.written, report.skipped, report.rejected, report.rows_published)
        expected = (len(written), num_rows // 10, len(bad), len(rows))
        assert counts == expected
        assert sorted(run(f"SELECT n, part FROM {target}")) == sorted(rows + there)
        rejected = run(f"SELECT JSON_VALUE(source_row, '$.n') FROM {target}_rejects")
        assert sorted(int(n) for (n,) in rejected) == bad
        ledger = run(
            "SELECT state, `read`, written, skipped, rejected, rows_published "
            f"FROM etlkit_work.runs WHERE run_id = '{report.run_id}'"
        )
        assert ledger == [("published", num_rows, *expected)]
        left = run(
            "SELECT table_name FROM etlkit_work.INFORMATION_SCHEMA.TABLES "
            f"WHERE table_name LIKE '%{report.run_id}%'"
        )
        assert left == []

    return run_it


REST_MARKERS = {
    "snapshot": b'_snapshot"',
    "guard": b'"tableId": "run_',
    "job lock": b'"tableId": "job_',
    "start": b"_start_",
    "staging table": b'"tableId": "out_',
    "audit": b"COUNTIF(rejected)",
    "publish": b"_publish_",
    "drop of a work table": b"DELETE /",
}


REQUESTS = [
    REST_MARKERS[step]
    for step in ("snapshot", "guard", "start", "staging table", "audit", "publish")
]
"""Of these no other request has the marker, so that each of them is met before it is let through."""
ALONE = pytest.mark.skipif(
    os.environ.get("ETLKIT_STATEMENTS") != "all", reason="the long form: ETLKIT_STATEMENTS=all"
)


@ALONE
@pytest.mark.parametrize("at", ["request", "answer"])
@pytest.mark.parametrize("marker", REQUESTS)
def test_one_step_is_cut(transfer, marker, at):
    """As in the next two tests, one step in each run."""
    transfer(rest=[Fault(marker, at=at)])


def test_every_answer_is_lost(transfer):
    """Cut after the server has done the work: the work is found again, not done twice."""
    transfer(
        rest=[Fault(marker) for marker in REST_MARKERS.values()],
        grpc=[
            Fault(b"/tables/out_", times=2),
            Fault(b"/tables/rej_"),
            Fault(b"/sessions/", answer_bytes=MESSAGE_BYTES),
        ],
        num_rows=MANY_ROWS,
    )


def test_every_request_is_lost(transfer):
    """Cut before the server hears."""
    transfer(rest=[Fault(marker, at="request") for marker in REQUESTS])


@pytest.mark.parametrize("mode", ["append", "replace", "delete_in_advance"])
def test_answers_to_the_publish_are_lost(transfer, mode):
    """The target that was made is this run's own; what is asked for again is published once."""
    faults = [Fault(b'_create_target"'), Fault(b"_publish_", times=2)]
    transfer(rest=faults, mode=mode, target_exists=False)


@pytest.mark.parametrize("at", ["request", "answer"])
def test_appends_are_cut(transfer, at):
    """What was not acknowledged is sent again, be it of rejected rows."""
    out, rejected = Fault(b"/tables/out_", at=at, times=2), Fault(b"/tables/rej_", at=at)
    transfer(grpc=[out, rejected, Fault(b"/streams/_default", at="request", times=2)])


def test_reading_is_cut_again_and_again(transfer):
    """The session; the stream at its start, within its first message, then a message further each."""
    places = (0, 1, MESSAGE_BYTES // 2, 5 * MESSAGE_BYTES // 2)
    cuts = [Fault(b"/sessions/", answer_bytes=place) for place in places]
    further = Fault(b"/sessions/", answer_bytes=3 * MESSAGE_BYTES // 2, times=2)
    transfer(grpc=[Fault(b"/tables/src_"), *cuts, further], num_rows=MANY_ROWS)


def test_streams_stall(transfer, monkeypatch):
    """One that gives or acknowledges nothing more is given up in time, and goes on at the row."""
    monkeypatch.setattr(etlkit.bigquery.storage.append_rows, "_ACK_DEADLINE_S", 1.0)
    monkeypatch.setattr(etlkit.bigquery.storage.read_rows, "_CALL_S", 2.0)
    stall = Fault(b"/sessions/", answer_bytes=MESSAGE_BYTES, do="hold", hold_s=4)
    silence = Fault(b"/tables/out_", do="hold", hold_s=4)
    transfer(grpc=[stall, silence], num_rows=MANY_ROWS)


def test_answers_are_late(transfer):
    """A slow network costs time and nothing else."""
    rest = [Fault(marker, do="hold", hold_s=0.3) for marker in REST_MARKERS.values()]
    late = Fault(
        b"/tables/out_", do="hold", hold_s=0.3
    )  # of one request or of several: as they come
    transfer(rest=rest, grpc=[late], num_rows=MANY_ROWS)
