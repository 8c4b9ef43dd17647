import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.finish import (
    drop_late_tables,
    finish_published,
    is_resumable,
    run_cleanup,
)
from etlkit.bigquery.runs.guard import guard_name
from tests.unit.bigquery.fake_connection import DATASET, FakeConnection

RUN = "20300101_000000000_00000000"
OTHER = "20300101_000000001_00000000"
ROW = "SELECT owner, attempt, state, cleanup"


@pytest.fixture
def connection():
    """Work tables of two runs."""
    connection = FakeConnection()
    for run_id in (RUN, OTHER):
        for name in (f"src_{run_id}", f"src_{run_id}_rest", f"out_{run_id}_1_1", f"rej_{run_id}"):
            connection.make_table(bigquery.Table(str(TableName(*DATASET, name))))
        connection.make_table(bigquery.Table(str(guard_name(DATASET, run_id))))
    connection.make_table(bigquery.Table(str(TableName(*DATASET, "runs"))))
    return connection


def left(connection):
    return [name for name in connection.tables if RUN in name]


def test_a_published_run_is_finished(connection):
    """Its statements run, then its work tables go, and the guard at last."""
    connection.answer(ROW, [{"state": "published", "cleanup": "DROP COLUMN"}])
    assert finish_published(connection, DATASET, RUN)
    assert connection.texts()[-1] == "DROP COLUMN"
    assert left(connection) == []
    assert len(connection.tables) == 6


@pytest.mark.parametrize("rows", [[], [{"state": "running", "cleanup": None}]])
def test_a_run_that_is_not_published_keeps_everything(connection, rows):
    """Somebody may resume it."""
    connection.answer(ROW, rows)
    assert not finish_published(connection, DATASET, RUN)
    assert len(left(connection)) == 5


def test_a_run_without_a_guard_is_finished_already(connection):
    """Nothing is asked of it."""
    connection.drop_work_table(guard_name(DATASET, RUN))
    assert not finish_published(connection, DATASET, RUN)
    assert connection.statements == []


def test_what_was_made_of_a_finished_run_is_dropped(connection):
    """By the process that made it; not while the run can be resumed."""
    drop_late_tables(connection, DATASET, RUN)
    assert len(left(connection)) == 5
    connection.drop_work_table(guard_name(DATASET, RUN))
    drop_late_tables(connection, DATASET, RUN)
    assert left(connection) == []
    assert len(connection.tables) == 6
    assert connection.statements == []


def test_statements_that_fail_keep_the_guard(connection):
    """The next one tries again."""
    connection.answer(ROW, [{"state": "published", "cleanup": "DROP COLUMN"}])
    connection.answer("DROP COLUMN", BadRequest("no"))
    with pytest.raises(BadRequest):
        finish_published(connection, DATASET, RUN)
    assert len(left(connection)) == 5


def test_all_processes_ask_for_the_same_clean_up_job():
    """BigQuery then runs it once: two at once could drop the table just put in place."""
    jobs = []
    for _ in range(2):
        connection = FakeConnection()
        run_cleanup(connection, RUN, "DROP COLUMN")
        jobs.append([each.job_id for each in connection.statements])
    assert jobs == [[f"etlkit_{RUN}_cleanup_1"]] * 2


def test_a_clean_up_job_that_failed_is_followed_by_the_next():
    """An earlier process's job may have failed for a reason that is gone."""
    connection = FakeConnection()
    connection.answer("DROP COLUMN", BadRequest("no"), times=1)
    run_cleanup(connection, RUN, "DROP COLUMN")
    assert [each.job_id for each in connection.statements] == [
        f"etlkit_{RUN}_cleanup_1",
        f"etlkit_{RUN}_cleanup_2",
    ]


@pytest.mark.parametrize(
    ("rows", "resumable"),
    [
        ([{"state": "running", "cleanup": None}], True),
        ([{"state": "published", "cleanup": None}], False),
        ([], False),
    ],
)
def test_only_a_run_that_began_and_was_not_published_can_be_resumed(connection, rows, resumable):
    """The guards of the others go."""
    connection.answer(ROW, rows)
    assert is_resumable(connection, DATASET, RUN) is resumable
    assert (connection.find_table(guard_name(DATASET, RUN)) is not None) is resumable
