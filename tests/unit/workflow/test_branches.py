"""Branches, loops and values, as a run sees them."""

import logging
import threading

import pytest

from etlkit import (
    Condition,
    CurrentTime,
    IfElse,
    Loop,
    Task,
    TaskValue,
    VariableValue,
    Workflow,
    WorkflowError,
    any_of,
)

LONG_S = 60


def one():
    return 1


def chosen(state):
    """A condition on the state of the task `a`."""
    return Condition(TaskValue("a", "state"), "==", state)


@pytest.mark.parametrize(("value", "way", "other"), [(1, "x", "y"), (2, "y", "x")])
def test_one_way_is_taken_and_the_join_runs(runs, states, recorded, value, way, other):
    """Tasks of the other way are bypassed, and those behind them; a join after both runs."""
    report = runs(
        [
            Task("a", lambda: value),
            Task("if", IfElse(Condition(TaskValue("a"), "==", 1), then="x", otherwise="y")),
            recorded("x"),
            recorded("y"),
            recorded("behind_x", after="x"),
            recorded("behind_y", after="y"),
            recorded("join", after=("behind_x", "behind_y")),
        ]
    )
    assert states(report) == {
        "a": "succeeded",
        "if": "succeeded",
        way: "succeeded",
        f"behind_{way}": "succeeded",
        other: "bypassed",
        f"behind_{other}": "bypassed",
        "join": "succeeded",
    }
    assert recorded.names == [way, f"behind_{way}", "join"]
    assert report.tasks[1].branch == ("then" if value == 1 else "otherwise")
    assert report.state == "published"


def test_a_branch_in_a_branch(runs, states, recorded):
    """A way that is not taken bypasses the branches on it, and both of their ways."""
    inner = IfElse(Condition(VariableValue("env"), "==", "prod"), then="x", otherwise="y")
    outer = IfElse(any_of(Condition(CurrentTime("%Y"), "<", "2000")), then="inner", otherwise="z")
    workflow = Workflow(
        tasks=[
            Task("outer", outer),
            Task("inner", inner),
            *map(recorded, "xyz"),
        ],
        variables={"env": "prod"},
    )
    assert states(runs(workflow)) == {
        "outer": "succeeded",
        "inner": "bypassed",
        "x": "bypassed",
        "y": "bypassed",
        "z": "succeeded",
    }


@pytest.mark.parametrize("stop_on_error", [True, False])
def test_a_branch_looks_at_a_failure(runs, states, recorded, fails, stop_on_error):
    """A failure that is looked at stops nothing; the run has failed all the same."""
    report = runs(
        Workflow(
            tasks=[
                Task("a", fails()),
                Task("if", IfElse(chosen("failed"), then="repair", otherwise="go")),
                recorded("repair"),
                recorded("go"),
                recorded("join", after=("repair", "go")),
                recorded("other", after="if"),
                recorded("behind_a", after="a"),
            ],
            stop_on_error=stop_on_error,
        )
    )
    assert states(report) == {
        "a": "failed",
        "if": "succeeded",
        "repair": "succeeded",
        "go": "bypassed",
        "join": "succeeded",
        "other": "succeeded",
        "behind_a": "not_run",
    }
    assert (report.state, type(runs.error)) == ("failed", WorkflowError)


def test_a_condition_on_counts_does_not_look_at_a_failure(runs, states, fails):
    """Nothing is known of the counts of a task that failed."""
    condition = Condition(TaskValue("a", "written"), "==", 0)
    report = runs([Task("a", fails()), Task("if", IfElse(condition, then="b")), Task("b", one)])
    assert states(report) == {"a": "failed", "if": "not_run", "b": "not_run"}


def test_a_condition_that_cannot_be_compared_fails_its_task(runs):
    """It takes neither way."""
    condition = Condition(TaskValue("a"), ">", "x")
    report = runs([Task("a", one), Task("if", IfElse(condition, then="b")), Task("b", one)])
    assert [task.state for task in report.tasks] == ["succeeded", "failed", "not_run"]
    assert "cannot be compared" in report.tasks[1].error


