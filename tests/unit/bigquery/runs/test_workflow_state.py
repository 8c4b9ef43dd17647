"""How many requests the ends of tasks cost, and what happens when one fails."""

import json
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from google.api_core.exceptions import Forbidden

from etlkit.api.run import Run, RunRecord, RunRequest
from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.bigquery.runs import workflow_state
from etlkit.bigquery.runs.guard import find_holder, guard_name
from etlkit.bigquery.runs.workflow_events import WorkflowEvents
from etlkit.bigquery.runs.workflow_state import BigQueryWorkflowState
from etlkit.errors import SinkError
from tests.unit.bigquery.fake_connection import DATASET, FakeConnection

STARTED_AT = datetime(2030, 1, 1, tzinfo=UTC)
NUM_TASKS = 8


class Held(FakeConnection):
    """Requests that record wait until they are let go."""

    def __post_init__(self):
        super().__post_init__()
        self.go = threading.Event()
        self.go.set()

    def query(self, sql, purpose, **options):
        done = super().query(sql, purpose, **options)
        self.go.wait(60)
        return done

    def recordings(self):
        """Tasks of each request that recorded some."""
        return [
            [task["task"] for task in json.loads(each.parameters["tasks"])]
            for each in self.statements
            if "tasks" in each.parameters
        ]


@pytest.fixture
def connection():
    return Held()


@pytest.fixture
def state(connection):
    run = Run(RunRequest("w", started_at=STARTED_AT))
    made = BigQueryWorkflowState(connection, run, DATASET, WorkflowEvents())
    made.begin(report())
    connection.statements.clear()
    yield made
    made.close()


def report(*tasks):
    return WorkflowReport(run_id="", job="w", tasks=list(tasks))


def ended(name, state="succeeded", **values):
    return TaskReport(**{"name": name, "kind": "python", "state": state, **values})


def test_tasks_that_end_while_one_is_recorded_share_the_next_request(state, connection, until):
    """Two requests for any number of tasks: they would conflict at the guard."""
    connection.go.clear()

    def end(number):
        state.task_ended((str(number),), ended(str(number)))

    threads = [threading.Thread(target=end, args=(n,)) for n in range(NUM_TASKS)]
    threads[0].start()
    until(connection.recordings)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(state._ends.known) == NUM_TASKS)
    connection.go.set()
    for thread in threads:
        thread.join()
    first, second = connection.recordings()
    assert (first, sorted(second)) == (["0"], [str(n) for n in range(1, NUM_TASKS)])


def test_ends_that_a_resume_can_do_without_cost_no_request(state, connection):
    """Failed and bypassed tasks, and those whose job is published; they come with the next one."""
    for name, how in (("bad", "failed"), ("off", "bypassed"), ("late", "not_run")):
        state.task_ended((name,), ended(name, how))
    parent = state.child(("load",))
    parent.on_published("c1")
    state.task_ended(("load",), ended("load", run_id="c1"))
    mart = ended("mart", run_id="c1", kind="datamart", value={"n": 1})
    state.task_ended(("mart",), mart)
    assert connection.recordings() == []
    state.task_ended(("other",), ended("other", run_id="c2"))
    assert connection.recordings() == [["bad", "off", "late", "load", "mart", "other"]]


@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_what_is_left_comes_with_the_end_of_the_run(state, connection, error):
    """In the same request, and tasks that never told their end are taken from the report."""
    state.task_ended(("bad",), ended("bad", "failed"))
    tasks = [
        ended("bad", "failed"),
        ended("next", "not_run"),
        ended("before", from_earlier=True),
        ended("waits", "waiting"),
    ]
    state.end(report(*tasks), error)
    assert connection.recordings() == [["bad", "next"]]
    (text,) = connection.texts()
    assert text.index("UPDATE") < text.index("UNNEST(JSON_QUERY_ARRAY") < text.index("VALUES")
    assert connection.statements[0].parameters["event"] == ("failed" if error else "published")


