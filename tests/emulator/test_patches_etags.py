import datetime as dt
import multiprocessing
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from google.api_core.exceptions import PreconditionFailed
from google.cloud import bigquery

from etlkit.api.run import Settings
from etlkit.bigquery.client import Connection
from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.guard import Guard, find_holder
from etlkit.bigquery.runs.job_lock import JobLock
from etlkit.errors import RunStateError

MESSAGE = "Resource local:{name} did not meet condition IF_MATCH"


@pytest.fixture
def table(run, dataset) -> str:
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    return f"{dataset}.t"


def test_second_of_two_patches_of_a_table_is_refused(bq, table):
    """Real BigQuery: `tables.patch` with a stale etag answers 412 and changes nothing."""
    first, second = bq.get_table(table), bq.get_table(table)
    first.labels, second.labels = {"by": "first"}, {"by": "second"}
    updated = bq.update_table(first, ["labels"])
    with pytest.raises(PreconditionFailed, match=MESSAGE.format(name=table)) as refused:
        bq.update_table(second, ["labels"])
    (error,) = refused.value.errors
    assert (error["reason"], error["location"]) == ("conditionNotMet", "If-Match")
    assert bq.get_table(table).labels == {"by": "first"}
    updated.description = "the answer of an update has the new etag"
    bq.update_table(updated, ["description"])


def test_stale_put_of_a_table_is_refused(bq, table):
    """Real BigQuery: `tables.update` compares etags as well."""
    stale = bq.get_table(table)
    bq.update_table(bq.get_table(table), ["description"])
    with pytest.raises(PreconditionFailed):
        bq._call_api(
            retry=None,
            method="PUT",
            path=stale.path,
            data=stale.to_api_repr(),
            headers={"If-Match": stale.etag},
        )


def test_second_of_two_patches_of_a_dataset_is_refused(bq, dataset):
    """Real BigQuery: `datasets.patch` compares etags as well."""
    first, second = bq.get_dataset(dataset), bq.get_dataset(dataset)
    first.description = "first"
    bq.update_dataset(first, ["description"])
    second.description = "second"
    with pytest.raises(PreconditionFailed, match=MESSAGE.format(name=dataset)):
        bq.update_dataset(second, ["description"])
    assert bq.get_dataset(dataset).description == "first"


def test_update_without_an_etag_is_not_compared(bq, table):
    """Real BigQuery: only requests that send an etag are checked."""
    blind = bigquery.Table(bq.get_table(table).reference)
    blind.description = "no etag"
    bq.update_table(bq.get_table(table), ["description"])
    assert bq.update_table(blind, ["description"]).description == "no etag"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {table} VALUES (2)",
        "UPDATE {table} SET n = 2 WHERE TRUE",
        "DELETE FROM {table} WHERE TRUE",
        "TRUNCATE TABLE {table}",
        "MERGE {table} USING (SELECT 5 AS m) ON n = m WHEN NOT MATCHED THEN INSERT (n) VALUES (m)",
        "BEGIN TRANSACTION; INSERT INTO {table} VALUES (2); COMMIT TRANSACTION",
        "ALTER TABLE {table} SET OPTIONS (description = 'other')",
        "ALTER TABLE {table} ADD COLUMN other STRING",
        "CREATE OR REPLACE TABLE {table} AS SELECT 3 AS n",
    ],
)
def test_statement_changes_etag_and_time(bq, run, table, statement):
    """Real BigQuery: etag and `lastModifiedTime` follow each change of rows, columns, options."""
    before = bq.get_table(table)
    run(statement.format(table=table))
    after = bq.get_table(table)
    assert after.etag != before.etag
    assert after.modified > before.modified
    with pytest.raises(PreconditionFailed):
        bq.update_table(before, ["description"])


def test_appended_rows_change_etag_and_time(append, bq, table):
    """Real BigQuery: rows of the Write API change the table like those of a statement."""
    for insert in (
        lambda: append(table, pa.table({"n": pa.array([5], pa.int64())})),
        lambda: bq.insert_rows_json(table, [{"n": 6}]),
        lambda: bq.load_table_from_json([{"n": 7}], table).result(),
    ):
        before = bq.get_table(table)
        insert()
        after = bq.get_table(table)
        assert after.etag != before.etag
        assert after.modified > before.modified


