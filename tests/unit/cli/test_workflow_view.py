"""A workflow while it runs: the live tree and the plain lines."""

import io
import json
import logging
from dataclasses import replace

import pytest
from rich.console import Console

from etlkit.api.outcomes import Counts
from etlkit.api.workflow_report import TaskReport
from etlkit.cli.logs import configure_logging
from etlkit.cli.workflow_view import LiveTree, workflow_view
from tests.workflow_reports import article, large, task


def waiting(tasks):
    return [TaskReport(name=each.name, kind=each.kind, after=each.after) for each in tasks]


def tree(tasks, *, width=80, height=30, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return LiveTree(
        "jobs.workflow", tasks, Console(file=stream, width=width, height=height, highlight=False)
    )


def lines(view):
    """What the terminal would show, without the spaces at the ends."""
    with view._console.capture() as captured:
        view._console.print(view.render())
    return [line.rstrip() for line in captured.get().splitlines()]


def running(name, kind="transfer", **more):
    return TaskReport(name=name, kind=kind, state="running", attempts=1, **more)


def test_every_task_is_there_from_the_start():
    """Tasks that wait are listed in the order of the graph."""
    shown = lines(tree(waiting(article().tasks)))
    assert shown[0].startswith("jobs.workflow 0 of 18 tasks, ")
    assert [line.split()[1] for line in shown[1:4]] == [
        "object_table",
        "resnet_model",
        "resnet_predict",
    ]
    assert all(line.startswith("○ ") for line in shown[1:])


def test_a_running_transfer_shows_its_rows():
    """Progress stands in the line of its task; a wide terminal has a bar as well."""
    narrow, wide = (tree(waiting(article().tasks), width=width) for width in (80, 200))
    counts = Counts(read=1_200, written=1_190, skipped=10)
    for view in (narrow, wide):
        view.task_changed(("vision_objects",), running("vision_objects"))
        view.task_progress(("vision_objects",), "transform", counts, 5_000)
    (line,) = [line for line in lines(narrow) if "vision_objects" in line]
    assert line.startswith("▶ vision_objects")
    assert "transform: 1,200 of 5,000 rows" in line
    assert "━" not in line
    (line,) = [line for line in lines(wide) if "vision_objects" in line]
    assert "1,190 written, 10 skipped" in line
    assert "━━" in line


def test_a_retry_begins_anew_and_says_which_attempt_it_is():
    """Between attempts the task waits with its error; the next one has no old rows."""
    view = tree(waiting(article().tasks), width=200)
    view.task_changed(("vision_objects",), running("vision_objects"))
    view.task_progress(("vision_objects",), "transform", Counts(read=77), 100)
    failed = replace(running("vision_objects"), state="waiting", error="UNAVAILABLE")
    view.task_changed(("vision_objects",), failed)
    (line,) = [line for line in lines(view) if "vision_objects" in line]
    assert "attempt 1 failed, it is tried again, UNAVAILABLE" in line
    view.task_changed(("vision_objects",), replace(running("vision_objects"), attempts=2))
    (line,) = [line for line in lines(view) if "vision_objects" in line]
    assert "attempt 2" in line
    assert "77" not in line


def test_iterations_and_child_tasks_stand_below_their_task():
    """A path names those around: they are indented; a long list keeps only what matters."""
    view = tree(waiting(article().tasks))
    view.task_changed(("by_day",), running("by_day"))
    days = next(each for each in article().tasks if each.name == "by_day").children
    for day in days[:20]:
        view.task_changed(("by_day", day.name), day)
    view.task_changed(("by_day", days[20].name), running(days[20].name))
    shown = lines(view)
    start = next(i for i, line in enumerate(shown) if line.startswith("▶ by_day"))
    assert "20 of 21 done" in shown[start]
    assert shown[start + 2].endswith("0.0 s")
    below = [line.split()[:3] for line in shown[start + 1 : start + 4]]
    assert below == [
        ["✗", "2026-10-13", "transfer,"],
        ["▶", "2026-10-21", "transfer"],
        ["✓", "19", "succeeded"],
    ]
    assert shown[start + 1].startswith("  ✗")


@pytest.mark.parametrize("height", [5, 12, 24])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_tree_fits_the_terminal(width, height):
    """Whatever runs, no line is too long and there are not too many of them."""
    report = large(100)
    view = tree(waiting(report.tasks), width=width, height=height)
    for each in report.tasks[:50]:
        view.task_changed((each.name,), each)
    for each in report.tasks[50:70]:
        view.task_changed((each.name,), running(each.name))
    shown = lines(view)
    assert len(shown) <= height
    assert max(map(len, shown)) <= width


def test_what_needs_attention_is_folded_last():
    """In a low window the failed and the running tasks remain; of the others the last ended."""
    tasks = [task(f"t{i}", "python", 0, 1) for i in range(30)]
    view = tree(tasks, height=8)
    view.task_changed(("t7",), replace(tasks[7], state="failed", error="division by zero"))
    view.task_changed(("t9",), running("t9", "python"))
    shown = lines(view)
    assert "1 failed" in shown[0]
    assert [line.split()[:2] for line in shown[1:]] == [
        *(["✗", "t7"], ["▶", "t9"], ["✓", "t27"], ["✓", "t28"], ["✓", "t29"], ["✓", "25"]),
    ]
    assert "division by zero" in shown[1]


def test_what_comes_next_is_shown_as_far_as_it_fits():
    """Of the tasks that wait the first ones are listed, the others are a number."""
    shown = lines(tree(waiting(large(30).tasks), height=10))
    assert len(shown) == 9
    assert [line.split()[1] for line in shown[1:4]] == ["task_000", "task_001", "task_002"]
    assert shown[-1].split()[:3] == ["○", "23", "waiting"]


def test_the_tree_follows_the_size_of_the_window():
    """The next picture after a resize fits."""
    view = tree(waiting(large(60).tasks), width=120, height=70)
    assert len(lines(view)) == 61
    view._console._width, view._console._height = 50, 10
    shown = lines(view)
    assert len(shown) <= 10
    assert max(map(len, shown)) <= 50


def test_a_terminal_without_unicode_gets_ascii():
    """Symbols are drawn with what the terminal can write."""
    (line,) = lines(tree([task("a", "python", 0, 1)], encoding="ascii"))[1:]
    assert line.startswith("+ a ")


def test_names_and_errors_cannot_control_the_terminal():
    """Control characters are shown, and an error stays in its line."""
    bad = task("a\x1b[2J", "python", 0, 1, state="failed", error="x\x1b[31m\ny")
    shown = lines(tree([bad], width=120))
    assert len(shown) == 2
    assert "\x1b" not in shown[1]
    assert "a\\x1b[2J" in shown[1]
    assert "x\\x1b[31m y" in shown[1]


@pytest.mark.parametrize("as_json", [False, True])
def test_without_a_terminal_there_are_lines(capsys, as_json):
    """A line when a task begins and when it ends, plain or as JSON; the first progress waits."""
    configure_logging(logging.INFO, as_json=as_json)
    days = next(each for each in article().tasks if each.name == "by_day").children
    with workflow_view("jobs.workflow", [], quiet=False, plain=as_json) as view:
        view.task_changed(("by_day", "x\x1b"), running("x"))
        view.task_progress(("by_day", "x\x1b"), "transform", Counts(read=1), 10)
        view.task_changed(("by_day", "x\x1b"), days[0])
        view.task_changed(("by_day", days[12].name), days[12])
    seen = capsys.readouterr().err.splitlines()
    if as_json:
        assert [json.loads(line)["level"] for line in seen] == ["info", "info", "error"]
        seen = [json.loads(line)["message"] for line in seen]
    assert seen[:2] == [
        "by_day / x\\x1b: running",
        "by_day / x\\x1b: succeeded, 118 written, 2 skipped, 3.5 s",
    ]
    assert seen[2].startswith("by_day / 2026-10-13: failed, attempt 3, 0 written, 6.0 s, row 7")


def test_progress_is_a_line_every_ten_seconds(monkeypatch, capsys):
    """Each task has its own ten seconds."""
    now = [100.0]
    monkeypatch.setattr("etlkit.cli.workflow_view.time.monotonic", lambda: now[0])
    configure_logging(logging.INFO)
    with workflow_view("w", [], quiet=False, plain=True) as view:
        view.task_changed(("a",), running("a"))
        for now[0], read in ((105.0, 0), (111.0, 12), (115.0, 20), (122.0, 34)):
            view.task_progress(("a",), "transform", Counts(read=read), 100)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "a: transform: 12 of 100 rows, 2.0/s, 44 s left, 0 written",
        "a: transform: 34 of 100 rows, 2.0/s, 33 s left, 0 written",
    ]


def test_quiet_shows_nothing(capsys):
    """`--quiet` leaves stderr to errors."""
    configure_logging(logging.INFO)
    with workflow_view("w", article().tasks, quiet=True, plain=False) as view:
        view.task_changed(("a",), running("a"))
        view.task_progress(("a",), "transform", Counts(), None)
    assert capsys.readouterr() == ("", "")


def test_the_live_tree_prints_log_lines_above_itself():
    """While the tree is shown, a log line stays readable above it; afterwards the tree is gone."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    console = Console(file=stream, width=80, height=20, force_terminal=True)
    with LiveTree("w", waiting(article().tasks), console) as view:
        console.print("a log line")
        view.task_changed(("slack",), running("slack", "webhook"))
    written = stream.buffer.getvalue().decode()
    assert "a log line\n" in written
    assert written.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))
