"""The events of shards, told to a table and read back."""

import pytest

from etlkit.api.run import Settings
from etlkit.bigquery.client import Connection
from etlkit.bigquery.shards.shard_log import ShardLog
from etlkit.bigquery.shards.shard_map import CLAIMED, JOINED, OPENED, SETTLED, ShardEvent


@pytest.fixture
def log_of(local_server, dataset):
    """The log of an attempt at one run."""
    connection = Connection(Settings(environ=local_server.endpoints.environ()), job_prefix="test")

    def made(attempt: int) -> ShardLog:
        return ShardLog(connection, (connection.project, dataset), "run", attempt, f"t{attempt}")

    yield made
    connection.close()


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
