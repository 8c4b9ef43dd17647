"""Workflows over the real clients and the local server: SQL, transfers, stops and the command line."""

import signal
import textwrap
import threading

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Condition,
    DataCheck,
    Datamart,
    EtlBase,
    IfElse,
    Loop,
    String,
    Task,
    TaskValue,
    TransferJob,
    Workflow,
    WorkflowError,
    dry_run_workflow,
    run_workflow,
)
from etlkit.api.run import Interrupted, Settings

LONG_S = 60


class Double(EtlBase):
    def transform_row(self, row):
        return {**row, "twice": row["n"] * 2}


@pytest.fixture
def settings(local_server):
    return Settings(environ=local_server.endpoints.environ())


@pytest.fixture
def start(settings, dataset):
    """Run a workflow, or a list of tasks; gives the report, also of one that failed."""

    def run(workflow, **options):
        if not isinstance(workflow, Workflow):
            workflow = Workflow(tasks=workflow)
        try:
            return run_workflow(workflow, name=f"flow_{dataset}", settings=settings, **options)
        except (WorkflowError, Interrupted) as error:
            return error.report

    return run


def states(report):
    tasks = getattr(report, "tasks", None) or report.children
    return {task.name: task.state for task in tasks}


def test_all_kinds_of_sql(start, run, dataset):
    """Datamarts, a transfer, loops over rows and values, checks and a branch, with variables."""
    made = Datamart(sql=f"CREATE TABLE {dataset}.nums AS SELECT n FROM UNNEST([1, 2, 3, 4]) AS n")
    load = TransferJob(
        source=BigQuerySource(f"SELECT n FROM {dataset}.nums WHERE n > $least$"),
        transform=Double,
        sink=BigQuerySink(f"{dataset}.doubled_$suffix$", mode="replace"),
    )
    top = Datamart(
        sql=f"SELECT 1 AS x; SELECT MAX(twice) AS top, NUMERIC '1.5' AS d, DATE '2024-01-02' AS day "
        f"FROM {dataset}.doubled_a"
    )
    part = Datamart(
        sql="SELECT $x$ AS x, $n$ AS n",
        query_mode="insert",
        destination=f"{dataset}.part_$x$",
        write_disposition="truncate",
        labels={"own": "yes"},
    )
    enough = DataCheck("SELECT top - $least$ FROM (SELECT $top$ AS top)", "==", 7)
    loop = Loop(query=f"SELECT CONCAT('p', n) AS x FROM {dataset}.nums WHERE n < 3 ORDER BY n")
    tasks = [
        Task("made", made),
        Task("load", load, after="made"),
        Task("top", top, after="load"),
        Task("parts", part, loop=loop, after="made", variables={"n": 7}),
        Task("enough", enough, variables={"top": TaskValue("top", "value.top")}),
        Task("none", DataCheck(f"SELECT n FROM {dataset}.nums WHERE n > 4"), after="made"),
        Task("many", IfElse(Condition(TaskValue("load", "written"), ">", 2), "yes", "no")),
        Task("yes", lambda c: c.tasks["top"].value, after="top"),
        Task("no", lambda: None),
    ]
    workflow = Workflow(
        tasks=tasks,
        variables={"least": 1, "suffix": String("a", text=True)},
        labels={"team": "data"},
    )
    report = start(workflow)
    assert report.state == "published"
    assert states(report) == {task.name: "succeeded" for task in tasks} | {"no": "bypassed"}
    by_name = {task.name: task for task in report.tasks}
    assert by_name["top"].value == {"top": 8, "d": 1.5, "day": "2024-01-02"}
    assert by_name["yes"].value == by_name["top"].value
    assert (by_name["load"].read, by_name["load"].rows) == (3, 3)
    assert by_name["enough"].value == 7
    assert by_name["none"].value == 0
    assert states(by_name["parts"]) == {"p1": "succeeded", "p2": "succeeded"}
    assert by_name["parts"].rows == 2
    assert run(f"SELECT twice FROM {dataset}.doubled_a ORDER BY 1") == [(4,), (6,), (8,)]
    assert run(f"SELECT x, n FROM {dataset}.part_p2") == [("p2", 7)]


