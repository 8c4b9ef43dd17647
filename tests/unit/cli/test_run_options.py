"""Options of `etlkit run`: which go with which kind of job, and those about seeing."""

import json

import pytest

from etlkit.cli import run

JOBS = """
from etlkit import Datamart, EtlBase, TransferJob
from etlkit.testing import MemorySink, MemorySource
from etlkit.workflow.conditions import Condition, IfElse
from etlkit.workflow.definition import Workflow
from etlkit.workflow.loop import Loop
from etlkit.workflow.task import Task

mart = Datamart(sql="SELECT 1")
load = TransferJob(source=MemorySource([]), transform=EtlBase, sink=MemorySink())
child = Workflow(tasks=[Task("first", mart), Task("second", mart, after="first")])
job = Workflow(
    tasks=[
        Task("end", mart, after=["daily", "child"]),
        Task("daily", mart, after="start", loop=Loop({"region": ["jp", "us"]}, parallel=True)),
        Task("start", mart),
        Task("child", child, after="start"),
    ]
)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with jobs in it, as the working directory."""
    (tmp_path / "graph_jobs.py").write_text(JOBS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_graph_prints_the_tasks_and_runs_nothing(folder, capsys):
    """The edges are those of the definition, with loops and child workflows."""
    assert run.main(["graph_jobs.py", "--graph"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "graph_jobs: 4 tasks in 3 steps",
        "step  task          runs                                              after",
        "   1  start         datamart",
        "   2  daily         datamart, 2 iterations over region, side by side  start",
        "      child         workflow                                          start",
        "        first       datamart",
        "        second      datamart                                          first",
        "   3  end           datamart                                          daily, child",
    ]


def test_graph_has_formats_for_programs(folder, capsys):
    """JSON, Mermaid and SVG go to stdout, and nothing else does."""
    assert run.main(["graph_jobs.py", "--graph", "--format", "json"]) == 0
    graph = json.loads(capsys.readouterr().out)
    assert {each["name"]: list(each["after"]) for each in graph["tasks"]} == {
        "start": [],
        "daily": ["start"],
        "child": ["start"],
        "end": ["daily", "child"],
    }
    for format_name, first in (("mermaid", "flowchart TD"), ("svg", "<svg")):
        assert run.main(["graph_jobs.py", "--graph", "--format", format_name]) == 0
        assert capsys.readouterr().out.startswith(first)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["graph_jobs:mart", "--graph"], "--graph shows a Workflow; graph_jobs:mart is a Datamart"),
        (["graph_jobs", "--format", "svg"], "--format goes with --graph"),
        (["graph_jobs", "--graph", "--format", "png"], "'png' is not one of 'text', 'mermaid'"),
        (
            ["graph_jobs:mart", "--html", "no/run.html"],
            "there is no folder no for the page run.html",
        ),
        (["graph_jobs:mart", "--html", "."], "is a folder; name a file"),
        (["graph_jobs:mart", "--html", "a.html", "--dry-run"], "--html does not go with --dry-run"),
        (
            ["graph_jobs:mart", "--html", "a.html", "--preview=3"],
            "--html does not go with --preview",
        ),
        (["graph_jobs", "--preview"], "--preview does not go with a workflow"),
        (["graph_jobs", "--rehearse", "5"], "--rehearse does not go with a workflow"),
        (["graph_jobs:mart", "--diff", "HEAD"], "--diff does not go with a datamart"),
        (["graph_jobs:load", "--rehearse", "0"], "0 is not in the range 1<=x<=100000"),
        (
            ["graph_jobs:load", "--rehearse", "5"],
            "--rehearse needs a BigQuerySink, not a MemorySink",
        ),
        (
            ["graph_jobs:load", "--rehearse", "5", "--preview"],
            "--rehearse does not go with --preview",
        ),
        (
            ["graph_jobs:load", "--rehearse", "5", "--resume"],
            "--resume does not go with --rehearse",
        ),
        (
            ["graph_jobs:load", "--rehearse", "5", "--dry-run"],
            "--dry-run does not go with --rehearse",
        ),
        (["graph_jobs:load", "--diff", "HEAD", "--limit", "1"], "--limit does not go with --diff"),
        (["graph_jobs:load", "--sample", "5"], "--sample goes with --diff"),
        (["graph_jobs:load", "--seed", "0"], "--seed goes with --rehearse or --diff"),
        (["graph_jobs:load", "--json"], "--json goes with --preview or --rehearse or --diff"),
        (["graph_jobs:load", "--keep-table", "--preview"], "--keep-table goes with --rehearse"),
        (["graph_jobs:load", "--preview", "--report", "a"], "--report does not go with --preview"),
        (["graph_jobs:load", "--diff", "no.py"], "--diff no.py: no file no.py"),
        (
            ["graph_jobs:load", "--diff", "HEAD"],
            "there is no such file, and this folder is in no git",
        ),
        (
            ["graph_jobs", "--limit", "1", "--price-per-tib", "5", "--dry-run"],
            "--limit, --price-per",
        ),
        (["graph_jobs", "--resume", "--dry-run"], "--resume does not go with --dry-run"),
        (["graph_jobs", "--only", "strat"], "did you mean 'start'?"),
        (["graph_jobs:mart", "--from", "a"], "--from does not go with a datamart"),
        (["graph_jobs:load", "--skip", "a"], "--skip does not go with a transfer"),
        (["graph_jobs:load", "--diff", ""], "'--diff': the value is empty"),
        (["graph_jobs:load", "--resume="], "'--resume': the value is empty"),
        (["graph_jobs:load", "--local-dir="], "'--local-dir': the value is empty"),
        (["graph_jobs:load", "--only", "a"], "of a transfer, --only goes with --retry-rejects"),
        (
            ["graph_jobs:load", "--retry-rejects", "x", "--only", "a", "--only", "b"],
            "of a transfer, --only takes one class of error",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(folder, capsys, arguments, sentence):
    """Each wrong use has its sentence and status 2."""
    assert run.main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_without_the_extra_nothing_is_run(folder, capsys, monkeypatch):
    """A missing package is told before a run is paid for; the text of a graph needs none."""
    monkeypatch.setattr("etlkit.cli.pages.base._MODULES", ("no_such_module",))
    for arguments in (["--graph", "--format", "svg"], ["--html", "a.html"]):
        assert run.main(["graph_jobs", *arguments]) == 2
        assert "a page needs no_such_module. It comes with the extra" in capsys.readouterr().err
    assert run.main(["graph_jobs", "--graph"]) == 0