def test_values_pass_by_name(runs):
    """A function's value, its parts, and counts; in variables and in the context."""
    seen = []

    def look(context):
        seen.append(dict(context.variables))
        return context.tasks["a"].value["n"] + 1

    tasks = [
        Task("a", lambda: {"n": 2, "list": ["x", {"y": None}]}),
        Task(
            "b",
            look,
            variables={
                "n": TaskValue("a", "value.n"),
                "x": TaskValue("a", "value.list.0"),
                "all": TaskValue("a"),
                "none": TaskValue("a", "value.list.1.y"),
                "state": TaskValue("a", "state"),
                "own": 5,
                "env": "mine",
            },
        ),
        Task("c", look, variables={"b": TaskValue("b")}, after="a"),
    ]
    report = runs(Workflow(tasks=tasks, variables={"env": "prod", "other": 1.5}))
    assert report.state == "published"
    whole = {"n": 2, "list": ["x", {"y": None}]}
    assert seen[0] == {
        "env": "mine",
        "other": 1.5,
        "n": 2,
        "x": "x",
        "all": whole,
        "none": None,
        "state": "succeeded",
        "own": 5,
    }
    assert seen[1] == {"env": "prod", "other": 1.5, "b": 3}
    assert report.variables == {"env": "prod", "other": "1.5"}


def test_a_value_that_is_not_there_fails_the_reader(runs):
    """The message says what there is."""
    report = runs([Task("a", one), Task("b", one, variables={"n": TaskValue("a", "value.n")})])
    assert report.tasks[1].state == "failed"
    assert "there is no 'n'; the value has no parts: it is a int" in report.tasks[1].error


def test_only_earlier_tasks_can_be_read(runs):
    """Another one may not have ended yet: the answer must not depend on chance."""
    asked = []

    def peek(context):
        asked.append(sorted(context.tasks))
        return context.tasks["a"].value

    report = runs(Workflow(tasks=[Task("a", one), Task("b", peek)], stop_on_error=False))
    assert asked == [[]]
    assert "'a' does not come before 'b'" in report.tasks[1].error
    assert "add after='a' to 'b'" in report.tasks[1].error
    report = runs([Task("b", lambda context: context.tasks["nope"])])
    assert "there is no task 'nope'" in report.tasks[0].error


def test_a_loop_runs_in_order(runs, states):
    """One iteration after the other, with its values; the report sums them up."""
    seen = []

    def look(context):
        seen.append((context.path, context.variables["x"], context.variables["env"]))
        context.report.written, context.report.cost = 2, 0.25
        return context.variables["x"]

    loop = Loop({"x": [3, 1, 2]})
    task = Task("a", look, loop=loop, variables={"x": "less than the loop's"})
    report = runs(Workflow(tasks=[task], variables={"env": "e"}))
    (task,) = report.tasks
    assert seen == [(("a", str(n)), n, "e") for n in (3, 1, 2)]
    assert states(task) == {"3": "succeeded", "1": "succeeded", "2": "succeeded"}
    assert (task.state, task.written, task.cost) == ("succeeded", 6, 0.75)
    assert task.value == {"3": 3, "1": 1, "2": 2}
    assert report.cost == 0.75


def test_parallel_iterations_overlap_within_the_limit(runs):
    """As many as there are slots, and no more."""
    pairs = threading.Barrier(2, timeout=LONG_S)
    lock, counts = threading.Lock(), [0, 0]

    def meet():
        with lock:
            counts[0] += 1
            counts[1] = max(counts)
        pairs.wait()
        with lock:
            counts[0] -= 1

    loop = Loop({"x": list(range(8))}, parallel=True)
    report = runs(Workflow(tasks=[Task("a", meet, loop=loop)], max_parallel_tasks=2))
    assert report.state == "published"
    assert counts[1] == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["succeeded", "failed", "not_run", "not_run", "not_run"]),
        ({"on_error": "skip"}, ["succeeded", "failed", "succeeded", "failed", "failed"]),
        (
            {"on_error": "skip", "max_errors": 1},
            ["succeeded", "failed", "succeeded", "failed", "not_run"],
        ),
        (
            {"on_error": "skip", "max_errors": 0},
            ["succeeded", "failed", "not_run", "not_run", "not_run"],
        ),
    ],
)
def test_errors_in_a_loop(runs, states, options, expected):
    """Stop, skip, or skip up to a number; the task has failed if an iteration has."""

    def odd(context):
        if context.variables["x"] in {1, 3, 4}:
            raise ValueError(context.variables["x"])

    loop = Loop({"x": list(range(5))}, **options)
    report = runs([Task("a", odd, loop=loop), Task("b", one, after="a")])
    (task, behind) = report.tasks
    assert list(states(task).values()) == expected
    assert (task.state, behind.state) == ("failed", "not_run")
    assert f"{expected.count('failed')} of 5 iterations failed" in task.error
    assert runs.error.failed == tuple(
        f"a/{n}" for n, state in enumerate(expected) if state == "failed"
    )