CHECKS = [
    (DataCheck("SELECT 5", ">=", 5), "succeeded", 5, ""),
    (DataCheck("SELECT 5", ">", 5), "failed", 5, "the number is 5; it must be: number > 5"),
    (DataCheck("SELECT 0.1 + 0.2", "<", 0.5), "succeeded", pytest.approx(0.3), ""),
    (DataCheck("SELECT NUMERIC '0.1'", "==", 0.1), "succeeded", 0.1, ""),
    (DataCheck("SELECT 5", ">", 5, branch_only=True), "succeeded", 5, ""),
    (DataCheck("SELECT CAST(NULL AS INT64)", ">", 5), "failed", None, "the number is NULL"),
    (DataCheck("SELECT NULL", ">", 5, on_null="pass"), "succeeded", None, ""),
    (DataCheck("SELECT 1 UNION ALL SELECT 2", ">", 0), "failed", None, "this gave 2 rows"),
    (DataCheck("SELECT 1, 2", ">", 0), "failed", None, "this gave 1 row of 2 columns"),
    (DataCheck("SELECT 1 FROM (SELECT 1) WHERE FALSE", ">", 0), "failed", None, "0 rows"),
    (DataCheck("SELECT 'x'", ">", 0), "failed", None, "this gave a str"),
    (DataCheck("SELECT TRUE", ">", 0), "failed", None, "this gave a bool"),
    (DataCheck("SELECT CAST('nan' AS FLOAT64)", ">", 0), "failed", None, "this gave nan"),
    (DataCheck("SELECT 1"), "failed", 1, "1 row; it must be: the query gives no rows"),
    (DataCheck("SELECT 1", branch_only=True), "succeeded", 1, ""),
    (DataCheck("SELECT nope FROM (SELECT 1 AS n)"), "failed", None, "nope"),
]


def test_checks(start, bq):
    """Six operators, a policy for NULL, rows, and what is no number; their jobs are labelled."""
    tasks = [Task(f"c{number}", check) for number, (check, *_) in enumerate(CHECKS)]
    report = start(Workflow(tasks=tasks, stop_on_error=False, labels={"team": "data"}))
    for task, (check, state, value, message) in zip(report.tasks, CHECKS, strict=True):
        assert (task.state, task.value) == (state, value), check
        assert message in (task.error or "")
    (statement,) = report.tasks[0].statements
    labels = bq.get_job(statement.job_id).labels
    assert (labels["team"], labels["etlkit_run"]) == ("data", report.run_id)
    assert statement.state == "done"


@pytest.fixture
def hanging():
    """Transforms that wait until the test lets them go, and tell when they are reached."""

    class Hanging(EtlBase):
        reached, release = threading.Event(), threading.Event()

        def transform_row(self, row):
            type(self).reached.set()
            assert type(self).release.wait(LONG_S)
            return row

    return Hanging


def test_a_stop_keeps_the_rows_of_a_transfer(start, run, dataset, hanging):
    """Its rows in flight are finished; a resume goes on with the rest, as the same run."""
    run(f"CREATE TABLE {dataset}.nums AS SELECT n FROM UNNEST([1, 2, 3]) AS n")
    job = TransferJob(
        source=BigQuerySource(f"SELECT n FROM {dataset}.nums"),
        transform=hanging,
        sink=BigQuerySink(f"{dataset}.copy"),
    )
    tasks = [Task("load", job), Task("next", lambda: 1, after="load")]

    def on_start(attempt):
        def stop():
            assert hanging.reached.wait(LONG_S)
            attempt.request_stop(signal.SIGTERM)
            hanging.release.set()

        threading.Thread(target=stop).start()

    first = start(tasks, on_start=on_start)
    assert (first.state, states(first)) == (
        "interrupted",
        {"load": "interrupted", "next": "not_run"},
    )
    again = start(tasks, resume=first.run_id)
    assert (again.state, again.attempt) == ("published", 2)
    assert again.tasks[0].run_id == first.tasks[0].run_id
    assert run(f"SELECT n FROM {dataset}.copy ORDER BY n") == [(1,), (2,), (3,)]


