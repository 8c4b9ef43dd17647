"""The scheduler: order, limits, errors, retries, time limits and stops. Tests wait for events."""

import signal
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit import (
    ConfigError,
    JobError,
    Loop,
    Task,
    TaskTimeoutError,
    TaskValue,
    Workflow,
    WorkflowError,
)
from etlkit.api.run import Interrupted, Settings
from etlkit.api.workflow_state import MAX_VALUE_BYTES
from etlkit.testing import no_sleep
from etlkit.testing.memory_state import MemoryWorkflows
from etlkit.workflow import task_threads
from etlkit.workflow.workflow_run import WorkflowRequest, run

LONG_S = 60


def nothing():
    return None


class Trace:
    """What happened, in order, and how many tasks ran at once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.events = []
        self.running = self.most = 0

    @contextmanager
    def inside(self, name):
        with self.lock:
            self.events.append(("begin", name))
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            yield
        finally:
            with self.lock:
                self.running -= 1
                self.events.append(("end", name))

    def at(self, what, name):
        return self.events.index((what, name))

    def began(self, name):
        return ("begin", name) in self.events


NUM_TASKS = 40


@st.composite
def graphs(draw):
    """40 tasks with edges from earlier to later ones, some of which fail."""
    edges = {
        number: draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        for number in range(NUM_TASKS)
    }
    failing = draw(st.sets(st.integers(0, NUM_TASKS - 1), max_size=3))
    order = draw(st.permutations(range(NUM_TASKS)))
    return edges, failing, order


def started(workflow):
    """Run without anything that a test's fixtures would share among examples."""

    @contextmanager
    def open_state(request):
        yield MemoryWorkflows().open(request.job_name)

    try:
        return run(workflow, WorkflowRequest(name="flow", settings=Settings()), open_state)
    except WorkflowError as error:
        return error.report


@given(graphs(), st.integers(1, 6), st.booleans())
def test_a_random_graph(graph, limit, stop_on_error):
    """Every edge, the limit and what follows a failure are respected, whatever the graph."""
    edges, failing, order = graph
    trace = Trace()

    def work(number):
        def body():
            with trace.inside(number):
                if number in failing:
                    raise ValueError(number)

        return body

    tasks = [
        Task(f"t{number}", work(number), after=[f"t{each}" for each in sorted(edges[number])])
        for number in order
    ]
    report = started(Workflow(tasks=tasks, max_parallel_tasks=limit, stop_on_error=stop_on_error))
    states = {int(task.name[1:]): task.state for task in report.tasks}
    assert trace.most <= limit
    for number in range(NUM_TASKS):
        assert trace.began(number) is (states[number] in {"succeeded", "failed"})
        for other in edges[number] if trace.began(number) else ():
            assert trace.at("end", other) < trace.at("begin", number)
    for number, allowed in possible_states(edges, failing, stop_on_error=stop_on_error).items():
        assert states[number] in allowed
    assert report.state == ("failed" if "failed" in states.values() else "published")
    assert (report.state == "failed") is bool(failing)
    shown = [task.name for task in report.tasks]
    for number, others in edges.items():
        assert all(shown.index(f"t{other}") < shown.index(f"t{number}") for other in others)


def possible_states(edges, failing, *, stop_on_error):
    """How each task may end: one behind a failure never runs."""
    behind = set()
    for number in range(NUM_TASKS):  # numbers are an order of the edges
        if edges[number] & (behind | failing):
            behind.add(number)
    left = {"not_run"} if stop_on_error and failing else set()
    return {
        number: {"not_run"}
        if number in behind
        else {"failed" if number in failing else "succeeded"} | left
        for number in range(NUM_TASKS)
    }


@given(graphs())
def test_one_at_a_time_nothing_follows_a_failure(graph):
    """With one slot and `stop_on_error`, the failed task is the last one that ran."""
    edges, failing, _ = graph
    ran = []

    def work(number):
        def body():
            ran.append(number)
            if number in failing:
                raise ValueError(number)

        return body

    tasks = [
        Task(f"t{number}", work(number), after=[f"t{each}" for each in sorted(edges[number])])
        for number in range(NUM_TASKS)
    ]
    report = started(Workflow(tasks=tasks, max_parallel_tasks=1))
    assert [number for number in ran if number in failing] == ran[-1:] * bool(failing)
    assert sum(task.state == "failed" for task in report.tasks) == bool(failing)


