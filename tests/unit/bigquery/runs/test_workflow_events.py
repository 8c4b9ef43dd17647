"""What the events of a run say together, whatever their order in real life."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.bigquery.runs.ledger import EVENT_COLUMNS
from etlkit.bigquery.runs.stored_reports import to_stored
from etlkit.bigquery.runs.workflow_events import WorkflowEvents, kind_of, store_task

RUN = "w1"
START = datetime(2030, 1, 1, tzinfo=UTC)


class Story:
    """Events, one second after the other."""

    def __init__(self):
        self.rows = []

    def _add(self, run_id, event, **values):
        row = dict.fromkeys(column.name for column in EVENT_COLUMNS)
        row |= {"run_id": run_id, "event": event, "attempt": 1, "job": "j", "mode": "append"}
        row["event_at"] = START + timedelta(seconds=len(self.rows))
        self.rows.append({**row, **values})
        return self

    def start(self, attempt=1, tasks=(), forget=()):
        report = to_stored(WorkflowReport(run_id=RUN, job="w", tasks=list(tasks)))
        report["forget"] = list(forget)
        text = json.dumps(report)
        return self._add(RUN, "started", attempt=attempt, mode="workflow", report=text)

    def over(self, event, attempt=1):
        return self._add(RUN, event, attempt=attempt, mode="workflow")

    def task(self, path, state="succeeded", value=None, attempt=1, recorded=(), **values):
        report = TaskReport(name=path.rpartition("/")[2], kind="python", state=state, **values)
        return self._add(
            RUN,
            f"task_{state}",
            task=path,
            attempt=attempt,
            report=json.dumps(store_task(report, recorded)),
            value=json.dumps(value),
        )

    def child(self, run_id, event, path="load", mode="append", attempt=1, **values):
        values = {"parent_run_id": RUN, "task": path, "mode": mode, "attempt": attempt, **values}
        return self._add(run_id, event, **values)

    def end(self):
        events = WorkflowEvents()
        for row in self.rows:
            events.meet(row, own=row["run_id"] == RUN)
        return events


@pytest.fixture
def story():
    return Story()


def resumable(events):
    return {
        path: child.run_id for path, child in events.unpublished().items() if child.is_resumable
    }


def test_a_failed_task_has_its_run_to_resume(story):
    """Although its end was recorded after the run."""
    story.start().child("c1", "started").child("c1", "failed").task("load", "failed", error="no")
    events = story.end()
    assert events.finished() == {}
    assert resumable(events) == {("load",): "c1"}


def test_the_latest_run_of_a_task_counts(story):
    """The task was tried again; the second run is at work."""
    story.start().child("c1", "started").child("c1", "failed").child("c2", "started")
    events = story.end()
    assert resumable(events) == {("load",): "c2"}
    assert events.finished() == {}


def test_a_published_run_is_the_end_of_its_task(story):
    """The process was killed before it could say more; the run's counts are known."""
    story.start().child("c1", "started").child("c1", "published", read=3, written=2, cost=0.5)
    (found,) = story.end().finished().values()
    assert (found.state, found.run_id, found.kind) == ("succeeded", "c1", "transfer")
    assert (found.read, found.written, found.cost) == (3, 2, 0.5)


def test_a_run_that_is_published_stays_published(story):
    """Whatever a process says that did not hear the answer."""
    story.start().child("c1", "started").child("c1", "published").child("c1", "failed")
    events = story.end()
    assert [*events.finished()] == [("load",)]
    assert resumable(events) == {}


def test_a_later_attempt_of_a_run_counts(story):
    """A resumed run is at work again."""
    story.start().child("c1", "started").child("c1", "failed").child("c1", "started", attempt=2)
    (child,) = story.end().children.values()
    assert (child.state, child.row["attempt"]) == ("running", 2)
    assert child.began_at == START + timedelta(seconds=1)


def test_what_a_task_said_goes_before_its_run(story):
    """It knows more than the run does."""
    story.start().child("c1", "started").child("c1", "published", written=2)
    story.task("load", value={"n": 1}, written=2, run_id="c1", details={"SQL": "x"})
    (found,) = story.end().finished().values()
    assert (found.value, found.details) == ({"n": 1}, {"SQL": "x"})


def test_a_task_that_failed_after_its_run_is_not_finished(story):
    """Its value could not be kept, say: it runs again, as a new run."""
    story.start().child("c1", "started").child("c1", "published").task("load", "failed")
    events = story.end()
    assert events.finished() == {}
    assert resumable(events) == {}


def test_a_task_that_runs_again_is_forgotten_with_its_runs(story):
    """A run of it that is published later on is forgotten too; a new one is not."""
    story.start().child("c1", "started").task("loop/a", value=1).task("loop").task("other")
    story.start(2, forget=["load", "loop"]).child("c1", "published")
    assert [*story.end().finished()] == [("other",)]
    story.child("c2", "started", attempt=1)
    assert resumable(story.end()) == {("load",): "c2"}
    story.child("c2", "published")
    assert sorted(story.end().finished()) == [("load",), ("other",)]


