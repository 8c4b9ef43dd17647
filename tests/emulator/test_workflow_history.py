"""Workflows in the ledger: as `etlkit runs` lists them, and as reports that were kept."""

import json
from contextlib import ExitStack
from dataclasses import replace

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    DataCheck,
    Datamart,
    EtlBase,
    Task,
    TransferJob,
    Workflow,
    run_workflow,
)
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.bigquery.runs.history import runs_of_period, workflow_report
from etlkit.bigquery.runs.workflow_state import open_workflow_state
from etlkit.cli.runs import main as runs_main
from etlkit.errors import JobError, RowError, RunStateError
from etlkit.runner import run_datamart, run_job


class Etl(EtlBase):
    def transform_row(self, row):
        if row["n"] == 0:
            raise ValueError("no")
        return row


class World:
    """A work dataset, and runs in it."""

    def __init__(self, server, dataset, stack):
        self.server = server
        self.dataset = dataset
        self.settings = Settings(environ=server.endpoints.environ())
        self.stack = stack

    def begin(self, resume=None):
        """An attempt at the workflow `photos`: load -> parts (a loop) -> mart -> tell."""
        request = RunRequest("photos", self.settings, resume=resume)
        state = self.stack.enter_context(open_workflow_state(request, self.dataset))
        state.begin(graph())
        return state

    def transfer(self, state=None, task=("load",), numbers="1, 2", name="load", **options):
        """Run a transfer, as the work of a task unless there is no state."""
        job = TransferJob(
            source=BigQuerySource(
                f"SELECT n FROM UNNEST([{numbers}]) AS n", work_dataset=self.dataset
            ),
            transform=Etl,
            sink=BigQuerySink(f"{self.dataset}.{name}", work_dataset=self.dataset),
            name=name,
            **options,
        )
        parent = None if state is None else state.child(task)
        return run_job(job, settings=self.settings, parent=parent)

    def datamart(self, state=None, sql="SELECT 1 AS n", name="mart"):
        """Run a datamart, as the work of a task unless there is no state."""
        job = Datamart(sql=sql, name=name, work_dataset=self.dataset)
        parent = None if state is None else state.child(("mart",))
        return run_datamart(job, settings=self.settings, parent=parent)

    def told(self, run_id):
        """The report of a run, from the ledger."""
        with Run(RunRequest("reader", self.settings)) as run:
            return workflow_report(run, self.dataset, run_id)

    def period(self):
        """The summaries of all runs, by run id."""
        with Run(RunRequest("reader", self.settings)) as run:
            return {each.run_id: each for each in runs_of_period(run, self.dataset)}

    def runs(self, capsys, *arguments):
        """What `etlkit runs` prints."""
        where = ["--local", "--local-dir", str(self.server.local_dir)]
        assert runs_main([*arguments, *where, "--work-dataset", self.dataset]) == 0
        return capsys.readouterr().out


@pytest.fixture
def world(local_server, dataset):
    with ExitStack() as stack:
        yield World(local_server, dataset, stack)


@pytest.fixture(scope="module")
def history(local_server, bq):
    """A work dataset with a run of the workflow that failed, and a plain run. Tests only read it."""
    dataset = "workflow_history"
    bq.create_dataset(dataset)
    with ExitStack() as stack:
        world = World(local_server, dataset, stack)
        world.final, world.failure = failed_run(world)
        world.plain = world.transfer(name="plain")
        yield world


def graph():
    names = {"load": "transfer", "parts": "python", "mart": "datamart", "tell": "python"}
    before = dict(zip([*names][1:], names, strict=False))
    tasks = [
        TaskReport(name=name, kind=kind, after={before[name]: ""} if name in before else {})
        for name, kind in names.items()
    ]
    return WorkflowReport(run_id="", job="photos", tasks=tasks)


def ended(name, run=None, **values):
    """The end of a task of the graph, with the report of its job's run."""
    (task,) = [each for each in graph().tasks if each.name == name]
    values = {"started_at": "2030-01-01T00:00:00+00:00", "seconds": 1.5, "attempts": 1, **values}
    task = replace(task, **{"state": "succeeded", **values})
    if run is not None:
        task.add_run(run)
    return task


def iteration(name, **values):
    return TaskReport(name=name, kind="python", state="succeeded", seconds=0.5, **values)


