"""The pages of real runs: written after the run, and again from the ledger."""

import json

import pytest

from etlkit.cli import run, runs
from tests.page_checks import faults, parse, words_of

JOBS = """
from etlkit import BigQuerySink, BigQuerySource, Datamart, EtlBase, Task, TransferJob, Workflow


class Etl(EtlBase):
    def transform_row(self, row):
        if row["n"] == 3:
            raise ValueError("bad <b>row</b>")
        return row


move = TransferJob(
    source=BigQuerySource("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 20)) AS n"),
    transform=Etl,
    sink=BigQuerySink("{dataset}.moved", mode="replace", work_dataset="{dataset}"),
    on_row_error="reject",
    max_rejected=0.5,
)
tries = []


def flaky():
    tries.append(1)
    if len(tries) == 1:
        raise RuntimeError("not yet")
    return {{"tries": len(tries)}}


job = Workflow(
    tasks=[
        Task("move", move),
        Task("flaky", flaky, retry_limit=1),
        Task("broken", Datamart(sql="SELECT 1 / 0", work_dataset="{dataset}"), after="move"),
        Task("never", flaky, after="broken"),
    ],
    stop_on_error=False,
    work_dataset="{dataset}",
)
"""


@pytest.fixture
def folder(dataset, tmp_path, monkeypatch):
    """A folder with jobs over a dataset of their own, as the working directory."""
    (tmp_path / f"jobs_{dataset}.py").write_text(JOBS.format(dataset=dataset))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def sections(path):
    """The words of each task's part of a page."""
    html = path.read_text(encoding="utf-8")
    assert faults(html) == []
    root = parse(html)
    return {
        each.get("id"): words_of(each)
        for each in root.iter()
        if (each.get("id") or "").startswith("task-")
    }


def test_a_workflow_has_the_same_page_after_its_run_and_from_the_ledger(
    folder, dataset, local_server, capsys
):
    """Counts, errors with their rows, retries and SQL are on both; the last line is the report."""
    where = ["--local", "--local-dir", str(local_server.local_dir)]
    assert run.main([f"jobs_{dataset}", *where, "--html", "run.html"]) == 1
    seen = capsys.readouterr()
    report = json.loads(seen.out.splitlines()[-1])
    assert report["state"] == "failed"
    assert "page: run.html" in seen.err
    first = sections(folder / "run.html")
    for part in ("20", "ValueError 1", "row 3", "bad <b>row</b>", f"{dataset}.moved"):
        assert part in first["task-1"]
    assert "not yet" in first["task-2"]
    assert '"tries": 2' in first["task-2"]
    assert "division by zero" in first["task-3"]
    assert first["task-4"].startswith("never □ not run")

    asked = [*where, "--work-dataset", dataset]
    assert runs.main([report["run_id"], *asked, "--html", "again.html"]) == 0
    again = sections(folder / "again.html")
    for part in ("ValueError 1", "row 3", "bad <b>row</b>", f"{dataset}.moved"):
        assert part in again["task-1"]
    assert "division by zero" in again["task-3"]
    assert first.keys() == again.keys()

    assert runs.main([*asked, "--html", "runs.html", "--days", "2"]) == 0
    html = (folder / "runs.html").read_text(encoding="utf-8")
    assert faults(html) == []
    text = words_of(parse(html).find("body"))
    assert "2 runs of workflows' tasks are counted with the workflow." in text
    assert report["run_id"] in text


def test_a_transfer_writes_its_page(folder, dataset, local_server):
    """A single job has a page, too, with its rejects by class."""
    where = ["--local", "--local-dir", str(local_server.local_dir)]
    page = folder / "pages" / "move.html"
    page.parent.mkdir()
    assert run.main([f"jobs_{dataset}:move", *where, "--html", str(page)]) == 0
    assert "ValueError 1" in sections(page)["task-1"]


def test_a_page_that_cannot_be_written_does_not_change_the_run(
    folder, dataset, local_server, capsys, monkeypatch
):
    """The run is published; the page's failure is told after the report."""

    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("etlkit.cli.pages.run_page.write_page", fail)
    where = ["--local", "--local-dir", str(local_server.local_dir)]
    assert run.main([f"jobs_{dataset}:move", *where, "--html", "move.html"]) == 0
    seen = capsys.readouterr()
    assert json.loads(seen.out.splitlines()[-1])["state"] == "published"
    assert "its page move.html could not be written: no space left on device" in seen.err


def test_a_run_that_is_not_there_has_no_page(folder, dataset, local_server, capsys):
    """An unknown id is told, and no file is made."""
    where = ["--local", "--local-dir", str(local_server.local_dir), "--work-dataset", dataset]
    assert runs.main(["20240101_000000000_00000000", *where, "--html", "none.html"]) == 1
    assert "there is no run 20240101_000000000_00000000" in capsys.readouterr().err
    assert not (folder / "none.html").exists()