@pytest.mark.parametrize(
    ("mode", "kind", "is_resumable"),
    [
        ("append", "transfer", True),
        ("http", "transfer", True),
        ("append_direct", "transfer", False),
        ("query", "datamart", False),
        ("insert append", "datamart", False),
    ],
)
def test_runs_that_staged_their_rows_can_be_resumed(story, mode, kind, is_resumable):
    """Transfers can, unless their rows went straight to the target; datamarts begin anew."""
    events = story.start().child("c1", "started", mode=mode).end()
    assert kind_of(mode) == kind
    assert resumable(events) == ({("load",): "c1"} if is_resumable else {})
    assert [*events.unpublished()] == [("load",)]


def test_tasks_that_were_left_out_are_known_by_the_graph(story):
    """Nothing else tells of them when the process is killed."""
    tasks = [
        TaskReport(name=n, kind="python", state=s) for n, s in (("a", "skipped"), ("b", "waiting"))
    ]
    events = story.start(tasks=tasks).end()
    assert {path: each.state for path, each in events.finished().items()} == {("a",): "skipped"}


def test_children_stand_below_their_task_in_the_order_that_it_gave(story):
    """Those with an end of their own and those without; iterations of a loop that did not end."""
    parts = [TaskReport(name=name, kind="dbt") for name in ("a", "b", "c")]
    story.start(tasks=[TaskReport(name="open", kind="python")])
    story.task("loop/b", value="own").task("loop", children=parts, recorded=["b"])
    story.task("open/2").task("open/1")
    reports = story.end().reports()
    assert [(each.name, each.value) for each in reports["loop",].children] == [
        ("a", None),
        ("b", "own"),
        ("c", None),
    ]
    (told,) = story.end().task_reports("running")
    assert [each.name for each in told.children] == ["2", "1"]


def test_the_values_of_iterations_are_not_kept_again_with_their_loop(story):
    """Theirs is the loop's value; together they may be larger than one may be."""
    parts = [TaskReport(name=name, kind="python", value=name * 3) for name in ("a", "b")]
    whole = TaskReport(
        name="loop",
        kind="python",
        state="succeeded",
        children=parts,
        value={"a": "aaa", "b": "bbb"},
    )
    stored = store_task(whole, ["a", "b"])
    for part in parts:
        story.task(f"loop/{part.name}", value=part.value)
    story.task("loop", children=parts, recorded=["a", "b"])
    story.rows[-1] |= {"report": json.dumps(stored), "value": None}
    assert story.end().finished()["loop",].value == whole.value
    assert "value_of_children" not in store_task(replace(whole, value="own"), ["a", "b"])


@pytest.mark.parametrize(
    ("state", "running", "waiting"),
    [
        ("running", "running", "waiting"),
        ("dead", "interrupted", "not_run"),
        ("failed", "interrupted", "not_run"),
    ],
)
def test_what_was_at_work_when_a_run_ended_was_interrupted(story, state, running, waiting):
    """And what waited was not run."""
    after = {"load": ""}
    graph = [
        TaskReport(name="load", kind="transfer"),
        TaskReport(name="next", kind="check", after=after),
    ]
    story.start(tasks=graph).child("c1", "started")
    told = story.end().task_reports(state)
    assert [task.state for task in told] == [running, waiting]
    assert told[0].run_id == "c1"


def test_a_task_that_may_have_been_at_work_is_told_of_a_killed_run(story):
    """Nothing says that a function began; those that others kept from beginning were not run."""
    after = {
        "ask": {"first": ""},
        "last": {"ask": ""},
        "yes": {"way": "then"},
        "no": {"way": "otherwise"},
    }
    names = ["first", "way", "ask", "last", "yes", "no"]
    graph = [TaskReport(name=name, kind="python", after=after.get(name, {})) for name in names]
    story.start(tasks=graph).task("first").task("way", branch="then")
    states = {task.name: task.state for task in story.end().task_reports("dead")}
    assert states == {
        "first": "succeeded",
        "way": "succeeded",
        "ask": "interrupted",
        "last": "not_run",
        "yes": "interrupted",
        "no": "not_run",
    }
    told = story.end().task_reports("running")
    assert [task.state for task in told[2:]] == ["waiting"] * 4


def test_ends_of_an_earlier_attempt_are_told_as_such(story):
    """And so are tasks that are gone from the graph left out."""
    graph = [TaskReport(name=name, kind="python") for name in ("load", "next")]
    story.start(tasks=graph).task("load").task("gone").over("failed")
    story.start(2, tasks=graph).task("next", attempt=2).over("published", 2)
    told = story.end().task_reports("published")
    assert [(task.name, task.from_earlier) for task in told] == [("load", True), ("next", False)]
