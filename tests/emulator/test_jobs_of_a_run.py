"""How many BigQuery jobs a run makes: each one takes a second or two and has a price."""

import http.client

import pytest

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob
from etlkit.api.run import Settings
from etlkit.runner import run_job

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
