"""Resumed runs: what is not run again, what is, and what changed."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from etlkit import (
    Condition,
    ConfigError,
    EtlBase,
    IfElse,
    Loop,
    Period,
    RunStateError,
    Task,
    TaskValue,
    Timestamp,
    TransferJob,
    Workflow,
)
from etlkit.testing import MemorySink, MemorySource


def nothing():
    return None


def other():
    return "other"


def changed():
    return "changed"


def test_finished_tasks_are_not_run_again(runs, states, recorded, fails):
    """A resume goes on with the failed task; values of earlier attempts can be read."""
    tasks = [
        recorded("a", other),
        recorded("b", fails(1), after="a"),
        Task("c", lambda c: c.variables["x"], variables={"x": TaskValue("a")}, after="b"),
    ]
    first = runs(tasks)
    assert states(first) == {"a": "succeeded", "b": "failed", "c": "not_run"}
    again = runs(tasks, resume=first.run_id)
    assert (again.run_id, again.attempt, again.state) == (first.run_id, 2, "published")
    assert [(task.from_earlier, task.attempts) for task in again.tasks] == [
        (True, 1),
        (False, 1),
        (False, 1),
    ]
    assert again.tasks[2].value == "other"
    assert recorded.names == ["a", "b", "b"]
    assert again.changes == []


def test_a_published_run_has_nothing_left(runs, recorded):
    """Its report says so, and nothing runs."""
    first = runs([recorded("a")])
    again = runs([recorded("a")], resume=first.run_id)
    assert (again.state, recorded.names) == ("published", ["a"])


def test_what_does_not_exist_cannot_be_resumed(runs):
    """No run, or a run in progress."""
    with pytest.raises(RunStateError, match="no run 20240101_x"):
        runs([Task("a", nothing)], resume="20240101_x")
    attempts = []

    def twice(context):
        attempts.append(context.run_id)
        with pytest.raises(RunStateError, match="in progress"):
            runs([Task("a", twice)])

    assert runs([Task("a", twice)]).state == "published"
    assert len(attempts) == 1


def test_iterations_that_succeeded_are_not_run_again(runs, recorded, fails):
    """Of a loop, also in a child workflow inside of a loop."""
    flaky = fails(1)
    child = Workflow(tasks=[recorded("x"), recorded("y", flaky, after="x")])
    loop = Loop({"n": [1, 2]}, on_error="skip")
    tasks = [recorded("a", loop=Loop({"n": [1, 2]})), Task("c", child, loop=loop, after="a")]
    first = runs(tasks)
    assert [task.state for task in first.tasks] == ["succeeded", "failed"]
    assert runs(tasks, resume=first.run_id).state == "published"
    assert recorded.names == [
        "a/1",
        "a/2",
        "c/1/x",
        "c/1/y",
        "c/2/x",
        "c/2/y",
        "c/1/y",
    ]


def test_time_stands_still_for_a_resumed_run(runs, recorded, fails):
    """Variables and periods count from the first attempt's queue time."""
    seen = []
    flaky = fails(1)

    def look(context):
        seen.append((context.path[-1], context.variables["day"], context.variables["x"]))
        flaky()

    period = Period(start=Timestamp(), end=Timestamp(), variables={"x": Timestamp()})
    workflow = Workflow(
        tasks=[Task("a", look, loop=Loop(period=period))],
        variables={"day": Timestamp(), "note": "text"},
    )
    first = runs(workflow, queued_at=datetime(2024, 2, 29, tzinfo=UTC), variables={"note": "new"})
    again = runs(workflow, resume=first.run_id)
    assert seen == [("2024-02-29",) * 3] * 2
    assert again.queued_at == first.queued_at
    assert again.variables == first.variables == {"day": "2024-02-29", "note": "new"}
    assert again.state == "published"


def test_other_values_are_refused(runs, fails):
    """Half of the tasks would have one value and half another; unless that is wanted."""
    workflow = Workflow(tasks=[Task("a", fails(2))], variables={"x": "1"})
    first = runs(workflow)
    with pytest.raises(RunStateError, match=r"began with other values.*\$x\$ is '2'; it was '1'"):
        runs(workflow, resume=first.run_id, variables={"x": "2"})
    again = runs(workflow, resume=first.run_id, variables={"x": "2"}, allow_code_change=True)
    assert again.changes == ["variable $x$ is '2'; it was '1'"]


def test_a_changed_graph_says_what_changed(runs, recorded, fails, states):
    """New, gone and moved tasks, and those that run something else now."""
    first = runs(
        [
            recorded("done"),
            Task("gone", nothing),
            Task("bad", fails(), after="done"),
            Task("last", nothing, after="bad"),
        ]
    )
    again = runs(
        [
            recorded("done"),
            Task("bad", nothing, after="done"),
            Task("new", nothing, after="bad"),
            Task("last", nothing, after=("bad", "new")),
        ],
        resume=first.run_id,
    )
    assert again.changes == [
        "task 'gone' is gone",
        "task 'new' is new",
        "task 'bad' has another definition",
        "task 'last' comes after bad, new; it came after bad",
    ]
    assert (again.state, recorded.names) == ("published", ["done"])
    assert [task.from_earlier for task in again.tasks] == [True, False, False, False]


