"""The table at the end of a workflow's run."""

import json
import logging
import sys

import pytest

from etlkit.api.workflow_report import WorkflowReport
from etlkit.cli.logs import configure_logging
from etlkit.cli.workflow_summary import show_workflow
from tests.unit.cli.terminal import Terminal
from tests.workflow_reports import article, hostile


@pytest.fixture
def shown(capsys):
    """The lines on stderr for a report."""

    def show(report, *, as_json=False):
        configure_logging(logging.INFO, as_json=as_json)
        show_workflow(report)
        seen = capsys.readouterr()
        assert seen.out == ""
        return seen.err.splitlines()

    return show


def cells(lines, name):
    (line,) = [
        line for line in lines if line.startswith("│") and line.split("│")[1].strip() == name
    ]
    return [cell.strip() for cell in line.split("│")[2:-1]]


def test_each_task_has_a_row(shown):
    """State, rows, rejects, calls, bytes, cost and time; a task of an earlier attempt says so."""
    lines = shown(article())
    assert cells(lines, "vision_objects") == [
        *("transfer", "succeeded", "4,961", "27", "320", "", "7.44 USD", "58 s"),
    ]
    assert cells(lines, "resnet_model")[-1] == "earlier"
    assert cells(lines, "tell_nobody")[1:3] == ["bypassed", ""]


def test_long_loops_are_folded(shown):
    """Of 31 iterations the failed one has a row, the others share one."""
    lines = shown(article())
    assert cells(lines, "2026-10-13")[1] == "failed"
    assert cells(lines, "30 of 31 iterations")[1] == "succeeded"
    assert not any("2026-10-14" in line for line in lines)
    assert cells(lines, "agreement")[2] == "1,240"


def test_errors_warnings_and_totals_follow(shown):
    """What failed is named by its path, with its error; the last line sums up."""
    lines = shown(article())
    assert lines[2] == "the webhook of on_failure did not answer: timeout after 10 s"
    assert lines[-2] == "dbt_build / test.unique_uri: 3 rows are not unique"
    assert lines[-1].startswith("jobs.workflow: 12 succeeded, 2 failed, ")
    assert lines[-1].endswith("260.0 MiB billed, 14.94 USD, in 2 min 23 s")


def test_a_narrow_terminal_keeps_the_columns_that_matter(monkeypatch):
    """At 80 columns no cell is cut: columns are left out instead."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure_logging(logging.INFO)
    show_workflow(article())
    lines = [line for line in terminal.getvalue().splitlines() if line.startswith("│")]
    assert max(map(len, lines)) <= 80
    titles = [cell.strip() for cell in lines[0].split("│")[1:-1]]
    assert titles == ["task", "state", "rows", "rejected", "took"]
    assert any("model.photos.objects_by_label" in line for line in lines)


def test_json_logs_have_no_table(shown):
    """With JSON logs each row is a line."""
    lines = [json.loads(line)["message"] for line in shown(article(), as_json=True)]
    assert "joined | datamart | succeeded | 44,100 | 200.0 MiB | 0.0012 USD | 20 s" in lines


def test_text_of_data_cannot_control_the_terminal(shown):
    """Control characters in a name or an error are shown."""
    report = hostile()
    report.tasks[0].name, report.tasks[0].error = "a\x1b[2J", "b\x1b[2J"
    report.tasks[0].children = []
    text = "\n".join(shown(report))
    assert "\x1b" not in text
    assert "a\\x1b[2J" in text
    assert "b\\x1b[2J" in text


def test_a_run_that_was_published_before_has_no_table(shown):
    """The log has said so; nothing is known of its tasks."""
    assert shown(WorkflowReport(run_id="r", job="flow", state="published")) == []


def test_a_log_cannot_control_the_terminal(capsys):
    """An error that a function raises may hold anything."""
    configure_logging(logging.INFO)
    logging.getLogger("etlkit.workflow").error("task a failed: \x1b[2Jgone\nnext line")
    assert capsys.readouterr().err == "task a failed: \\x1b[2Jgone\nnext line\n"