def test_two_branches_overlap(runs):
    """A barrier that lets nobody pass before both are there: both run at the same time."""
    barrier = threading.Barrier(2, timeout=LONG_S)
    report = runs([Task("a", barrier.wait), Task("b", barrier.wait)])
    assert report.state == "published"
    assert sorted(task.value for task in report.tasks) == [0, 1]


def test_tasks_of_a_child_count_for_the_parent(runs):
    """All levels share the slots: more do not run at once, and nobody waits for himself."""
    trace = Trace()

    def work():
        with trace.inside("x"):
            pass

    def nested(depth):
        inner = [Task(f"w{n}", work) for n in range(3)]
        if depth:
            inner += [Task(f"c{n}", nested(depth - 1)) for n in range(2)]
        return Workflow(tasks=inner, max_parallel_tasks=3)

    report = runs(Workflow(tasks=nested(3).tasks, max_parallel_tasks=1))
    assert report.state == "published"
    assert trace.most == 1
    assert len(trace.events) == 2 * 3 * (1 + 2 + 4 + 8)


def test_a_childs_own_limit_holds(runs):
    """A child of one slot runs one task at a time, beside a task of its parent."""
    both = threading.Barrier(2, timeout=LONG_S)
    trace = Trace()

    def alone():
        with trace.inside("x"):
            pass

    def first():
        with trace.inside("x"):
            both.wait()

    child = Workflow(
        tasks=[Task("first", first), *(Task(f"t{n}", alone) for n in range(5))],
        max_parallel_tasks=1,
    )
    report = runs([Task("child", child), Task("beside", both.wait)])
    assert report.state == "published"
    assert trace.most == 1


@pytest.mark.parametrize("stop_on_error", [True, False])
def test_what_runs_goes_on_after_a_failure(runs, states, stop_on_error):
    """A failure cuts nothing short; it only keeps others from beginning, if told so."""
    failed, go_on = threading.Event(), threading.Event()

    def fail():
        failed.set()
        raise ValueError("no")

    def slow():
        assert failed.wait(LONG_S)
        assert go_on.wait(LONG_S)
        return "done"

    class Watch:
        def task_changed(self, path, report):
            if path == ("bad",) and report.state == "failed":
                go_on.set()

        def task_progress(self, *_):
            raise AssertionError

    tasks = [
        Task("slow", slow),
        Task("bad", fail),
        Task("behind_slow", lambda: None, after="slow"),
        Task("behind_bad", lambda: None, after="bad"),
    ]
    runs.watcher = Watch()
    report = runs(
        Workflow(tasks=tasks, stop_on_error=stop_on_error),
        on_start=lambda attempt: setattr(attempt._scope, "observer", Watch()),
    )
    assert states(report) == {
        "slow": "succeeded",
        "bad": "failed",
        "behind_slow": "not_run" if stop_on_error else "succeeded",
        "behind_bad": "not_run",
    }
    assert isinstance(runs.error, WorkflowError)
    assert runs.error.failed == ("bad",)
    assert "task 'bad' failed: " in report.error
    assert "did not run: " in report.error


def test_a_failed_task_is_tried_again(runs, fails):
    """As often as told, and its report has the attempts that failed."""
    flaky, broken = fails(2, result="fine"), fails()
    with no_sleep():
        report = runs(
            Workflow(
                tasks=[
                    Task("flaky", flaky, retry_limit=2, min_retry_interval_s=600),
                    Task("broken", broken, retry_limit=1),
                ],
                stop_on_error=False,
            )
        )
    first, second = report.tasks
    assert (first.state, first.value, first.attempts) == ("succeeded", "fine", 3)
    assert ["failure 1" in first.failed_attempts[0].error, first.error] == [True, None]
    assert (second.state, second.attempts, len(second.failed_attempts)) == ("failed", 2, 1)
    assert "failure 2" in second.error
    assert len(broken.calls) == 2
    assert ("flaky", "waiting") in runs.watcher.changes