def failed_run(world):
    """A run of the workflow whose task `mart` fails; gives its final report and the failure."""
    state = world.begin()
    load = ended("load", world.transfer(state))
    state.task_ended(("load",), load)
    parts = [iteration(day, value={"day": day}, rows=2) for day in ("2024-01-01", "2024-01-02")]
    for part in parts:
        state.task_ended(("parts", part.name), part)
    state.task_ended(("parts",), ended("parts", children=parts))
    with pytest.raises(JobError) as failure:
        world.datamart(state, "SELECT 1; SELECT missing FROM nowhere.at_all")
    mart = ended("mart", failure.value.report, state="failed")
    state.task_ended(("mart",), mart)
    final = graph()
    final.run_id = state.run_id
    final.tasks = [
        load,
        ended("parts", children=parts),
        mart,
        replace(graph().tasks[3], state="not_run"),
    ]
    final.seconds, final.cost, final.warnings = 4.5, 0.25, ["the webhook did not answer"]
    final.changes, final.variables = ["task tell is new"], {"day": "2024-01-02"}
    state.end(final, JobError("task mart failed"))
    return final, failure.value


def test_a_run_that_is_over_is_told_as_it_was(history):
    """Everything of the final report is in the ledger, values and iterations included."""
    final = history.final
    told = history.told(final.run_id)
    assert told.tasks == final.tasks
    assert (told.run_id, told.job, told.state) == (final.run_id, "photos", "failed")
    assert (told.warnings, told.changes, told.variables) == (
        final.warnings,
        final.changes,
        final.variables,
    )
    assert (told.seconds, told.cost, told.error) == (4.5, 0.25, "task mart failed")
    assert told.started_at <= told.finished_at


def test_a_run_is_told_while_it_lasts_and_when_it_was_killed(world, run):
    """By the ends of its tasks and by their runs; what is not known yet waits."""
    state = world.begin()
    loaded = world.transfer(state)
    state.task_ended(("load",), ended("load", loaded))  # its run says it, so it may wait
    state.task_ended(("parts", "a"), iteration("a", value=1))
    told = world.told(state.run_id)
    assert [task.state for task in told.tasks] == ["succeeded", "waiting", "waiting", "waiting"]
    assert (told.state, told.finished_at) == ("running", None)
    assert told.seconds > 0
    assert told.tasks[0] == ended("load", loaded)
    assert [child.name for child in told.tasks[1].children] == ["a"]
    again = world.transfer(state, ("parts", "b"), name="again")
    state.close()
    state._owner.guard.end()
    told = world.told(state.run_id)
    assert (told.state, "--resume" in told.error) == ("dead", True)
    assert told.seconds > 0
    assert world.told(state.run_id).seconds == told.seconds  # it does not grow any more
    assert [task.state for task in told.tasks] == ["succeeded", "interrupted", "not_run", "not_run"]
    (a, b) = told.tasks[1].children
    assert (a.value, b.run_id, b.state, b.written) == (1, again.run_id, "succeeded", 2)
    table = f"{world.dataset}.run_events"
    ends = run(f"SELECT task FROM {table} WHERE STARTS_WITH(event, 'task_') ORDER BY task")
    assert ends == [("load",), ("parts/a",)]


def test_a_plain_run_is_told_as_a_workflow_of_one_task(world):
    """Its report was kept when it was published, and when it failed."""
    report = world.transfer(numbers="0, 1, 2", name="plain", on_row_error="skip", max_rejected=None)
    told = world.told(report.run_id)
    (task,) = told.tasks
    assert (told.state, told.job, task.name, task.kind) == (
        "published",
        "plain",
        "plain",
        "transfer",
    )
    assert (task.read, task.written, task.skipped, task.rows) == (3, 2, 1, 2)
    assert task.first_errors == report.first_errors != []
    assert 0 < told.seconds <= report.total_s
    mart = world.datamart(
        sql="CREATE TABLE $table$ (n INT64); SELECT 1".replace("$table$", f"{world.dataset}.made")
    )
    (task,) = world.told(mart.run_id).tasks
    assert (task.kind, task.statements, task.rows) == ("datamart", mart.statements, 1)
    with pytest.raises(JobError) as failure:
        world.datamart(sql="SELECT missing FROM nowhere.at_all")
    told = world.told(failure.value.report.run_id)
    assert (told.state, told.tasks[0].state) == ("failed", "failed")
    assert told.tasks[0].statements == failure.value.report.statements
    assert told.error == told.tasks[0].error == failure.value.report.error
    with pytest.raises(RunStateError, match="there is no run"):
        world.told("20200101_000000000_00000000")


def test_the_runs_of_a_period_know_their_workflow(history):
    """State, duration, rows and cost of all runs; those of tasks say whose they are."""
    final, failure, plain = history.final, history.failure, history.plain
    found = history.period()
    workflow, load = found[final.run_id], found[final.tasks[0].run_id]
    assert (workflow.kind, workflow.state, workflow.parent_run_id) == ("workflow", "failed", None)
    assert (workflow.seconds, workflow.cost, workflow.error) == (4.5, 0.25, "task mart failed")
    assert (load.kind, load.parent_run_id, load.task) == ("transfer", final.run_id, "load")
    assert (load.read, load.rows, load.state) == (2, 2, "published")
    mart = found[failure.report.run_id]
    assert (mart.kind, mart.state, mart.task) == ("datamart", "failed", "mart")
    assert found[plain.run_id].seconds > 0
    assert [*found] == sorted(found, key=lambda run_id: found[run_id].began_at)
    assert len(found) == 4


