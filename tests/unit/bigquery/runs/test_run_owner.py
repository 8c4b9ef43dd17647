import json
import logging
from datetime import UTC, datetime

import pytest
from google.api_core.exceptions import BadRequest, Forbidden, NotFound

from etlkit.api.outcomes import Counts
from etlkit.api.report import RunReport
from etlkit.api.run import Interrupted, ParentRun, Run, RunRecord, RunRequest
from etlkit.bigquery.names import literal
from etlkit.bigquery.runs.guard import LEASE_S, Guard, find_holder, guard_name
from etlkit.bigquery.runs.process_identity import ProcessIdentity
from etlkit.bigquery.runs.run_owner import RunOwner
from etlkit.bigquery.runs.stored_reports import from_stored
from etlkit.bigquery.sql import guard as guard_sql
from etlkit.errors import ConfigError, RunStateError, RunTakenOverError
from tests.unit.bigquery.fake_connection import DATASET, FakeConnection

STARTED_AT = datetime(2030, 1, 1, tzinfo=UTC)
COUNTS = Counts(read=6, written=3, skipped=2, rejected=1, parts=9)


@pytest.fixture
def connection(monkeypatch):
    stranger = ProcessIdentity("other", "host-2", 7, "another boot", "pid:[9]", 1.0)
    monkeypatch.setattr(ProcessIdentity, "current", classmethod(lambda _: stranger))
    return FakeConnection()


@pytest.fixture
def owners(connection):
    """Makes owners, and ends their leases."""
    made = []

    def make(run_id=None, attempts=0):
        request = RunRequest("j", started_at=STARTED_AT)
        record = RunRecord(run_id, "j", attempts, "f") if run_id else None
        run = Run(request, fingerprint="f", record=record)
        owner = RunOwner(connection, run, DATASET, target="p.d.t", mode="append")
        made.append(owner)
        return owner, run.run_id

    yield make
    for owner in made:
        owner.lease.close()


def test_a_new_run_has_a_guard_a_lock_and_an_event(connection, owners):
    """One job: the guard's row and the event come together."""
    owner, run_id = owners()
    owner.start(exclusive=True)
    holder = find_holder(connection, guard_name(DATASET, run_id))
    assert (holder.owner, holder.attempt) == (owner.guard.owner, 1)
    (started,) = connection.statements
    assert started.purpose == f"start_{owner.guard.owner}"
    assert "BEGIN TRANSACTION" in started.sql
    assert f"INSERT INTO {owner.guard.name.sql}" in started.sql
    assert (started.parameters["event"], started.parameters["run_id"]) == ("started", run_id)
    assert started.parameters["owner"] == owner.guard.owner


def test_a_resume_takes_the_fence_over(connection, owners):
    """By an UPDATE that only an earlier attempt's row fits."""
    first, run_id = owners()
    first.start(exclusive=True)
    connection.pass_time(LEASE_S)
    second, _ = owners(run_id, 1)
    second.start(exclusive=True)
    text = connection.texts()[-1]
    assert "WHERE attempt < 2 AND state = 'running'" in text
    assert guard_sql.LOST in text
    assert find_holder(connection, second.guard.name).attempt == 2


def test_a_run_whose_job_is_in_progress_leaves_no_trace(connection, owners):
    """No guard, no event."""
    owners()[0].start(exclusive=True)
    before = (set(connection.tables), len(connection.statements))
    second, _ = owners()
    with pytest.raises(RunStateError, match="in progress already"):
        second.start(exclusive=True)
    assert (set(connection.tables), len(connection.statements)) == before


def test_a_resumed_run_whose_job_is_in_progress_stays_resumable(connection, owners):
    """Its guard stays, and says that the attempt is over."""
    first, run_id = owners()
    first.start(exclusive=True)
    first.guard.end()
    other, _ = owners()
    other.start(exclusive=True)
    with pytest.raises(RunStateError, match="in progress already"):
        owners(run_id, 1)[0].start(exclusive=True)
    assert find_holder(connection, guard_name(DATASET, run_id)).ended
    other.finish()
    again, _ = owners(run_id, 1)
    again.start(exclusive=True)
    assert find_holder(connection, guard_name(DATASET, run_id)).owner == again.guard.owner


def test_a_new_run_names_the_one_that_was_not_published(connection, owners, caplog):
    """Somebody may want to resume it instead."""
    caplog.set_level(logging.INFO)
    first, run_id = owners()
    first.start(exclusive=True)
    connection.pass_time(LEASE_S)
    connection.answer(
        "SELECT owner, attempt, state, cleanup", [{"state": "running", "cleanup": None}]
    )
    owners()[0].start(exclusive=True)
    assert f"run {run_id} was not published; --resume {run_id} goes on with it" in caplog.text