ENDLESS = (
    "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a "
    "CROSS JOIN UNNEST(GENERATE_ARRAY(1, 1000000)) AS b WHERE MOD(a * b, 7) = 3"
)


@pytest.mark.parametrize("kind", ["datamart", "check"])
def test_time_limits_cancel_jobs_in_bigquery(start, bq, kind):
    """A statement that nobody waits for any more would still cost."""
    run = Datamart(sql=ENDLESS) if kind == "datamart" else DataCheck(ENDLESS, ">", 0)
    report = start([Task("slow", run, timeout_s=4)])
    (task,) = report.tasks
    assert (report.state, task.state) == ("failed", "failed")
    assert "longer than timeout_s=4" in task.error
    job = bq.get_job(task.statements[0].job_id)
    assert job.state == "DONE"
    assert job.error_result["reason"] == "stopped"


def test_a_dry_run_says_what_can_be_known(settings, run, dataset):
    """What an earlier task makes is not there yet; what is wrong is told for all tasks."""
    run(f"CREATE TABLE {dataset}.nums AS SELECT 1 AS n")
    tasks = [
        Task("made", Datamart(sql=f"CREATE TABLE {dataset}.later AS SELECT n FROM {dataset}.nums")),
        Task("ok", DataCheck(f"SELECT MAX(n) FROM {dataset}.nums", ">", 0)),
        Task("later", DataCheck(f"SELECT MAX(n) FROM {dataset}.later", ">", 0), after="made"),
        Task(
            "load",
            TransferJob(
                source=BigQuerySource(f"SELECT n FROM {dataset}.nums"),
                transform=Double,
                sink=BigQuerySink(f"{dataset}.copy"),
            ),
        ),
        Task("python", lambda: 1),
    ]
    report = dry_run_workflow(Workflow(tasks=tasks), settings=settings)
    assert report.state == "checked"
    assert states(report) == {
        "made": "checked",
        "ok": "checked",
        "later": "unchecked",
        "load": "checked",
        "python": "unchecked",
    }
    assert report.tasks[3].target.endswith(f"{dataset}.copy")
    wrong = [*tasks, Task("bad", DataCheck("SELECT nope")), Task("c", DataCheck("SELECT nix"))]
    with pytest.raises(WorkflowError) as caught:
        dry_run_workflow(Workflow(tasks=wrong), settings=settings)
    assert caught.value.failed == ("bad", "c")
    assert "nope" in caught.value.report.error
    assert [
        table for (table,) in run(f"SELECT table_name FROM {dataset}.INFORMATION_SCHEMA.TABLES")
    ] == ["nums"]


def test_the_command_line(cli, tmp_path, dataset):
    """Variables, a failure, `--resume`, `--from`, and a name that does not exist."""
    module = f"flow_{dataset}"
    (tmp_path / f"{module}.py").write_text(
        textwrap.dedent("""\
            from pathlib import Path
            from etlkit import DataCheck, Task, Workflow

            def flaky():
                if not Path("mended").exists():
                    raise ValueError("not yet")

            job = Workflow(
                tasks=[
                    Task("check", DataCheck("SELECT $n$", ">", 1)),
                    Task("flaky", flaky, after="check"),
                ],
                variables={"n": 1},
            )
        """)
    )
    status, report, seen = cli(module, "--var", "n=2")
    assert (status, report["state"], report["job"]) == (1, "failed", module)
    assert "check: succeeded" in seen
    assert "raised ValueError: not yet" in seen
    status, _, seen = cli(module, "--resume", "--from", "chek")
    assert (status, "did you mean 'check'?" in seen) == (2, True)
    (tmp_path / "mended").touch()
    status, again, _ = cli(module, "--resume")
    assert (status, again["run_id"]) == (0, report["run_id"])
    assert [task["from_earlier"] for task in again["tasks"]] == [True, False]
    assert again["variables"] == {"n": "2"}
    status, only, _ = cli(module, "--only", "flaky")
    assert [task["state"] for task in only["tasks"]] == ["skipped", "succeeded"]
    status, _, seen = cli(module, "--limit", "5")
    assert (status, "--limit does not go with a workflow" in seen) == (2, True)
