"""The graph of a workflow as text, Mermaid and JSON."""

import io
import json
import re

import pytest

from etlkit.api.workflow_report import TaskReport
from etlkit.cli.graph import FORMATS, steps, write_graph
from tests.unit.cli.terminal import Terminal
from tests.workflow_reports import HOSTILE, article, hostile, large, succeeded, task


def written(report, format_name, stream=None):
    stream = stream or io.StringIO()
    write_graph(stream, report.job, report.tasks, format_name)
    return stream.getvalue()


def test_each_task_stands_in_a_step_after_those_before_it():
    """Every edge leads to a later step, and no task is missing."""
    tasks = large(40).tasks
    number = {task.name: i for i, step in enumerate(steps(tasks)) for task in step}
    assert sorted(number) == [task.name for task in tasks]
    edges = [(before, task.name) for task in tasks for before in task.after]
    assert len(edges) > 30
    assert all(number[before] < number[name] for before, name in edges)


def test_a_name_that_is_no_task_is_no_step():
    """A report of a part of a workflow may name tasks that are not in it."""
    (step,) = steps([task("only", "python", after=["elsewhere"])])
    assert [each.name for each in step] == ["only"]


def test_the_text_has_a_line_for_each_task():
    """Three tasks can be read at a glance: step, name, what it runs, what comes before."""
    assert written(succeeded(), "text").splitlines() == [
        "jobs.small: 3 tasks in 3 steps",
        "step  task          runs      after",
        "   1  extract       transfer",
        "   2  clean         datamart  extract",
        "   3  check         check     clean",
    ]


def test_the_text_shows_branches_loops_and_child_workflows():
    """An edge of a branch says which, a loop what it goes through, a child workflow its tasks."""
    lines = written(article(), "text").splitlines()
    (by_day,) = [line for line in lines if " by_day " in line]
    assert "transfer, 31 days from 2026-10-01" in by_day
    assert by_day.endswith("usable (then)")
    compare = lines.index(next(line for line in lines if " compare " in line))
    assert lines[compare + 2].split() == ["agreement", "datamart", "labels"]
    assert lines[compare + 2].startswith(" " * 8)
    assert not any("2026-10-13" in line for line in lines)


def test_forty_tasks_fit_a_terminal(monkeypatch):
    """On a terminal no line is wider than it, and long lists of tasks before are folded."""
    monkeypatch.setenv("COLUMNS", "80")
    report = large(40)
    report.tasks.append(task("last", "python", after=[f"task_{i:03}" for i in range(40)]))
    text = re.sub(r"\x1b\[[\d;]*m", "", written(report, "text", Terminal()))
    assert max(map(len, text.splitlines())) <= 80
    assert "and" not in text
    assert "task_003, 36 more" in " ".join(text.split())


def test_names_cannot_control_the_terminal():
    """Control characters of a name are shown, not sent."""
    report = succeeded()
    report.tasks[0].name = "a\x1b[2J"
    assert "a\\x1b[2J" in written(report, "text")


def test_mermaid_has_nodes_edges_and_subgraphs():
    """Branches are labelled; a child workflow is a subgraph with its own edges."""
    text = written(article(), "mermaid")
    assert text.startswith("flowchart TD\n")
    assert '    t10{"usable<br>branch"}\n' in text
    assert "    t10 -->|otherwise| t12\n" in text
    assert '    subgraph t14["compare"]\n' in text
    assert "        t14_1 --> t14_2\n" in text


def test_mermaid_takes_names_for_text():
    """No character of a name can end its label or become a tag."""
    text = written(hostile(), "mermaid")
    labels = re.findall(r'\["(.*?)"\]', text)
    assert len(labels) >= 2
    assert all(not set(label.replace("<br>", "")) & set("<>\"'[]{}|") for label in labels)


def test_json_has_the_edges():
    """Programs get names, kinds, edges and the tasks of child workflows."""
    graph = json.loads(written(article(), "json"))
    nodes = {node["name"]: node for node in graph["tasks"]}
    assert graph["workflow"] == "jobs.workflow"
    assert nodes["by_day"]["after"] == {"usable": "then"}
    assert [each["name"] for each in nodes["compare"]["tasks"]] == [
        "labels",
        "agreement",
        "disagreements",
    ]
    assert "tasks" not in nodes["by_day"]


@pytest.mark.parametrize("format_name", FORMATS)
def test_an_empty_workflow_has_a_graph(format_name):
    """Each format copes with no task and with one."""
    for tasks in ([], [TaskReport(name=HOSTILE, kind="python")]):
        stream = io.StringIO()
        write_graph(stream, "empty", tasks, format_name)
        assert stream.getvalue()
