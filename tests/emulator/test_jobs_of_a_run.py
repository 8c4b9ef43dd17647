"""How many BigQuery jobs a run makes: each one takes a second or two and has a price."""

import http.client

import pytest

from etlkit import BigQuerySink, BigQuerySource, Datamart, EtlBase, TransferJob
from etlkit.api.run import LAST, RunRequest, Settings
from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.bigquery.runs.workflow_state import open_workflow_state
from etlkit.runner import run_datamart, run_job

MAX_JOBS = 6


class Etl(EtlBase):
    def transform_row(self, row):
        return {**row, "twice": 2 * row["n"]}


@pytest.fixture
def jobs(monkeypatch):
    """Requests that start a job or run a query, dry runs included."""
    started = []
    send = http.client.HTTPConnection.putrequest

    def note(self, method, url, *rest, **more):
        path = url.partition("?")[0]
        if method == "POST" and path.endswith(("/jobs", "/queries")):
            started.append(path)
        return send(self, method, url, *rest, **more)

    monkeypatch.setattr(http.client.HTTPConnection, "putrequest", note)
    return started


@pytest.mark.parametrize(
    ("options", "least"),
    [({}, 6), ({"mode": "replace"}, 5), ({"mode": "merge", "merge_keys": ("n",)}, 6)],
    ids=["append, the target is created", "replace", "merge"],
)
def test_a_plain_run_makes_few_jobs(local_server, dataset, bq, jobs, options, least):
    """Dry run, start, snapshot, audit, publish; one more to create a target or to look at keys."""
    if options:
        bq.query(f"CREATE TABLE {dataset}.target (n INT64, twice INT64)").result()
    jobs.clear()
    job = TransferJob(
        source=BigQuerySource("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 20)) AS n"),
        transform=Etl,
        sink=BigQuerySink(f"{dataset}.target", **options),
        name=f"{dataset}.jobs",
    )
    report = run_job(job, settings=Settings(environ=local_server.endpoints.environ()))
    assert report.rows_published == 20
    assert len(jobs) == least <= MAX_JOBS


def test_the_target_is_looked_up_once_before_the_rows(local_server, dataset, bq, monkeypatch):
    """The check of the job and the start of the run share what they know of table and dataset."""
    bq.query(f"CREATE TABLE {dataset}.target (n INT64, twice INT64)").result()
    seen = []
    send = http.client.HTTPConnection.putrequest

    def note(self, method, url, *rest, **more):
        if method == "GET":
            seen.append(url.partition("?")[0].partition("/datasets/")[2])
        return send(self, method, url, *rest, **more)

    class Looks(EtlBase):
        def transform_row(self, row):
            looked.extend(seen)
            return {**row, "twice": 2 * row["n"]}

    looked = []
    monkeypatch.setattr(http.client.HTTPConnection, "putrequest", note)
    job = TransferJob(
        source=BigQuerySource("SELECT 1 AS n"),
        transform=Looks,
        sink=BigQuerySink(f"{dataset}.target"),
        name=f"{dataset}.looks",
    )
    run_job(job, settings=Settings(environ=local_server.endpoints.environ()))
    assert looked.count(f"{dataset}/tables/target") == 1
    assert looked.count(dataset) == 1


def test_a_workflow_makes_a_job_for_its_start_its_end_and_what_only_it_knows(
    local_server, dataset, jobs
):
    """Its tasks' jobs make their own; one that is published needs none beside that."""
    settings = Settings(environ=local_server.endpoints.environ())
    tasks = [TaskReport(name=name, kind="python") for name in ("load", "first", "second")]
    graph = WorkflowReport(run_id="", job="w", tasks=tasks)
    with open_workflow_state(RunRequest(f"{dataset}.workflow", settings), dataset) as state:
        state.begin(graph)
        assert len(jobs) == 1
        job = Datamart(sql="SELECT 1", work_dataset=dataset, name=f"{dataset}.mart")
        report = run_datamart(job, settings=settings, parent=state.child(("load",)))
        of_the_datamart = len(jobs) - 1
        tasks[0].state = "succeeded"
        tasks[0].add_run(report)
        state.task_ended(("load",), tasks[0])
        assert len(jobs) == 1 + of_the_datamart
        for task in tasks[1:]:
            task.state = "succeeded"
            state.task_ended((task.name,), task)
        assert len(jobs) == 3 + of_the_datamart
        state.end(graph, ValueError("stop"))
        assert len(jobs) == 4 + of_the_datamart
    assert of_the_datamart == 3  # its start, its statement, its end
    jobs.clear()
    again = RunRequest(f"{dataset}.workflow", settings, resume=LAST)
    with open_workflow_state(again, dataset) as state:
        state.begin(graph)
        # Find the run, read its events, ask for the time, take it over, read the events again.
        assert len(jobs) == 5
        state.end(graph, None)
        assert len(jobs) == 6