def test_an_iteration_that_waits_for_a_slot_does_not_begin_after_a_failure(runs, states):
    """It was ready, but the policy is to stop."""
    failed = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record):  # the loop says so when it has dropped the others
            if record.getMessage().startswith("iteration a/1 failed"):
                failed.set()

    def hold():
        assert failed.wait(LONG_S)

    def fail():
        raise ValueError("no")

    workflow = Workflow(
        tasks=[Task("hold", hold), Task("a", fail, loop=Loop({"x": [1, 2]}, parallel=True))],
        max_parallel_tasks=2,
    )
    watch, log = Watch(), logging.getLogger("etlkit.workflow")
    log.addHandler(watch)
    try:
        report = runs(workflow)
    finally:
        log.removeHandler(watch)
    assert states(report.tasks[1]) == {"1": "failed", "2": "not_run"}


def test_each_iteration_has_its_own_attempts(runs, states):
    """`retry_limit` counts for each of them."""
    failed = set()

    def once(context):
        if context.variables["x"] not in failed:
            failed.add(context.variables["x"])
            raise ValueError("first time")

    report = runs([Task("a", once, loop=Loop({"x": [1, 2]}), retry_limit=1)])
    assert [child.attempts for child in report.tasks[0].children] == [2, 2]
    assert report.state == "published"


def test_loop_values_go_into_child_workflows(runs):
    """Unless the child sets the variable itself, or loops over it."""
    seen = []

    def look(context):
        seen.append(("/".join(context.path), context.variables["x"], context.variables["env"]))

    child = Workflow(
        tasks=[
            Task("plain", look),
            Task("own", look, variables={"x": "own"}, after="plain"),
            Task("looped", look, loop=Loop({"x": ["p", "q"]}), after="own"),
        ],
        variables={"env": "child"},
    )
    parent = Workflow(
        tasks=[Task("c", child, loop=Loop({"x": ["a", "b"]}), variables={"env": "given"})],
        variables={"env": "parent"},
    )
    assert runs(parent).state == "published"
    assert seen == [
        entry
        for x in ("a", "b")
        for entry in (
            (f"c/{x}/plain", x, "given"),
            (f"c/{x}/own", "own", "given"),
            (f"c/{x}/looped/p", "p", "given"),
            (f"c/{x}/looped/q", "q", "given"),
        )
    ]


def test_a_child_sums_up_its_tasks(runs, states):
    """Counts, values by name and children; a failed task inside names its path."""

    def count(context):
        context.report.rows = 3
        return context.path[-1]

    child = Workflow(tasks=[Task("x", count), Task("y", count)])
    report = runs(
        [
            Task("c", child),
            Task("d", lambda c: c.variables["x"], variables={"x": TaskValue("c", "value.x")}),
        ]
    )
    assert (report.tasks[0].rows, report.tasks[0].value) == (6, {"x": "x", "y": "y"})
    assert report.tasks[1].value == "x"
    assert states(report.tasks[0]) == {"x": "succeeded", "y": "succeeded"}

    def fail():
        raise ValueError("no")

    runs([Task("c", Workflow(tasks=[Task("x", Workflow(tasks=[Task("z", fail)]))]))])
    assert runs.error.failed == ("c/x/z",)


@pytest.mark.parametrize(
    ("first", "options", "state"),
    [
        (Task("a", lambda: 1 / 0), {}, "not_run"),
        (Task("a", one), {"only": ["a"]}, "skipped"),
        (Task("a", IfElse(Condition(TaskValue("z"), "==", 2), then="c")), {}, "bypassed"),
    ],
)
def test_tasks_of_a_child_that_does_not_run_have_its_state(runs, states, first, options, state):
    """None of them waits any more, however deep it is."""
    child = Workflow(tasks=[Task("x", Workflow(tasks=[Task("y", one)]))])
    after = () if isinstance(first.run, IfElse) else "a"
    report = runs([Task("z", one), first, Task("c", child, after=after)], **options)
    (task,) = [each for each in report.tasks if each.name == "c"]
    assert (task.state, states(task), states(task.children[0])) == (
        state,
        {"x": state},
        {"y": state},
    )


def test_a_child_that_is_tried_again_goes_on_with_what_failed(runs, fails, recorded):
    """Its finished tasks do not run twice."""
    child = Workflow(tasks=[recorded("first"), recorded("second", fails(1), after="first")])
    report = runs([Task("c", child, retry_limit=1)])
    assert report.state == "published"
    assert recorded.names == ["c/first", "c/second", "c/second"]
    assert [task.from_earlier for task in report.tasks[0].children] == [True, False]
