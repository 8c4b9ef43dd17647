import json
from dataclasses import fields

import pytest

from etlkit.api.report import DatamartReport, RunReport, StatementReport
from etlkit.api.worker_report import WorkerReport
from etlkit.api.workflow_report import FailedAttempt, TaskReport, WorkflowReport
from etlkit.bigquery.runs.stored_reports import MAX_REPORT_CHARS, from_stored, to_stored

STATEMENT = StatementReport(
    number=1,
    line=2,
    statement="SELECT 1",
    state="done",
    rows=3,
    children=[StatementReport(number=1, line=1, statement="inner")],
)
TASK = TaskReport(
    name="load",
    kind="datamart",
    state="failed",
    after={"first": "then"},
    failed_attempts=[FailedAttempt(started_at="a", finished_at="b", error="no")],
    statements=[STATEMENT],
    rejects={"ValueError": 2},
    details={"SQL": "SELECT 1"},
    children=[TaskReport(name="model", kind="dbt", rows=1)],
    cost=0.1,
)
REPORTS = [
    RunReport(
        run_id="r",
        job="j",
        state="published",
        target="t",
        first_errors=["no"],
        seconds={"open": 1.5},
        workers=[WorkerReport(worker="w", rows=3)],
    ),
    DatamartReport(run_id="r", job="j", statements=[STATEMENT], variables={"day": "1"}),
    WorkflowReport(run_id="r", job="w", tasks=[TASK], changes=["task load is new"]),
    TASK,
]


def through_json(report):
    return from_stored(json.loads(json.dumps(to_stored(report))))


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: type(report).__name__)
def test_a_report_comes_back_as_it_was(report):
    """With all that stands inside of it."""
    assert through_json(report) == report


def test_what_says_nothing_is_not_stored():
    """Thousands of tasks are a few bytes each."""
    stored = to_stored(TaskReport(name="load", kind="python"))
    assert stored == {"kind_of_report": "task", "name": "load", "kind": "python"}


def test_the_value_of_a_task_is_not_part_of_it():
    """It has a column of its own, and must not be shortened."""
    assert "value" not in to_stored(TaskReport(name="load", kind="python", value={"n": 1}))


def test_fields_of_a_later_version_are_left_out():
    """Two versions may share a ledger."""
    stored = to_stored(TASK)
    stored["colour"] = stored["children"][0]["colour"] = "green"
    assert from_stored(stored) == TASK


def test_a_long_report_is_shortened():
    """Texts first, then lists; what counts stays, and a graph keeps all its tasks."""
    report = DatamartReport(
        run_id="r",
        job="j",
        error="x" * MAX_REPORT_CHARS,
        statements=[
            StatementReport(number=n, line=n, statement="y" * 300, children=[STATEMENT] * 60)
            for n in range(300)
        ],
    )
    kept = through_json(report)
    assert len(json.dumps(to_stored(report))) < MAX_REPORT_CHARS * 2
    assert len(kept.error) < 3_000
    assert kept.statements[0].number == 0
    assert 0 < len(kept.statements) < 300
    tasks = [TaskReport(name=f"t{n}", kind="check", details={"SQL": "z" * 900}) for n in range(400)]
    graph = through_json(WorkflowReport(run_id="r", job="w", tasks=tasks))
    assert [task.name for task in graph.tasks] == [task.name for task in tasks]
    assert len(graph.tasks[0].details["SQL"]) < 300


def test_all_nested_reports_are_known():
    """A field that holds reports has to be named, or it would come back as dicts."""
    nested = {
        (type(report).__name__, field.name)
        for report in [*REPORTS, STATEMENT]
        for field in fields(report)
        if "Report" in str(field.type) or "FailedAttempt" in str(field.type)
    }
    assert nested == {
        ("RunReport", "workers"),
        ("DatamartReport", "statements"),
        ("StatementReport", "children"),
        ("WorkflowReport", "tasks"),
        ("TaskReport", "statements"),
        ("TaskReport", "children"),
        ("TaskReport", "failed_attempts"),
    }
