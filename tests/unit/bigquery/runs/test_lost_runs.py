"""A process that lost its run learns it from the run's guard."""

from types import SimpleNamespace

import pytest
from google.api_core.exceptions import NotFound, ServiceUnavailable
from google.cloud import bigquery

from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.guard import Guard
from etlkit.bigquery.runs.lease import Lease
from etlkit.errors import RunTakenOverError

NAME = TableName("p", "work", "run_1")


class FakeBigQuery:
    """One guard, or none, behind `Connection`."""

    labels = {}  # noqa: RUF012 - never changed

    def __init__(self):
        self.table = None
        self.error = None
        self.client = self

    def get_table(self, name, **_options):
        if self.error is not None:
            raise self.error
        if self.table is None:
            raise NotFound(name)
        return self.table

    def find_table(self, _name):
        return self.table

    def update_table(self, table, fields, **_options):
        assert fields == ["labels", "description"]
        self.table = table


@pytest.fixture
def bq():
    return FakeBigQuery()


@pytest.fixture
def guard(bq):
    """The guard of an attempt that holds the run."""
    guard = Guard(bq, NAME, "1", 1)
    bq.table = bigquery.Table(str(NAME))
    bq.table.labels = {"etlkit_owner": guard.owner, "etlkit_attempt": "1"}
    return guard


def take_over(bq):
    bq.table.labels = {"etlkit_owner": "another", "etlkit_attempt": "2"}


def publish_elsewhere(bq):
    bq.table = None


@pytest.mark.parametrize("lose", [take_over, publish_elsewhere])
@pytest.mark.parametrize("ask", ["check", "renew"])
def test_a_lost_run_is_told(bq, guard, lose, ask):
    """Whether another attempt is at work, or has published the run and dropped the guard."""
    getattr(guard, ask)()
    lose(bq)
    with pytest.raises(RunTakenOverError, match="this process published nothing"):
        getattr(guard, ask)()


def test_a_lease_ends_at_the_renewal_that_finds_no_guard(bq, guard):
    """No later: rows cost calls until then."""
    lease = Lease(guard, clock=lambda: 0.0)
    lease.renew()
    lease.check()
    publish_elsewhere(bq)
    lease.renew()
    with pytest.raises(RunTakenOverError):
        lease.check()


def test_an_unanswered_renewal_is_no_loss(bq, guard):
    """The lease still runs; the next renewal may be answered."""
    clock = SimpleNamespace(now=0.0)
    lease = Lease(guard, clock=lambda: clock.now)
    bq.error = ServiceUnavailable("away")
    lease.renew()
    lease.check()
    clock.now = 3600.0
    with pytest.raises(RunTakenOverError, match="could not be renewed in time"):
        lease.check()
