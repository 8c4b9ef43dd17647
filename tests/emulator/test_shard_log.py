"""The events of shards, told to a table and read back, and what their workers have staged."""

import pytest

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob
from etlkit.api.run import Run, RunRequest, Settings, Worker
from etlkit.bigquery.client import Connection
from etlkit.bigquery.names import TableName
from etlkit.bigquery.publish.staging import Staging, find_staged
from etlkit.bigquery.shards.shard_log import ShardLog
from etlkit.bigquery.shards.shard_map import CLAIMED, JOINED, OPENED, SETTLED, ShardEvent
from etlkit.bigquery.shards.shard_writer import ShardWriter
from etlkit.bigquery.sql.staging import STAGING_COLUMNS
from etlkit.bigquery.table_definition import work_table
from etlkit.rows.columns import parse_schema


class Etl(EtlBase):
    def transform_row(self, row):
        return row


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
    second.tell([ShardEvent(OPENED, "", 10, 20, 4, "rest", rows=22)])
    for state in (first.read(), second.read()):
        assert (state.attempt, state.generation, state.shards.num_left) == (2, 4, 11)
        assert [row["kind"] for row in state.rows] == [OPENED]
        assert state.shards.rows_per_shard == 2
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
        connection.make_table(work_table(name, (*STAGING_COLUMNS, *columns)))
    everything = find_staged(connection, work, "run")
    assert everything.tables == tuple((name, columns) for name in names)
    known = {names[2]: parse_schema({"known": "STRING"})}
    found = find_staged(connection, work, "run", known, {"bb"})
    assert found.tables == ((names[2], known[names[2]]), (names[3], columns))
    assert known.keys() == {names[2], names[3]}


def test_many_tables_of_earlier_attempts_are_joined(connection, dataset, run, monkeypatch):
    """Counts and rows stay the same, also of columns that only some of the tables have."""
    work = connection.project, dataset
    small = parse_schema({"n": "INT64", "name": "STRING(3)"})
    large = (*small, *parse_schema({"tags": "ARRAY<STRING>", "at": "TIMESTAMP"}))
    rows = {
        "0_1": (small, "('r0', 0, 0, 1, 0, 'old')"),
        "1waa_1": (small, "('r1', 1, 0, 1, 1, 'a'), ('r2', 1, 0, 0, NULL, NULL)"),
        "1wbb_1": (
            large,
            "('r3', 1, 0, 2, 3, 'c', ['x'], NULL), ('r3', 1, 1, 2, 4, 'd', [], NULL)",
        ),
        "2wcc_1": (small, "('r1', 2, 0, 1, 10, 'aa'), ('cut', 2, 0, 2, 5, 'e')"),
        "3wdd_1": (small, "('r1', 1, 0, 1, 99, 'bad'), ('cut', 3, 0, 1, 6, 'f')"),
    }
    for which, (columns, values) in rows.items():
        name = TableName(*work, f"out_run_{which}")
        connection.make_table(work_table(name, (*STAGING_COLUMNS, *columns)))
        run(f"INSERT INTO {name.sql} VALUES {values}")
    attempt = Run(RunRequest("job", Settings(), num_workers=2))
    monkeypatch.setattr(attempt, "run_id", "run")
    monkeypatch.setattr(attempt, "attempt", 3)
    staging = Staging(connection, attempt, work)
    staging.find_shared()
    before = staging.count(), sorted(run(staging.rows(large)), key=str)
    staging.join_earlier()
    assert len(staging.tables) == len(rows)
    monkeypatch.setattr("etlkit.bigquery.publish.staging.MANY_TABLES", 3)
    for _ in range(2):
        staging.join_earlier()
        assert [name.table for name in staging.names] == [
            "out_run_0_1",
            "out_run_3_0",
            "out_run_3wdd_1",
        ]
        assert (staging.count(), sorted(run(staging.rows(large)), key=str)) == before
    assert dict(staging.tables)[staging.names[1]] == large
    looked_up = []
    monkeypatch.setattr(connection, "find_table", lambda name: looked_up.append(name.table))
    staging.find_shared()
    assert looked_up == ["cal_run"]  # what is known of a staging table never changes
    assert len(staging.tables) == 3
    assert (before[0].written, before[0].skipped, before[0].parts) == (4, 1, 5)
    assert len(before[1]) == 5


def test_a_worker_that_is_told_the_columns_does_not_look_them_up(
    connection, dataset, local_server, monkeypatch
):
    """Of hundreds of staging tables. Where workers may add columns, it looks."""
    work = connection.project, dataset
    told = parse_schema({"n": "INT64"})
    staged = parse_schema({"n": "INT64", "more": "STRING"})
    name = TableName(*work, "out_run_1waa_1")
    connection.make_table(work_table(name, (*STAGING_COLUMNS, *staged)))
    settings = Settings(environ=local_server.endpoints.environ())
    for columns, policy, found in (
        ((), "fail", staged),
        (told, "fail", told),
        (told, "add_columns", staged),
    ):
        sink = BigQuerySink(f"{dataset}.target")
        source = BigQuerySource(f"{dataset}.source")
        job = TransferJob(source=source, transform=Etl, sink=sink, on_schema_change=policy)
        worker = Worker("bb", 0, 1, known_columns=columns)
        with Run(RunRequest("job", settings), worker=worker) as run:
            monkeypatch.setattr(run, "run_id", "run")
            writer = ShardWriter(sink, job, run, connection, work, None, None, None)
            assert writer.find_columns()
            assert writer.known_columns == found