def test_results_of_another_definition_are_refused(runs, fails, states):
    """They came of other code: run them again, or say that they are fine."""
    flaky = fails(3)
    first = runs([Task("a", other), Task("b", flaky, after="a")])
    tasks = [Task("a", changed), Task("b", flaky, after="a")]
    with pytest.raises(
        RunStateError, match=r"another definition now: a\. .*add --from a; .*--allow"
    ):
        runs(tasks, resume=first.run_id)
    kept = runs(tasks, resume=first.run_id, allow_code_change=True)
    assert (kept.tasks[0].value, kept.tasks[0].from_earlier) == ("other", True)
    again = runs(tasks, resume=first.run_id, from_task=["a"])
    assert (again.tasks[0].value, again.tasks[0].from_earlier) == ("changed", False)
    assert flaky.calls == [1] * 3


def test_a_child_is_compared_task_by_task(runs, fails):
    """The task to be mended may change, although it makes the child another one."""

    def parent(done, bad):
        child = Workflow(tasks=[Task("done", done), Task("bad", bad, after="done")])
        return [Task("c", child)]

    first = runs(parent(other, fails()))
    with pytest.raises(RunStateError, match="another definition now: c/done"):
        runs(parent(changed, nothing), resume=first.run_id)
    again = runs(parent(other, nothing), resume=first.run_id)
    assert again.changes == ["task 'c/bad' has another definition"]
    assert again.state == "published"


def test_what_comes_after_a_new_task_runs_again(runs, fails, recorded):
    """A finished task is founded on what is before it."""
    flaky = fails(1)
    first = runs([recorded("a"), Task("bad", flaky, after="a")])
    again = runs(
        [Task("new", nothing), recorded("a", after="new"), Task("bad", flaky, after="a")],
        resume=first.run_id,
    )
    assert recorded.names == ["a", "a"]
    assert "task 'a' runs again: a task before it has yet to run" in again.changes


def test_tasks_behind_a_failure_run_again_with_it(runs, fails, recorded, states):
    """An `IfElse` that looked at a failure looks again: the task may succeed this time."""
    tasks = [
        Task("a", fails(1)),
        Task(
            "if",
            IfElse(
                Condition(TaskValue("a", "state"), "==", "failed"), then="repair", otherwise="go"
            ),
        ),
        recorded("repair"),
        recorded("go"),
        recorded("join", after=("repair", "go")),
    ]
    first = runs(tasks)
    assert recorded.names == ["repair", "join"]
    again = runs(tasks, resume=first.run_id)
    assert recorded.names == ["repair", "join", "go", "join"]
    assert states(again) == {
        "a": "succeeded",
        "if": "succeeded",
        "repair": "bypassed",
        "go": "succeeded",
        "join": "succeeded",
    }


def test_a_branch_keeps_its_way(runs, fails, recorded):
    """It was decided once; what changes meanwhile does not turn the run around."""
    ways = iter(["then", "never asked"])

    class Fickle(Condition):
        def holds(self, _facts):
            return next(ways) == "then"

    flaky = fails(1)
    tasks = [
        Task("a", nothing),
        Task("if", IfElse(Fickle(TaskValue("a"), "==", 1), then="x", otherwise="y")),
        recorded("x", flaky),
        recorded("y"),
    ]
    first = runs(tasks)
    again = runs(tasks, resume=first.run_id)
    assert recorded.names == ["x", "x"]
    assert (again.state, again.tasks[1].branch) == ("published", "then")


@pytest.mark.parametrize(
    ("options", "ran"),
    [
        ({"from_task": ["b"]}, ["b", "d"]),
        ({"from_task": ["b", "c"]}, ["b", "c", "d"]),
        ({"only": ["a", "d"]}, ["a", "d"]),
        ({"skip": ["b"]}, ["a", "c", "d"]),
        ({"from_task": ["b"], "skip": ["d"]}, ["b"]),
    ],
)
def test_some_tasks_only(runs, recorded, states, options, ran):
    """`--from`, `--only` and `--skip`; what comes after a task that is left out runs."""
    tasks = [
        recorded("a"),
        recorded("b", after="a"),
        recorded("c", after="a"),
        recorded("d", after=("b", "c")),
    ]
    report = runs(tasks, **options)
    assert recorded.names == ran
    assert report.state == "published"
    assert [name for name, state in states(report).items() if state == "skipped"] == [
        name for name in "abcd" if name not in ran
    ]


def test_a_resume_from_a_task_runs_it_and_what_follows(runs, recorded, fails):
    """Also what had finished; others are not run again, and stay out if they were left out."""
    flaky = fails(2)
    tasks = [
        recorded("a"),
        recorded("b", after="a", loop=Loop({"n": [1, 2]})),
        recorded("c", after="a"),
        recorded("off"),
        recorded("d", flaky, after=("b", "c", "off")),
    ]
    first = runs(tasks, skip=["off"])
    second = runs(tasks, resume=first.run_id, from_task=["b"])
    assert second.state == "failed"
    third = runs(tasks, resume=first.run_id)
    assert third.state == "published"
    assert Counter(recorded.names) == {"a": 1, "b/1": 2, "b/2": 2, "c": 1, "d": 3}
    assert third.tasks[3].state == "skipped"


