import pytest

from etlkit.bigquery.client import PARENT_LABEL
from etlkit.bigquery.runs.guard import LEASE_S, Guard, guard_name
from etlkit.bigquery.runs.job_lock import _MAX_SWAPS, JobLock
from etlkit.bigquery.runs.process_identity import ProcessIdentity
from etlkit.errors import RunStateError
from tests.unit.bigquery.fake_connection import DATASET, FakeConnection


@pytest.fixture
def connection(monkeypatch):
    """Guards are written by processes that this one knows nothing about."""
    stranger = ProcessIdentity("other", "host-2", 7, "another boot", "pid:[9]", 1.0)
    monkeypatch.setattr(ProcessIdentity, "current", classmethod(lambda _: stranger))
    return FakeConnection()


def lock(connection, run_id, job="j"):
    return JobLock(connection, DATASET, job, run_id)


def guard(connection, run_id):
    made = Guard(connection, guard_name(DATASET, run_id), run_id, 1)
    made.create()
    return made


def test_the_first_run_gets_the_lock(connection):
    """Nobody held it."""
    first = lock(connection, "r1")
    assert first.acquire() is None
    assert connection.find_table(first.name).labels == {"etlkit_run": "r1"}


def test_the_lock_is_not_given_to_a_second_run(connection):
    """It is told which run has it, and by whom it is run."""
    lock(connection, "r1").acquire()
    guard(connection, "r1")
    with pytest.raises(RunStateError, match=r"already, as run r1 \(process 7 on host-2"):
        lock(connection, "r2").acquire()


def test_a_run_of_another_job_has_a_lock_of_its_own(connection):
    """Jobs do not wait for each other."""
    lock(connection, "r1").acquire()
    guard(connection, "r1")
    assert lock(connection, "r2", job="k").acquire() is None


def test_the_lock_of_a_dead_run_is_taken_and_the_run_named(connection):
    """So that somebody can resume it."""
    lock(connection, "r1").acquire()
    guard(connection, "r1")
    connection.pass_time(LEASE_S)
    connection.answer(
        "SELECT owner, attempt, state, cleanup", [{"state": "running", "cleanup": None}]
    )
    assert lock(connection, "r2").acquire() == "r1"


def test_the_lock_of_a_published_run_is_taken_without_a_word(connection):
    """Its guard is gone."""
    lock(connection, "r1").acquire()
    assert lock(connection, "r2").acquire() is None


def test_a_resumed_run_holds_its_lock_again(connection):
    """The lock names the run, not the attempt."""
    lock(connection, "r1").acquire()
    guard(connection, "r1")
    assert lock(connection, "r1").acquire() is None


def test_of_two_that_start_at_once_one_wins(connection):
    """The second one loses the swap, looks again, and sees the first."""
    guard(connection, "r1")
    guard(connection, "r2")

    def first_is_faster(kind, _name):
        if kind == "update_table":
            connection.on_request = None
            lock(connection, "r1").acquire()

    connection.on_request = first_is_faster
    with pytest.raises(RunStateError, match="as run r1"):
        lock(connection, "r2").acquire()


def test_a_lock_that_is_dropped_meanwhile_is_made_again(connection):
    """A dataset may be cleaned by hand."""
    mine = lock(connection, "r1")

    def dropped(kind, _name):
        if kind == "update_table":
            connection.on_request = None
            connection.drop_work_table(mine.name)

    connection.on_request = dropped
    assert mine.acquire() is None
    assert connection.find_table(mine.name).labels == {"etlkit_run": "r1"}


def test_it_gives_up_when_it_always_loses(connection):
    """Runs without a guard take the lock again and again: nothing waits for ever."""
    mine = lock(connection, "r1")
    swaps = []

    def others_are_faster(kind, name):
        if kind == "update_table" and name == str(mine.name):
            swaps.append(name)
            table = connection.load(name)
            table.labels = {"etlkit_run": f"other{len(swaps)}"}
            connection.change(table, ["labels"])

    connection.on_request = others_are_faster
    with pytest.raises(RunStateError, match="too many processes at once"):
        mine.acquire()
    assert len(swaps) == _MAX_SWAPS


@pytest.mark.parametrize(("parent", "other"), [("w1", None), (None, "w1"), ("w1", "w2")])
def test_runs_of_different_workflows_compete(connection, parent, other):
    """A run that stands for itself, and those of the tasks of two workflow runs."""
    JobLock(connection, DATASET, "j", "r1", parent=parent).acquire()
    connection.labels = {PARENT_LABEL: parent} if parent else {}
    guard(connection, "r1")
    with pytest.raises(RunStateError, match="job j is in progress already, as run r1"):
        JobLock(connection, DATASET, "j", "r2", parent=other).acquire()


def test_runs_of_the_same_workflow_run_share_the_lock(connection):
    """Iterations of a loop may run side by side."""
    JobLock(connection, DATASET, "j", "r1", parent="w1").acquire()
    connection.labels = {PARENT_LABEL: "w1"}
    guard(connection, "r1")
    second = JobLock(connection, DATASET, "j", "r2", parent="w1")
    assert second.acquire() is None
    assert connection.find_table(second.name).labels == {"etlkit_run": "r2"}


def test_a_workflow_and_a_job_of_one_name_do_not_compete(connection):
    """A workflow may run a job that is named as itself."""
    JobLock(connection, DATASET, "j", "r1", kind="workflow").acquire()
    guard(connection, "r1")
    assert lock(connection, "r2").acquire() is None
    with pytest.raises(RunStateError, match="workflow j is in progress already"):
        JobLock(connection, DATASET, "j", "r3", kind="workflow").acquire()