def test_a_value_is_recorded_at_once(state, connection):
    """Others may read it from now on. That of a datamart is in its run already."""
    state.child(("load",)).on_published("c1")
    state.task_ended(("load",), ended("load", run_id="c1", value={"n": 1}))
    assert connection.recordings() == [["load"]]


def test_what_could_not_be_recorded_is_said_and_can_be_said_again(state, connection):
    """The task's own thread is told."""
    connection.answer("UNNEST", Forbidden("no"), times=1)
    with pytest.raises(SinkError, match="recording the end of a task failed: no"):
        state.task_ended(("load",), ended("load"))
    state.task_ended(("load",), ended("load"))
    assert connection.recordings() == [["load"], ["load"]]
    assert len({each.purpose for each in connection.statements}) == 2


def test_many_large_ends_are_split(state, connection, monkeypatch):
    """A request has a limit; what does not fit comes with another one."""
    monkeypatch.setattr(workflow_state, "_MAX_BATCH_CHARS", 3_000)
    for number in range(5):
        state.task_ended((str(number),), ended(str(number), "failed", error="x" * 1_000))
    state.task_ended(("last",), ended("last"))
    assert sum(connection.recordings(), []) == ["0", "1", "2", "3", "4", "last"]  # noqa: RUF017
    assert len(connection.recordings()) > 1
    connection.statements.clear()
    for number in range(5, 10):
        state.task_ended((str(number),), ended(str(number), "failed", error="x" * 1_000))
    state.end(report(), None)
    assert sum(connection.recordings(), []) == ["5", "6", "7", "8", "9"]  # noqa: RUF017


@pytest.mark.parametrize(
    ("datasets", "location"),
    [
        ({"p.etlkit_work": "EU", "p.tea": "asia-northeast1"}, "EU"),
        ({"p.tea": "asia-northeast1"}, "asia-northeast1"),
        ({}, None),
    ],
    ids=["where the ledger is", "where the first table is", "not known"],
)
def test_a_workflow_works_where_its_data_is(datasets, location):
    """A new ledger is made where the tasks' tables are: all of a run is in one location."""

    class Placed(FakeConnection):
        def find_dataset(self, dataset_id):
            place = datasets.get(dataset_id)
            return None if place is None else SimpleNamespace(location=place)

    connection = Placed()
    state = BigQueryWorkflowState(
        connection,
        Run(RunRequest("w", started_at=STARTED_AT)),
        DATASET,
        WorkflowEvents(),
        near=lambda: ["$dataset$.t", "missing.t", "tea.leaves", "other.t"],
    )
    state.begin(report())
    state.close()
    assert connection.location == location


def test_a_location_that_was_chosen_is_kept(connection):
    """Nothing is looked up."""
    connection.location = "US"
    connection.find_dataset = None
    state = BigQueryWorkflowState(
        connection, Run(RunRequest("w", started_at=STARTED_AT)), DATASET, WorkflowEvents()
    )
    connection.make_dataset = lambda *_: None
    state.begin(report())
    state.close()
    assert connection.location == "US"


def test_a_run_that_was_taken_over_in_vain_can_be_resumed_at_once(connection):
    """What its tasks have done cannot be read: nobody has to wait for the lease."""
    connection.answer("UNNEST(@run_ids)", Forbidden("no"))
    connection.answer("SELECT owner, attempt", [{"state": "running", "cleanup": None}])
    request = RunRequest("w", started_at=STARTED_AT)
    first = BigQueryWorkflowState(connection, Run(request), DATASET, WorkflowEvents())
    first.begin(report())
    first.close()
    first._owner.guard.end()
    record = RunRecord(first.run_id, "w", 1, "")
    run = Run(request, record=record)
    state = BigQueryWorkflowState(connection, run, DATASET, WorkflowEvents())
    with pytest.raises(SinkError, match="no"):
        state.begin(report())
    guard = guard_name(DATASET, first.run_id)
    assert find_holder(connection, guard).ended
    assert connection.statements[-1].parameters["event"] == "failed"
