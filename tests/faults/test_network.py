"""Connections that break or stall at each step of a run: nothing is lost, nothing is doubled."""

import itertools

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


@pytest.mark.parametrize("marker", REST_MARKERS.values(), ids=REST_MARKERS)
def test_an_answer_is_lost(transfer, marker):
    """Cut after the server has done the work: the work is found again, not done twice."""
    transfer(rest=[Fault(marker)])


@pytest.mark.parametrize(
    "step", ["snapshot", "guard", "start", "staging table", "audit", "publish"]
)
def test_a_request_is_lost(transfer, step):
    """Cut before the server hears."""
    transfer(rest=[Fault(REST_MARKERS[step], at="request")])


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_every_publish_answer_is_lost_twice(transfer, mode):
    """The answer to the publishing request is lost, and lost again when it is asked for."""
    transfer(rest=[Fault(b"_publish_", times=2)], mode=mode)


@pytest.mark.parametrize("mode", ["append", "replace", "delete_in_advance"])
def test_the_answer_to_the_creation_of_the_target_is_lost(transfer, mode):
    """The table is there, and it is this run's own."""
    transfer(rest=[Fault(b'_create_target"')], mode=mode, target_exists=False)


@pytest.mark.parametrize("at", ["request", "answer"])
def test_appends_are_cut(transfer, at):
    """The first append, and two later ones: what was not acknowledged is sent again."""
    transfer(grpc=[Fault(b"/tables/out_", at=at, times=3)])


def test_appends_of_rejected_rows_are_cut(transfer):
    """Rejected rows go over a connection of their own, and are as safe."""
    transfer(grpc=[Fault(b"/tables/rej_", times=2)])


def test_an_append_is_cut_within_its_request(transfer):
    """The server never sees a whole request, several times in a row."""
    transfer(grpc=[Fault(b"/streams/_default", at="request", times=3)])


@pytest.mark.parametrize("answer_bytes", [0, 1, MESSAGE_BYTES // 2, 5 * MESSAGE_BYTES // 2])
def test_the_read_stream_is_cut(transfer, answer_bytes):
    """At its start, within its first message and within a later one: reading goes on at the row."""
    transfer(grpc=[Fault(b"/sessions/", answer_bytes=answer_bytes)], num_rows=MANY_ROWS)


def test_the_read_stream_is_cut_again_and_again(transfer):
    """Each attempt gets one message further."""
    cuts = Fault(b"/sessions/", answer_bytes=3 * MESSAGE_BYTES // 2, times=3)
    transfer(grpc=[cuts], num_rows=MANY_ROWS)


def test_the_read_session_is_cut(transfer):
    """The answer that names the stream is lost."""
    transfer(grpc=[Fault(b"/tables/src_")])


def test_everything_is_cut_once(transfer):
    """A bad day: one cut at each step of the same run."""
    rest = [Fault(marker) for marker in REST_MARKERS.values()]
    transfer(
        rest=rest,
        grpc=[
            Fault(b"/tables/out_", times=2),
            Fault(b"/tables/rej_"),
            Fault(b"/sessions/", answer_bytes=MESSAGE_BYTES),
        ],
        num_rows=MANY_ROWS,
    )


def test_an_append_stalls(transfer, monkeypatch):
    """A connection that acknowledges nothing is given up in time, and opened again."""
    monkeypatch.setattr(etlkit.bigquery.storage.append_rows, "_ACK_DEADLINE_S", 1.0)
    transfer(grpc=[Fault(b"/tables/out_", do="hold", hold_s=4)])


def test_the_read_stream_stalls(transfer, monkeypatch):
    """A stream that gives nothing more is given up in time, and goes on at the row."""
    monkeypatch.setattr(etlkit.bigquery.storage.read_rows, "_CALL_S", 2.0)
    stall = Fault(b"/sessions/", answer_bytes=MESSAGE_BYTES, do="hold", hold_s=4)
    transfer(grpc=[stall], num_rows=MANY_ROWS)


def test_answers_are_late(transfer):
    """A slow network costs time and nothing else."""
    rest = [Fault(marker, do="hold", hold_s=0.3) for marker in REST_MARKERS.values()]
    late = Fault(
        b"/tables/out_", do="hold", hold_s=0.3
    )  # of one request or of several: as they come
    transfer(rest=rest, grpc=[late], num_rows=MANY_ROWS)
