import logging

import pytest

from etlkit.api.run import LAST, RunRequest
from etlkit.bigquery.runs.find_run import find_run
from etlkit.bigquery.runs.guard import LEASE_S, Guard, guard_name
from etlkit.bigquery.runs.ledger import Ledger
from etlkit.bigquery.runs.process_identity import ProcessIdentity
from etlkit.errors import RunStateError
from tests.unit.bigquery.fake_connection import DATASET, FakeConnection

TARGET = "p.d.t"


@pytest.fixture
def connection(monkeypatch):
    stranger = ProcessIdentity("other", "host-2", 7, "another boot", "pid:[9]", 1.0)
    monkeypatch.setattr(ProcessIdentity, "current", classmethod(lambda _: stranger))
    connection = FakeConnection()
    Ledger(connection, DATASET).make()
    return connection


def row(connection, run_id="r1", **values):
    """A run as the view tells it."""
    counts = dict.fromkeys(("read", "written", "skipped", "rejected", "rows_published"))
    return {
        "run_id": run_id,
        "job": "j",
        "state": "running",
        "mode": "append",
        "target": TARGET,
        "attempt": 1,
        "fingerprint": "f",
        "retry_of": None,
        "now": connection.now,
        **counts,
        **values,
    }


def find(connection, *rows, resume=LAST, target=TARGET, mode="append", can_resume=True):
    connection.answer("runs`", list(rows))
    request = RunRequest("j", resume=resume)
    return find_run(connection, DATASET, request, target, mode, can_resume=can_resume)


def test_the_last_run_is_found_with_its_attempts(connection):
    """The next attempt has the next number."""
    record = find(connection, row(connection, "r1"), row(connection, "r2", attempt=3))
    assert (record.run_id, record.attempts, record.fingerprint) == ("r2", 3, "f")
    assert record.published is None
    assert connection.statements[0].parameters == {"value": "j"}


def test_a_run_is_found_by_its_id(connection):
    """Whatever ran since."""
    assert find(connection, row(connection), resume="r1").run_id == "r1"
    assert connection.statements[0].parameters == {"value": "r1"}


def test_a_published_run_has_its_counts(connection):
    """The caller reports them instead of running anything."""
    published = row(
        connection,
        state="published",
        read=6,
        written=3,
        skipped=2,
        rejected=1,
        rows_published=9,
    )
    counts = find(connection, published).published
    assert (counts.read, counts.written, counts.skipped) == (6, 3, 2)
    assert (counts.rejected, counts.parts) == (1, 9)


def test_an_older_run_is_not_resumed_instead_of_the_last_one(connection, caplog):
    """Its rows would come on top of newer ones; it is named, so that somebody can choose it."""
    caplog.set_level(logging.INFO)
    record = find(connection, row(connection, "r1"), row(connection, "r2", state="published"))
    assert record.run_id == "r2"
    assert "run r1 was never published; name it to resume it" in caplog.text


def test_a_run_in_progress_is_not_resumed(connection):
    """Its guard is alive."""
    Guard(connection, guard_name(DATASET, "r1"), "r1", 1).create()
    with pytest.raises(RunStateError, match=r"run r1 is in progress \(process 7 on host-2"):
        find(connection, row(connection))


def test_a_run_whose_lease_is_over_is_resumed(connection):
    """By BigQuery's clock, as the ledger's row brings it along."""
    Guard(connection, guard_name(DATASET, "r1"), "r1", 1).create()
    connection.pass_time(LEASE_S)
    assert find(connection, row(connection)).run_id == "r1"


@pytest.mark.parametrize(
    ("other", "wrong"),
    [
        ({"target": "p.d.other"}, "goes to p.d.t with mode append; the job now says p.d.other"),
        ({"mode": "replace"}, "the job now says p.d.t with mode replace"),
    ],
)
def test_a_run_with_another_target_or_mode_is_not_resumed(connection, other, wrong):
    """Its staged rows were meant for something else."""
    with pytest.raises(RunStateError, match=wrong):
        find(connection, row(connection), **other)


def test_a_direct_run_is_not_resumed(connection):
    """Nobody knows which of its rows are in the target."""
    with pytest.raises(RunStateError, match="cannot be resumed"):
        find(
            connection,
            row(connection, mode="append_direct"),
            mode="append_direct",
            can_resume=False,
        )


def test_another_jobs_run_is_left_to_the_engine_to_refuse(connection):
    """It has the better words; target and mode are not compared."""
    assert find(connection, row(connection, job="k", target="p.d.other"), resume="r1")


@pytest.mark.parametrize("resume", [LAST, "r1"])
def test_without_a_ledger_there_is_no_run(resume):
    """It says what to do instead."""
    with pytest.raises(RunStateError, match="no run") as caught:
        find(FakeConnection(), resume=resume)
    assert ("without --resume" in str(caught.value)) == (resume == LAST)


@pytest.mark.parametrize("resume", [LAST, "r1"])
def test_an_unknown_run(connection, resume):
    """The ledger is there, the run is not."""
    with pytest.raises(RunStateError, match="no run"):
        find(connection, resume=resume)
