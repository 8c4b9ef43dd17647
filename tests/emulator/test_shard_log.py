"""The events of shards, told to a table and read back, and what their workers have staged."""

import pytest

from etlkit.api.run import Settings
from etlkit.bigquery import sql
from etlkit.bigquery.client import Connection
from etlkit.bigquery.names import TableName
from etlkit.bigquery.publish.staging import find_staged
from etlkit.bigquery.shards.shard_log import ShardLog
from etlkit.bigquery.shards.shard_map import CLAIMED, JOINED, OPENED, SETTLED, ShardEvent
from etlkit.bigquery.table_definition import work_table
from etlkit.rows.columns import parse_schema


@pytest.fixture
def connection(local_server):
    made = Connection(Settings(environ=local_server.endpoints.environ()), job_prefix="test")
    yield made
    made.close()


@pytest.fixture
def log_of(connection, dataset):
    """The log of an attempt at one run."""

    def made(attempt: int) -> ShardLog:
        return ShardLog(connection, (connection.project, dataset), "run", attempt, f"t{attempt}")

    return made


def test_workers_read_the_events_of_the_latest_attempt(log_of):
    """A run that was resumed a hundred times has thousands of others; generations go on."""
    first, second = log_of(1), log_of(2)
    first.make()
    assert (first.read().attempt, first.read().generation) == (1, 0)
    first.tell([ShardEvent(OPENED, "", 0, 4095, 1, "src"), ShardEvent(JOINED, "a")])
    first.tell([ShardEvent(CLAIMED, "a", 0, 9, 3, "src"), ShardEvent(SETTLED, "a", 0, 9, 3, "src")])
    before = second.read()
    assert (before.attempt, before.generation, before.shards.num_left) == (1, 3, 4086)
    second.tell([ShardEvent(OPENED, "", 10, 20, 4, "rest")])
    for state in (first.read(), second.read()):
        assert (state.attempt, state.generation, state.shards.num_left) == (2, 4, 11)
        assert [row["kind"] for row in state.rows] == [OPENED]
    told = second.read(every_attempt=True)
    assert [row["kind"] for row in told.rows] == [OPENED, JOINED, CLAIMED, SETTLED, OPENED]
    assert (told.shards.num_left, told.generation) == (11, 4)
    assert second.is_opened()


def test_what_some_workers_have_staged_is_found_without_the_tables_of_the_others(
    connection, dataset
):
    """Tables that are known are not looked up again."""
    work = connection.project, dataset
    columns = parse_schema({"n": "INT64"})
    names = [
        TableName(*work, f"out_run_{which}") for which in ("1_1", "1waa_1", "2wbb_1", "2wbb_2")
    ]
    for name in names:
        connection.make_table(work_table(name, (*sql.STAGING_COLUMNS, *columns)))
    everything = find_staged(connection, work, "run")
    assert everything.tables == tuple((name, columns) for name in names)
    known = {names[2]: parse_schema({"known": "STRING"})}
    found = find_staged(connection, work, "run", known, {"bb"})
    assert found.tables == ((names[2], known[names[2]]), (names[3], columns))
    assert known.keys() == {names[2], names[3]}