def test_a_new_run_finishes_a_published_one(connection, owners, caplog):
    """Its process was killed before its clean-up: the table that it made is put into place first."""
    caplog.set_level(logging.INFO)
    first, run_id = owners()
    first.start(exclusive=True)
    connection.pass_time(LEASE_S)
    cleanup = "ALTER TABLE t DROP COLUMN old"
    connection.answer(
        "SELECT owner, attempt, state, cleanup", [{"state": "published", "cleanup": cleanup}]
    )
    owners()[0].start(exclusive=True)
    done = next(each for each in connection.statements if each.sql == cleanup)
    assert done.job_id == f"etlkit_{run_id}_cleanup_1"
    assert connection.find_table(guard_name(DATASET, run_id)) is None
    assert "was not published" not in caplog.text


def test_a_run_that_the_ledger_never_knew_is_not_offered(connection, owners, caplog):
    """Killed before its first event: a resume would not find it."""
    caplog.set_level(logging.INFO)
    first, run_id = owners()
    first.start(exclusive=True)
    connection.pass_time(LEASE_S)
    owners()[0].start(exclusive=True)
    assert connection.find_table(guard_name(DATASET, run_id)) is None
    assert "was not published" not in caplog.text


def test_rows_and_event_are_one_transaction_that_begins_with_the_guard(connection, owners):
    """So a process that lost the run changes nothing."""
    owner, run_id = owners()
    owner.start(exclusive=False)
    owner.publish(["INSERT INTO t SELECT 1", "DELETE FROM r WHERE TRUE"], COUNTS, "DROP x")
    text, given = connection.texts()[-1], connection.statements[-1].parameters
    lines = [
        "BEGIN TRANSACTION",
        f"UPDATE {owner.guard.name.sql}",
        guard_sql.LOST,
        "COMMIT TRANSACTION",
    ]
    assert [text.index(line) for line in lines] == sorted(text.index(line) for line in lines)
    assert text.index("UPDATE") < text.index("INSERT INTO t SELECT 1") < text.index("DELETE FROM r")
    assert text.index("DELETE FROM r") < text.index("run_events")
    assert f"cleanup = {literal('DROP x')}" in text
    assert (given["event"], given["run_id"], given["rows_published"]) == ("published", run_id, 9)
    assert connection.statements[-1].purpose == f"publish_{owner.guard.owner}"


@pytest.mark.parametrize(
    "error",
    [
        BadRequest(f"Query error: {guard_sql.LOST} at [6:3]"),
        NotFound("Not found: Table p:etlkit_work.{guard}"),
    ],
)
def test_a_publish_that_was_refused_by_the_fence_names_the_new_owner(connection, owners, error):
    """Whatever BigQuery's words."""
    owner, run_id = owners()
    owner.start(exclusive=False)
    connection.pass_time(LEASE_S)
    rival = Guard(connection, owner.guard.name, run_id, 2)
    rival.claim()
    error.message = error.message.format(guard=owner.guard.name.table)
    connection.answer("BEGIN TRANSACTION", error)
    with pytest.raises(RunTakenOverError, match=r"process 7 on host-2 \(attempt 2\)"):
        owner.publish([], COUNTS)


@pytest.mark.parametrize("is_ones_own", [True, False])
def test_a_publish_whose_answer_was_lost_may_be_finished_by_another_process(
    connection, owners, is_ones_own
):
    """The guard is gone when it is sent again; the ledger tells whose publish it was."""
    owner, _ = owners()
    owner.start(exclusive=False)
    owner.guard.drop()
    connection.answer("BEGIN TRANSACTION", NotFound(f"Not found: Table {owner.guard.name.table}"))
    by = owner.guard.owner if is_ones_own else "another"
    connection.answer("WHERE run_id = @value", [{"state": "published", "owner": by}])
    if is_ones_own:
        owner.publish([], COUNTS)
        return
    with pytest.raises(RunTakenOverError, match="finished by another process"):
        owner.publish([], COUNTS)


@pytest.mark.parametrize("error", [Forbidden("no"), NotFound("Not found: Table p:d.t")])
def test_other_refusals_are_not_taken_for_a_lost_run(connection, owners, error):
    """A missing target is not a missing guard."""
    owner, _ = owners()
    owner.start(exclusive=False)
    connection.answer("BEGIN TRANSACTION", error)
    with pytest.raises(type(error)):
        owner.publish([], COUNTS)