def test_the_list_shows_workflows_with_their_tasks(history, capsys):
    """As a tree; JSON nests them. Runs of tasks do not stand beside their workflow."""
    final, failure, plain = history.final, history.failure, history.plain
    lines = [line.split("│")[1:] for line in history.runs(capsys).splitlines() if "│" in line]
    cells = [[cell.strip() for cell in line] for line in lines]
    load = final.tasks[0].run_id
    assert [line[:3] for line in cells] == [
        ["run_id", "job", "state"],
        [plain.run_id, "plain", "published"],
        [final.run_id, "photos", "failed"],
        [load, "├─ load", "succeeded"],
        ["", "├─ parts", "succeeded"],
        [failure.report.run_id, "├─ mart", "failed"],
        ["", "└─ tell", "not_run"],
    ]
    assert cells[3][3:8] == ["2", "2", "0", "0", "1.5 s"]
    (_, found) = json.loads(history.runs(capsys, "--format", "json"))
    assert [task["task"] for task in found["tasks"]] == ["load", "parts", "mart", "tell"]
    assert [task["task"] for task in found["tasks"][1]["tasks"]] == ["2024-01-01", "2024-01-02"]
    assert found["tasks"][0]["run_id"] == load


def test_one_workflow_is_shown_with_all_its_tasks(history, capsys):
    """States, counts, runs and errors of all of them, and how to go on."""
    final, failure = history.final, history.failure
    out = history.runs(capsys, final.run_id)

    assert f"etlkit run JOB --resume {final.run_id}" in out
    tree = [line.split("│")[1:3] for line in out.splitlines() if "─ " in line]
    assert [name.rstrip() for _, name in tree if name] != []
    for text in ("│  ├─ 2024-01-01", "│  └─ 2024-01-02", "nowhere", failure.report.run_id):
        assert text in out
    out = history.runs(capsys, failure.report.run_id)
    assert f"etlkit run JOB --resume {final.run_id}" in out


def test_clean_knows_the_runs_of_tasks(world, bq, capsys):
    """What a resume needs stays; what a later run of the task, or the workflow, has done goes."""
    first = world.begin()
    runs = []
    for _ in range(2):
        with pytest.raises(RowError) as failure:
            world.transfer(first, numbers="0", on_row_error="fail")
        runs.append(failure.value.report.run_id)
    first.end(graph(), JobError("stop"))

    def left():
        return {table.table_id for table in bq.list_tables(world.dataset)}

    assert {f"src_{runs[0]}", f"src_{runs[1]}"} <= left()
    world.runs(capsys, "--clean")
    assert not [name for name in left() if runs[0] in name]
    assert f"src_{runs[1]}" in left()
    second = world.begin(resume=first.run_id)
    assert second.unpublished_child(("load",)) == runs[1]
    second.end(graph(), None)
    world.runs(capsys, "--clean")
    assert not [name for name in left() if runs[1] in name or first.run_id in name]


def test_a_resume_says_what_has_changed_and_the_ledger_keeps_it(world):
    """Finished tasks keep their values; one that failed may be mended."""
    asked = []

    def ask():
        asked.append(1)
        return {"n": 7}

    def told(context):
        return context.tasks["ask"].value["n"]

    def make(check, *more):
        tasks = [
            Task("ask", ask),
            Task("check", DataCheck(f"SELECT {check}", "==", 1), after="ask"),
            Task("told", told, after=["ask", "check"]),
        ]
        return Workflow(
            tasks=[*tasks, *more], name=f"{world.dataset}_changed", work_dataset=world.dataset
        )

    with pytest.raises(JobError) as failure:
        run_workflow(make(0), settings=world.settings)
    run_id = failure.value.report.run_id
    extra = Task("extra", lambda: None, after="told")
    report = run_workflow(make(1, extra), settings=world.settings, resume=run_id)
    changes = ["task 'extra' is new", "task 'check' has another definition"]
    assert (report.state, report.attempt, report.changes) == ("published", 2, changes)
    assert [(each.name, each.state, each.value) for each in report.tasks][2:] == [
        ("told", "succeeded", 7),
        ("extra", "succeeded", None),
    ]
    assert asked == [1]
    told_later = world.told(run_id)
    assert told_later.changes == changes
    assert [(each.name, each.state, each.from_earlier) for each in told_later.tasks] == [
        ("ask", "succeeded", True),
        ("check", "succeeded", False),
        ("told", "succeeded", False),
        ("extra", "succeeded", False),
    ]
    again = run_workflow(make(1, extra), settings=world.settings, resume=run_id)
    assert again == told_later