def test_an_attempt_begins_with_an_empty_report(runs):
    """What a failed attempt found out is not that of the next one."""

    def once(context):
        assert context.report.details == {}
        context.report.details["attempt"] = str(context.report.attempts)
        context.report.value = "of a failed attempt"
        if context.report.attempts == 1:
            raise ValueError("first time")

    report = runs([Task("a", once, retry_limit=1)])
    assert (report.tasks[0].value, report.tasks[0].details) == (None, {"attempt": "2"})


def test_a_wrong_description_is_not_tried_again(runs, fails):
    """The same description would fail again."""
    wrong = fails(error=ConfigError)
    report = runs([Task("a", wrong, retry_limit=5)])
    assert (report.tasks[0].attempts, len(wrong.calls)) == (1, 1)


def test_a_wait_for_the_next_attempt_takes_no_slot(runs, fails):
    """Another task runs in between, with one slot for both."""
    flaky, order = fails(1), []
    with no_sleep():
        report = runs(
            Workflow(
                tasks=[
                    Task("flaky", flaky, retry_limit=1, min_retry_interval_s=60),
                    Task("other", lambda: order.append(len(flaky.calls))),
                ],
                max_parallel_tasks=1,
            )
        )
    assert report.state == "published"
    assert order == [1]


def test_a_task_that_takes_too_long_is_stopped_and_failed(runs, states):
    """It is asked through its context, and the next attempt has its whole time again."""
    attempts = []

    def slow(context):
        attempts.append(1)
        if len(attempts) == 1:
            context.wait(LONG_S)
        return "fine"

    report = runs([Task("slow", slow, timeout_s=1, retry_limit=1)])
    (task,) = report.tasks
    assert (task.state, task.value, task.attempts) == ("succeeded", "fine", 2)
    assert "longer than timeout_s=1" in task.failed_attempts[0].error
    report = runs([Task("slow", lambda c: c.wait(LONG_S), timeout_s=0.05), Task("b", nothing)])
    assert states(report)["slow"] == "failed"
    assert isinstance(runs.error, WorkflowError)


def test_a_workflow_that_takes_too_long_is_stopped(runs, states):
    """Its running tasks are interrupted, the others do not run, and the run has failed."""
    report = runs(
        Workflow(
            tasks=[
                Task("quick", lambda: None),
                Task("slow", lambda context: context.wait(LONG_S), after="quick"),
                Task("later", lambda: None, after="slow"),
            ],
            timeout_s=1,
        )
    )
    assert states(report) == {"quick": "succeeded", "slow": "interrupted", "later": "not_run"}
    assert isinstance(runs.error, TaskTimeoutError)
    assert (report.state, "timeout_s=1" in report.error) == ("failed", True)


def test_a_child_that_takes_too_long_fails_its_task(runs, states):
    """By its own limit or by that of the task."""
    child = Workflow(tasks=[Task("slow", lambda context: context.wait(LONG_S))], timeout_s=0.5)
    whole = Workflow(tasks=[Task("slow", lambda context: context.wait(LONG_S))])
    for task in (Task("c", child), Task("c", whole, timeout_s=0.5)):
        report = runs([task])
        assert (report.state, states(report)) == ("failed", {"c": "failed"})
        assert states(report.tasks[0]) == {"slow": "interrupted"}
        assert "timeout_s=0.5" in report.error


def test_a_stop_reaches_every_task(runs, states):
    """Those that run are asked, those that wait for a slot or an attempt do not begin."""
    running = threading.Barrier(3, timeout=LONG_S)

    def wait(context):
        running.wait()
        context.wait(LONG_S)

    def fail():
        raise ValueError("no")

    def on_start(attempt):
        def stop():
            running.wait()
            attempt.request_stop(signal.SIGTERM)

        threading.Thread(target=stop).start()

    child = Workflow(tasks=[Task("inner", wait), Task("next", lambda: None, after="inner")])
    report = runs(
        Workflow(
            tasks=[
                Task("again", fail, retry_limit=1, min_retry_interval_s=LONG_S),
                Task("a", wait),
                Task("child", child),
                Task("queued", lambda: None, after="again"),
            ],
            max_parallel_tasks=2,
        ),
        on_start=on_start,
    )
    assert states(report) == {
        "again": "interrupted",
        "a": "interrupted",
        "child": "interrupted",
        "queued": "not_run",
    }
    assert states(report.tasks[2]) == {"inner": "interrupted", "next": "not_run"}
    assert isinstance(runs.error, Interrupted)
    assert (runs.error.signum, report.state) == (signal.SIGTERM, "interrupted")