@pytest.mark.parametrize(
    ("error", "event", "text"),
    [
        (ValueError("bad"), "failed", "bad"),
        (Interrupted(15), "interrupted", "stopped by signal 15"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
    ],
)
def test_the_end_of_an_attempt_is_recorded(connection, owners, error, event, text):
    """And its guard says that it can be resumed at once."""
    owner, run_id = owners()
    owner.start(exclusive=False)
    owner.end(error)
    given = connection.statements[-1].parameters
    assert (given["event"], given["error"]) == (event, text)
    assert find_holder(connection, guard_name(DATASET, run_id)).ended


def test_a_process_that_lost_its_run_records_nothing(connection, owners):
    """What happens to the run is its new owner's to tell."""
    owner, run_id = owners()
    owner.start(exclusive=False)
    num_statements = len(connection.statements)
    owner.end(RunTakenOverError("lost"))
    assert len(connection.statements) == num_statements
    assert not find_holder(connection, guard_name(DATASET, run_id)).ended


def test_a_finished_run_has_no_guard(connection, owners):
    """Nothing is left of it but the ledger."""
    owner, run_id = owners()
    owner.start(exclusive=False)
    owner.finish()
    assert connection.find_table(guard_name(DATASET, run_id)) is None


@pytest.fixture
def child(connection):
    """An owner of the run of a task, and what its workflow was told; its lease ends by itself."""
    told = []

    def make(dataset="p.etlkit_work", owner="token", record=None):
        parent = ParentRun(
            "w1",
            "load/2024-01-02",
            owner=owner,
            dataset=dataset,
            on_started=lambda run_id: told.append(("started", run_id)),
            on_published=lambda run_id: told.append(("published", run_id)),
        )
        request = RunRequest("j", started_at=STARTED_AT, parent=None if record else parent)
        run = Run(request, record=record)
        made.append(RunOwner(connection, run, DATASET, target="", mode="append"))
        return made[-1], told

    made = []
    yield make
    for owner in made:
        owner.lease.close()


def test_the_run_of_a_task_begins_only_while_its_workflow_is_held(connection, child):
    """The ledger knows whose work it is, and the workflow is told when it begins and is published."""
    owner, told = child()
    owner.start(exclusive=False)
    text, given = connection.texts()[-1], connection.statements[-1].parameters
    held = f"SELECT 1 FROM {guard_name(DATASET, 'w1').sql} WHERE owner = {literal('token')}"
    assert text.index(held) < text.index(guard_sql.LOST_PARENT) < text.index("INSERT INTO")
    assert (given["parent_run_id"], given["task"]) == ("w1", "load/2024-01-02")
    owner.publish([], COUNTS)
    run_id = owner.guard.name.table.removeprefix("run_")
    assert told == [("started", run_id), ("published", run_id)]
    assert connection.statements[-1].parameters["task"] == "load/2024-01-02"


@pytest.mark.parametrize(
    "error",
    [
        BadRequest(f"Query error: {guard_sql.LOST_PARENT} at [2:3]"),
        NotFound("Not found: Table p:etlkit_work.run_w1"),
    ],
)
def test_the_run_of_a_task_does_not_begin_when_its_workflow_is_lost(connection, child, error):
    """It was taken over, or is published already; nothing is left behind."""
    owner, told = child()
    connection.answer("BEGIN TRANSACTION", error)
    with pytest.raises(RunTakenOverError, match="run of the workflow"):
        owner.start(exclusive=False)
    assert told == []
    assert connection.find_table(owner.guard.name) is None


def test_a_task_with_another_ledger_than_its_workflow_is_refused(connection, child):
    """One ledger has to know of both; nothing is asked of BigQuery."""
    owner, _ = child(dataset="p.another")
    with pytest.raises(ConfigError, match=r"etlkit_work.*p\.another.*give them the same"):
        owner.start(exclusive=False)
    assert (connection.statements, connection.tables) == ([], {})


def test_the_run_of_a_task_that_is_resumed_by_itself_stays_the_tasks(connection, child):
    """Nobody is asked whether the workflow is held: nobody holds it."""
    record = RunRecord("r1", "j", 1, "f", parent=ParentRun("w1", "load"))
    owner, _ = child(record=record)
    owner.start(exclusive=False)
    assert guard_sql.LOST_PARENT not in connection.texts()[-1]
    assert connection.statements[-1].parameters["parent_run_id"] == "w1"


@pytest.mark.parametrize("error", [None, ValueError("bad")])
def test_the_report_of_a_run_is_recorded_when_it_ends(connection, error):
    """In the event itself, so that it costs no job; with its duration and cost."""

    def report(counts, error):
        rows = 0 if counts is None else counts.parts
        return RunReport(
            run_id="r",
            job="j",
            state="failed" if error else "published",
            target="t",
            rows_published=rows,
            cost=0.5,
            seconds={"open": 1.0, "publish": 2.0},
        )

    run = Run(RunRequest("j", started_at=STARTED_AT), report=report)
    owner = RunOwner(connection, run, DATASET, target="t", mode="append")
    owner.start(exclusive=False)
    if error is None:
        owner.publish([], COUNTS)
    else:
        owner.end(error)
    assert len(connection.statements) == 2
    given = connection.statements[-1].parameters
    assert (given["seconds"], given["cost"]) == (3.0, 0.5)
    kept = from_stored(json.loads(given["report"]))
    assert kept == report(None if error else COUNTS, error)