def test_reads_do_not_change_the_etag(bq, read_table, run, table):
    """Real BigQuery: reading a table, and a transaction that was rolled back, are no changes."""
    before = bq.get_table(table)
    run(f"SELECT * FROM {table}")
    read_table(table)
    run(f"BEGIN TRANSACTION; INSERT INTO {table} VALUES (2); ROLLBACK TRANSACTION")
    after = bq.get_table(table)
    assert (after.etag, after.modified) == (before.etag, before.modified)


def test_one_of_many_rivals_wins(bq, connect, local_server, table):
    """Real BigQuery: a patch with an etag is a compare-and-swap."""
    rivals = 8
    together = threading.Barrier(rivals)

    def rival(number: int) -> bool:
        with connect(local_server) as client:
            mine = client.get_table(table)
            mine.labels = {"by": str(number)}
            together.wait(30)
            try:
                client.update_table(mine, ["labels"])
            except PreconditionFailed:
                return False
            return True

    with ThreadPoolExecutor(rivals) as threads:
        won = [*threads.map(rival, range(rivals))]
    assert sum(won) == 1
    assert bq.get_table(table).labels == {"by": str(won.index(True))}


def test_last_modified_time_is_the_time_of_the_change(bq, run, table):
    """Real BigQuery: `lastModifiedTime` is the time of the change, not of the next request."""
    began = dt.datetime.now(dt.UTC)
    run(f"INSERT INTO {table} VALUES (2)")
    ended = dt.datetime.now(dt.UTC)
    modified = bq.get_table(table).modified
    assert began - dt.timedelta(milliseconds=1) <= modified <= ended


RIVALS = 2
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["__main__", __name__])


@pytest.fixture
def rivals(local_server):
    """Let two processes run a function until each is about to patch, and then let them go on."""

    def race(function, *arguments) -> list[tuple[str, list[str]]]:
        answers, together = CONTEXT.Queue(), CONTEXT.Barrier(RIVALS)
        environ = local_server.endpoints.environ()
        processes = [
            CONTEXT.Process(
                target=_rival, args=(function, arguments, environ, together, answers, n)
            )
            for n in range(RIVALS)
        ]
        for process in processes:
            process.start()
        found = [answers.get(timeout=60) for _ in processes]
        for process in processes:
            process.join(30)
        return sorted(found)

    return race


def test_only_one_of_two_processes_takes_a_run_over(local_server, dataset, rivals):
    """The guard of a run is a compare-and-swap: the loser gets 412 and stops."""
    name = TableName("local", dataset, "run_r1")
    with_environ = Settings(environ=local_server.endpoints.environ())
    connection = Connection(with_environ, job_prefix="first")
    first = Guard(connection, name, "r1", 1)
    first.create()
    first.end()
    (lost, lost_answers), (won, won_answers) = rivals(_claim, name)
    assert "changed hands a moment ago" in lost
    assert lost_answers == ["412"]
    assert won_answers == ["200"]
    holder = find_holder(connection, name)
    connection.close()
    assert holder is not None
    assert f"won by {holder.owner}" == won


def test_only_one_of_two_processes_gets_the_lock_of_a_job(bq, dataset, rivals):
    """The lock of a job is a compare-and-swap too: the loser looks again and sees the other run."""
    (_, winner), (loser, answers) = sorted(rivals(_lock, dataset), key=lambda found: found[1])
    assert (winner, answers) == (["200"], ["412", "200"])
    (lock,) = [t for t in bq.list_tables(dataset) if t.table_id.startswith("job_")]
    assert bq.get_table(lock).labels["etlkit_run"] == loser


def _rival(function, arguments, environ: Mapping[str, str], together, answers, number) -> None:
    """Run in a process: call the function, and keep how BigQuery answers its patches."""
    connection = Connection(Settings(environ=environ), job_prefix=f"rival_{number}")
    update, heard = connection.client.update_table, []

    def update_together(*args, **options):
        if not heard:
            together.wait(30)
        try:
            table = update(*args, **options)
        except PreconditionFailed:
            heard.append("412")
            raise
        heard.append("200")
        return table

    connection.client.update_table = update_together
    answers.put((function(connection, number, *arguments), heard))


def _claim(connection: Connection, number: int, name: TableName) -> str:
    guard = Guard(connection, name, "r1", 2)
    try:
        guard.claim()
    except RunStateError as error:
        return str(error)
    return f"won by {guard.owner}"


def _lock(connection: Connection, number: int, dataset: str) -> str:
    JobLock(connection, ("local", dataset), "job", f"r{number}").acquire()
    return f"r{number}"
