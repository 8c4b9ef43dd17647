"""The ledger as BigQuery keeps it, and what renewing a lease costs: no job."""

import pytest
from google.cloud import bigquery

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob
from etlkit.bigquery.runs.guard import Guard
from etlkit.bigquery.runs.lease import Lease
from etlkit.bigquery.runs.ledger import EVENTS, RUNS
from etlkit.runner import run_job

MAX_JOBS = 6


class Same(EtlBase):
    def transform_row(self, row):
        return row


@pytest.fixture
def transfer(world, dataset):
    """Run a job with this transform."""

    def run_transfer(etl=Same, **sink):
        job = TransferJob(
            source=BigQuerySource(
                "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 20)) AS n", work_dataset=world.work
            ),
            transform=etl,
            sink=BigQuerySink(f"{dataset}.target", work_dataset=world.work, **sink),
            name=f"{dataset}_ledger",
        )
        return run_job(job, settings=world.settings)

    return run_transfer


def test_the_ledger_is_partitioned_clustered_and_stays(transfer, world, bq):
    """By day and by job; without expiration, although new tables of its dataset have one (20)."""
    transfer()
    events = bq.get_table(f"{world.work}.{EVENTS}")
    assert (events.time_partitioning.type_, events.time_partitioning.field) == ("DAY", "event_at")
    assert events.clustering_fields[0] == "job"
    assert events.time_partitioning.expiration_ms is None
    assert events.expires is None
    view = bq.get_table(f"{world.work}.{RUNS}")
    assert (view.table_type, view.expires) == ("VIEW", None)


@pytest.mark.differs("Default expiration")
def test_tables_get_the_expiration_of_their_dataset(bq, dataset):
    """Unless somebody takes it away (20)."""
    schema = [bigquery.SchemaField("n", "INT64")]
    table = bq.create_table(bigquery.Table(f"{bq.project}.{dataset}.t", schema=schema))
    assert table.expires is not None


@pytest.fixture
def requests(monkeypatch, world):
    """The requests that start a job, and those that change a table; filled while the test runs."""
    from requests import Session

    seen = {"jobs": [], "patches": []}
    send = Session.request

    def note(self, method, url, *arguments, **options):
        path = url.partition("?")[0]
        if method == "POST" and path.endswith(("/jobs", "/queries")):
            seen["jobs"].append(path)
        if method == "PATCH":
            seen["patches"].append(path)
        return send(self, method, url, *arguments, **options)

    monkeypatch.setattr(Session, "request", note)
    return seen


def test_renewing_the_lease_makes_no_job(transfer, requests, monkeypatch, until):
    """Any number of renewals: metadata requests are free, and a plain run has few jobs."""
    monkeypatch.setitem(Lease.__init__.__kwdefaults__, "renew_s", 0.3)
    renewed = []
    renew = Guard.renew

    def note(self):
        renew(self)
        renewed.append(self)

    monkeypatch.setattr(Guard, "renew", note)

    class Waits(EtlBase):
        def transform_row(self, row):
            if row["n"] == 1:
                until(lambda: len(renewed) >= 3)
            return row

    transfer(Waits)
    assert len(renewed) >= 3
    assert len([path for path in requests["patches"] if "/run_" in path]) >= 3
    assert len(requests["jobs"]) <= MAX_JOBS