@pytest.fixture
def _ctrl_c():
    """SIGINT as in a terminal: a process that was started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_stops_cleanly(runs, states):
    """Without a handler of its own, a script that is interrupted stops the tasks and may resume."""

    def interrupted(context):
        kill.set()
        context.wait(LONG_S)

    main, kill = threading.main_thread(), threading.Event()

    def press(_attempt):
        def wait_and_press():
            assert kill.wait(LONG_S)
            signal.pthread_kill(main.ident, signal.SIGINT)

        threading.Thread(target=wait_and_press).start()

    report = runs([Task("a", interrupted), Task("b", lambda: None, after="a")], on_start=press)
    assert states(report) == {"a": "interrupted", "b": "not_run"}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert runs([Task("a", nothing)], name="other").state == "published"


def test_a_task_that_does_not_stop_is_given_up_and_named(runs, states, monkeypatch, caplog):
    """Nobody waits for it for ever, its slot stays taken, and the log says what still runs."""
    monkeypatch.setattr(task_threads, "STOP_GRACE_S", 0.05)
    release, ended = threading.Event(), threading.Event()

    def deaf():
        assert release.wait(LONG_S)
        ended.set()
        return "late"

    report = runs(
        Workflow(
            tasks=[Task("deaf", deaf, timeout_s=0.5, retry_limit=0), Task("other", nothing)],
            stop_on_error=False,
        )
    )
    try:
        (task, _) = report.tasks
        assert states(report) == {"deaf": "failed", "other": "succeeded"}
        assert "Its thread still runs" in task.error
        assert "deaf" in caplog.text
    finally:
        release.set()
    assert ended.wait(LONG_S)
    assert (task.state, task.value) == ("failed", None)


def test_what_a_function_raises_is_told_with_its_line(runs):
    """The message has the function, the error and the user's own line; SystemExit ends nothing."""

    def leave():
        raise SystemExit(3)

    def fail():
        return {}["key"]

    report = runs(Workflow(tasks=[Task("a", leave), Task("b", fail)], stop_on_error=False))
    leaves, fails = (task.error for task in report.tasks)
    assert leaves == "the task called sys.exit(3)"
    assert fails.endswith(
        f"raised KeyError: 'key' (tests/unit/workflow/test_scheduler.py:{line_of(fail)})"
    )


def line_of(function):
    return function.__code__.co_firstlineno + 1


def test_a_value_that_is_no_json_fails_its_task(runs):
    """Other tasks and a resumed run could not read it."""
    report = runs([Task("a", lambda: {1, 2})])
    assert report.tasks[0].state == "failed"
    assert "cannot be kept for other tasks" in report.tasks[0].error


def test_a_task_has_ended_when_its_end_is_recorded(runs):
    """What comes after it does not begin before: its end may yet fail to be recorded."""
    recording, told, begun = threading.Event(), threading.Event(), threading.Event()
    early = []

    class Watch:
        def task_changed(self, path, report):
            if (path, report.state) == (("b",), "succeeded"):
                told.set()

        def task_progress(self, *_):
            return

    def on_start(attempt):
        state = runs.states[-1]
        record = state.task_ended

        def slow(path, report):
            if path == ("a",):
                recording.set()
                assert told.wait(LONG_S)
                early.append(begun.wait(0.1))
            record(path, report)

        state.task_ended = slow
        attempt._scope.observer = Watch()

    report = runs(
        [
            Task("a", nothing),
            Task("b", lambda: recording.wait(LONG_S)),
            Task("c", begun.set, after="a"),
        ],
        on_start=on_start,
    )
    assert (report.state, early) == ("published", [False])


