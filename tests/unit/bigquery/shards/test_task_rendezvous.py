import pytest

from etlkit.api.rendezvous import LeadEnd, Standing
from etlkit.bigquery.runs.guard import LEASE_S
from etlkit.bigquery.runs.process_identity import ProcessIdentity
from etlkit.bigquery.shards.task_rendezvous import TaskRendezvous
from etlkit.errors import RunTakenOverError
from tests.unit.bigquery.fake_connection import DATASET, FakeConnection

RUN = "20300101_000000000_00000000"


@pytest.fixture
def connection(monkeypatch):
    """Tasks on machines that know nothing about each other's processes."""
    stranger = ProcessIdentity("other", "host-2", 7, "another boot", "pid:[9]", 1.0)
    monkeypatch.setattr(ProcessIdentity, "current", classmethod(lambda _: stranger))
    return FakeConnection()


@pytest.fixture
def tasks(connection):
    """Two of one key, and one of another."""
    made = [TaskRendezvous(connection, DATASET, "job", key) for key in ("a", "a", "b")]
    yield made
    for each in made:
        each.leave(LeadEnd.UNKNOWN)


def test_one_task_leads_and_the_others_hear_of_its_run(tasks):
    """Of two that have seen that nobody leads, one does; another key is another place."""
    first, second, _ = tasks
    assert [task.look() for task in tasks] == [Standing(None, is_led=False)] * 3
    assert [task.take_lead() for task in tasks] == [True, False, True]
    assert second.look() == Standing(None, is_led=True)
    first.name_run(RUN)
    assert second.look() == Standing(RUN, is_led=True)
    first.leave(LeadEnd.FAILED)
    assert second.look() == Standing(RUN, is_led=False, outcome=LeadEnd.FAILED)
    assert second.take_lead()
    assert first.look() == Standing(RUN, is_led=True)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_task_that_was_paused_does_not_lead_after_the_publish(tasks, is_first):
    """It looked when nobody led; meanwhile another one has led, published and left."""
    paused, quick, _ = tasks
    if not is_first:
        quick.look()
        quick.take_lead()
        quick.leave(LeadEnd.INTERRUPTED)
    paused.look()
    quick.look()
    assert quick.take_lead()
    quick.leave(LeadEnd.PUBLISHED, RUN)
    assert not paused.take_lead()
    assert paused.look() == Standing(RUN, is_led=False, outcome=LeadEnd.PUBLISHED)


def test_a_leader_that_gives_no_sign_of_life_is_replaced(tasks, connection):
    """By BigQuery's clock; when it wakes, it leads no more and changes nothing."""
    first, second, _ = tasks
    first.look()
    first.take_lead()
    first.name_run(RUN)
    connection.pass_time(LEASE_S - 1)
    assert second.look().is_led
    connection.pass_time(1)
    assert second.look() == Standing(RUN, is_led=False)
    assert second.take_lead()
    with pytest.raises(RunTakenOverError, match="another task leads"):
        first.name_run("20300101_000000000_11111111")
    first.leave(LeadEnd.PUBLISHED)
    assert first.look() == Standing(RUN, is_led=True)