def test_a_task_that_was_left_out_can_be_asked_for(runs, recorded, fails, states):
    """`--from` runs it after all."""
    tasks = [recorded("a"), recorded("b", after="a"), recorded("bad", fails(2))]
    first = runs(tasks, skip=["a"])
    second = runs(tasks, resume=first.run_id)
    assert states(second)["a"] == "skipped"
    third = runs(tasks, resume=first.run_id, from_task=["a"])
    assert states(third) == dict.fromkeys(("a", "b", "bad"), "succeeded")


def test_who_watches_is_told_of_what_is_not_run(runs, recorded, fails):
    """Tasks of an earlier attempt, and those that are left out."""
    tasks = [recorded("a"), recorded("b"), recorded("bad", fails(1), after=("a", "b"))]
    first = runs(tasks, skip=["b"])
    assert runs.watcher.changes[0] == ("b", "skipped")
    runs(tasks, resume=first.run_id)
    assert sorted(runs.watcher.changes[:2]) == [("a", "succeeded"), ("b", "skipped")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": ["laod"]}, "--only laod: there is no such task; did you mean 'load'?"),
        ({"from_task": ["zzz"]}, "--from zzz: there is no such task; there are: load, if, b, c"),
        ({"skip": ["zzz"], "only": ["load"]}, "--skip zzz"),
        ({"only": ["b"], "from_task": ["load"]}, "--only and --from do not go together"),
        ({"only": ["b"], "resume": "last"}, "--only does not go with --resume"),
        ({"skip": ["if"]}, "a branch cannot be left out; skip the tasks it leads to"),
        ({"skip": ["load"]}, r"task 'if' needs TaskValue\('load', 'value'\), and 'load' is left"),
        ({"only": ["c"]}, r"task 'c' needs TaskValue\('b', 'value'\), and 'b' is left out"),
        ({"only": ["b"], "skip": ["b"]}, "no task is left to run"),
    ],
)
def test_wrong_names_are_refused(runs, recorded, options, message):
    """Before anything runs, with the names that there are."""
    tasks = [
        recorded("load"),
        Task("if", IfElse(Condition(TaskValue("load"), "==", None), then="b")),
        recorded("b"),
        Task("c", nothing, variables={"x": TaskValue("b")}),
    ]
    with pytest.raises(ConfigError, match=message):
        runs(tasks, **options)
    assert recorded.names == []


class Same(EtlBase):
    """Fails at the rows that it is told to."""

    bad = frozenset()

    def transform_row(self, row):
        type(self).calls.append(row["n"])
        if row["n"] in type(self).bad:
            raise ValueError("not yet")
        return row


@pytest.fixture
def transfer():
    """Five rows into a table in memory; the fourth one fails."""
    Same.calls, Same.bad = [], {4}
    sink = MemorySink("replace")
    job = TransferJob(
        source=MemorySource([{"n": n} for n in range(1, 6)]), transform=Same, sink=sink
    )
    return job, sink


def test_a_transfer_goes_on_with_its_missing_rows(runs, transfer):
    """A resume of the workflow resumes the run inside; calls are not made again."""
    job, sink = transfer
    first = runs([Task("load", job)])
    assert (first.state, sink.rows) == ("failed", [])
    run_id = first.tasks[0].run_id
    Same.bad, Same.calls = set(), []
    again = runs([Task("load", job)], resume=first.run_id)
    (task,) = again.tasks
    assert (again.state, task.run_id, task.read) == ("published", run_id, 5)
    assert [row["n"] for row in sink.rows] == [1, 2, 3, 4, 5]
    assert set(Same.calls) <= {4, 5}


def test_another_attempt_at_a_transfer_goes_on_too(runs, transfer):
    """As a retry within the same process does."""
    job, sink = transfer

    class Watch:
        def task_changed(self, _path, report):
            if report.state == "waiting":
                Same.bad, Same.calls = set(), []

        def task_progress(self, *_):
            return

    def on_start(attempt):
        attempt._scope.observer = Watch()

    report = runs([Task("load", job, retry_limit=1)], on_start=on_start)
    (task,) = report.tasks
    assert (task.state, task.attempts, task.read, len(sink.rows)) == ("succeeded", 2, 5, 5)
    assert set(Same.calls) <= {4, 5}


def test_a_restarted_transfer_begins_anew(runs, transfer):
    """`--from` does not go on with rows of an earlier run."""
    job, sink = transfer
    first = runs([Task("load", job)])
    Same.bad, Same.calls = set(), []
    again = runs([Task("load", job)], resume=first.run_id, from_task=["load"])
    assert again.tasks[0].run_id != first.tasks[0].run_id
    assert (len(sink.rows), Same.calls) == (5, [1, 2, 3, 4, 5])
