"""What the suite cost. Runs last; see `conftest.py`."""

import datetime as dt

import pytest

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob
from etlkit.runner import run_job
from tests.bench.cost import QUERY_USD
from tests.cloud.conftest import LABEL

MAX_USD = 0.20
"""1,155 queries read 1,575 tables when this was written: 0.09 USD, as nearly all are minimums."""


class Same(EtlBase):
    def transform_row(self, row):
        return row


@pytest.fixture(scope="module")
def jobs(world, bq):
    """Every job of this session, with its labels and its price; at least those of a small run."""
    name = f"{world.suite}_price"
    world.make_dataset(name)
    bq.query(f"CREATE TABLE {name}.source AS SELECT 1 AS n").result()
    job = TransferJob(
        source=BigQuerySource(f"SELECT n FROM {name}.source", work_dataset=world.work),
        transform=Same,
        sink=BigQuerySink(f"{name}.target", work_dataset=world.work),
        name=name,
    )
    run_job(job, settings=world.settings)
    since = dt.datetime.fromtimestamp(world.started_at, dt.UTC)
    seen = bq.list_jobs(min_creation_time=since, max_results=20_000)
    found = (bq.get_job(job.job_id, location=job.location) for job in seen)
    return [job for job in found if belongs(job.labels, world.suite)]


def belongs(labels, suite):
    """Tests label what they send; etlkit labels its jobs by the name of the run's job."""
    return labels.get(LABEL) == suite or labels.get("etlkit_job", "").startswith(suite)


def test_every_job_of_a_run_is_labelled(jobs):
    """So that its price is found in the billing export."""
    assert any("etlkit_run" in job.labels for job in jobs)
    assert any(LABEL in job.labels for job in jobs)


@pytest.mark.differs("Accounts, permissions, quotas, prices")
def test_the_suite_costs_a_few_cents(jobs):
    """Prints the sum; a parent's bytes contain those of the statements of its script."""
    billed = sum(job.total_bytes_billed for job in jobs if hasattr(job, "total_bytes_billed"))
    usd = billed * QUERY_USD
    print(f"{len(jobs)} jobs, {billed / 2**30:.2f} GiB billed, {usd:.4f} USD")  # noqa: T201
    assert 0 < usd < MAX_USD
