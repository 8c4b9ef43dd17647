"""Runs in a notebook: progress below the cell, and reports as tables."""

import html as std_html
from types import SimpleNamespace

import html5lib
import pytest

pytest.importorskip("IPython")

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from etlkit.api.report import RunReport, StatementReport
from etlkit.api.workflow_report import TaskReport, WorkflowReport

EVIL = "<script>alert('x')</script>"

CELL = """
from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob, preview_job, run_job

class Etl(EtlBase):
    def transform_row(self, row):
        on_row()
        return {{**row, "loud": row["word"].upper()}}

job = TransferJob(
    name="a <b> job",
    source=BigQuerySource("SELECT '<i>cat</i>' AS word UNION ALL SELECT 'dog'"),
    transform=Etl,
    sink=BigQuerySink("{dataset}.loud"),
)
"""


def text_of(html):
    """The visible text, parsed as a browser does; no script may come out of data."""
    parser = html5lib.HTMLParser(strict=False, namespaceHTMLElements=False)
    tree = parser.parseFragment(html)
    assert not list(tree.iter("script"))
    return " ".join(" ".join(tree.itertext()).split())


@pytest.fixture
def shell(local_server, monkeypatch):
    """An interactive shell as in a kernel, whose cells run against the local BigQuery."""
    for name, value in local_server.endpoints.environ().items():
        monkeypatch.setenv(name, value)
    made = InteractiveShell.instance()
    made.kernel = SimpleNamespace()
    made.user_ns["on_row"] = lambda: None
    yield made
    InteractiveShell.clear_instance()


def test_a_cell_shows_progress_and_a_report(shell, dataset):
    """One output that is updated in place, then the report; names and values are escaped."""
    shell.run_cell(CELL.format(dataset=dataset)).raise_error()
    with capture_output() as captured:
        result = shell.run_cell("run_job(job)")
        result.raise_error()
    shown = [each for each in captured.outputs if "etlkit" in each.data.get("text/html", "")]
    progress, last = shown[0], shown[-1]
    assert "a <b> job: open" in progress.data["text/plain"]
    assert "publish, 2 of 2 rows, 2 written" in text_of(last.data["text/html"])
    report = result.result._repr_html_()
    seen = text_of(report)
    assert "a <b> job published local." in seen
    assert "rows_published 2" in seen
    with capture_output():
        preview = shell.run_cell("preview_job(job)")
        preview.raise_error()
    table = preview.result._repr_html_()
    assert "<I>CAT</I>" in text_of(table)
    assert std_html.escape("<i>cat</i>") in table
    assert table.count('class="new"') == 2  # the column loud


def test_a_cell_shows_the_tasks_of_a_workflow(shell, dataset, until):
    """One table that is updated in place: waiting tasks, rows as they go, how each ended, and why."""
    shell.run_cell(CELL.format(dataset=dataset)).raise_error()
    with capture_output() as captured:

        def is_running():
            shown = [text_of(each.data.get("text/html", "")) for each in captured.outputs]
            return any("load running transform" in each for each in shown)

        shell.user_ns["on_row"] = lambda: until(is_running)
        result = shell.run_cell(
            "from etlkit import Task, Workflow, run_workflow\n"
            "def look():\n    raise ValueError('<b>no</b>')\n"
            "flow = Workflow(name='the <b> flow', tasks=[\n"
            "    Task('load', job),\n"
            "    Task('look', look, after=['load']),\n"
            "])\n"
            "try:\n    run_workflow(flow)\nexcept Exception as error:\n    failure = error"
        )
        result.raise_error()
    shown = [
        text_of(each.data["text/html"])
        for each in captured.outputs
        if "tasks are done" in each.data.get("text/plain", "")
    ]
    assert "the <b> flow: 0 of 2 tasks are done task state seconds load running" in shown[0]
    assert "look waiting" in shown[0]
    assert "load succeeded 2 rows" in shown[-1]
    assert "look failed" in shown[-1]
    assert "<b>no</b>" in shown[-1]
    assert "the <b> flow: 2 of 2 tasks are done" in shown[-1]


def test_reports_escape_what_they_show():
    """Whoever writes the data does not write the page."""
    failed = RunReport(
        run_id="r",
        job=EVIL,
        state="failed",
        target=EVIL,
        row_errors=1,
        first_errors=[EVIL],
        error=EVIL,
    )
    workflow = WorkflowReport(
        run_id="r", job=EVIL, tasks=[TaskReport(name=EVIL, kind="transfer", error=EVIL)]
    )
    for report in (failed, workflow):
        assert text_of(report._repr_html_()).count("alert('x')") >= 3


def test_outside_of_a_notebook_nothing_is_shown(capsys):
    """A script and a terminal have their own ways."""
    from etlkit.notebook import notebook_progress

    assert notebook_progress("job") is None
    assert StatementReport(number=1, line=1, statement="x")
    assert capsys.readouterr().out == ""