def test_an_observer_that_fails_does_no_harm(runs, caplog):
    """Who watches cannot make a task fail."""

    def task_changed(path, report):
        raise ValueError("broken view")

    def on_start(_attempt):
        runs.watcher.task_changed = task_changed

    assert runs([Task("a", nothing)], on_start=on_start).state == "published"
    assert "broken view" in caplog.text


def test_a_run_that_was_taken_over_stops(runs, states):
    """Nothing more begins, and what runs is stopped: another process goes on with it."""
    taken, begun = threading.Event(), threading.Event()

    def take_over():
        assert begun.wait(LONG_S)
        state = runs.states[-1]
        state._run.fence = "another process"
        taken.set()

    def beside(context):
        begun.set()
        assert taken.wait(LONG_S)
        context.wait(LONG_S)

    report = runs(
        [
            Task("a", take_over),
            Task("beside", beside),
            Task("later", nothing, after=("a", "beside")),
        ]
    )
    assert states(report) == {"a": "failed", "beside": "interrupted", "later": "not_run"}
    assert "taken over" in report.error
    assert isinstance(runs.error, JobError)


@pytest.mark.parametrize(
    "value",
    [{1, 2}, float("nan"), "x" * MAX_VALUE_BYTES, "\ud800"],
    ids=["set", "nan", "big", "half"],
)
def test_a_value_that_cannot_be_kept_does_not_spoil_the_run(runs, states, value):
    """The end of the run is recorded, its report can be written as JSON, and a resume goes on."""
    values = [value]
    report = runs(
        Workflow(tasks=[Task("a", lambda: values[0]), Task("b", nothing)], stop_on_error=False)
    )
    assert states(report) == {"a": "failed", "b": "succeeded"}
    assert report.tasks[0].value is None
    assert isinstance(runs.error, WorkflowError)
    values[0] = 1
    again = runs(
        Workflow(tasks=[Task("a", lambda: values[0]), Task("b", nothing)], stop_on_error=False),
        resume=report.run_id,
    )
    assert states(again) == {"a": "succeeded", "b": "succeeded"}


def test_iterations_with_large_values_together_do_not_fail_the_loop(runs):
    """Each has kept its own; other tasks get no sum of them, and the report says so."""
    loop = Loop({"i": ["1", "2", "3"]})
    report = runs([Task("a", lambda context: context.variables["i"] * 400_000, loop=loop)])
    (task,) = report.tasks
    assert (task.state, task.value) == ("succeeded", None)
    assert [len(child.value) for child in task.children] == [400_000] * 3
    assert "task a has no value for other tasks" in report.warnings[0]


def test_a_value_is_the_same_in_the_first_run_and_in_a_resumed_one(runs):
    """Tuples and keys that are no texts become what JSON makes of them, at once."""
    seen = []

    def read(context):
        seen.append(context.tasks["a"].value)
        if len(seen) == 1:
            raise ValueError

    tasks = [
        Task("a", lambda: {"pair": (1, 2), 3: None}),
        Task("b", read, after="a"),
        Task(
            "c",
            lambda context: context.variables["n"],
            variables={"n": TaskValue("a", "value.pair.1")},
        ),
    ]
    first = runs(Workflow(tasks=tasks, stop_on_error=False))
    assert first.tasks[2].value == 2
    runs(Workflow(tasks=tasks, stop_on_error=False), resume=first.run_id)
    assert seen == [{"pair": [1, 2], "3": None}] * 2


class Cancelled(BaseException):
    """Like `asyncio.CancelledError`, it is no `Exception`."""


@pytest.mark.parametrize("error", [Cancelled("gone"), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_a_function_raises_is_a_failure(runs, states, error):
    """It is tried again and stops the others, as only a stop that was asked for is an interruption."""

    def fail():
        raise error

    report = runs([Task("a", fail, retry_limit=1), Task("b", nothing, after="a")])
    assert states(report) == {"a": "failed", "b": "not_run"}
    assert report.tasks[0].attempts == 2
    assert f"the task raised {type(error).__name__}" in report.tasks[0].error
    assert isinstance(runs.error, WorkflowError)
