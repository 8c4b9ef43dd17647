"""The server works on one request at a time; a remote function that waits keeps a transaction open."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest
import urllib3
from google.api_core.exceptions import BadRequest

from tests.loopback import serving

WAIT_S = 30
MAX_WAITING = 20

UPDATE = "UPDATE {t} SET n = 2 WHERE TRUE"

ABORTED = (
    r"Transaction is aborted due to concurrent update against table local:{table}\. "
    r"Transaction ID: [0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}"
)


class Gate(ThreadingHTTPServer):
    """The endpoint of a remote function that answers when it is opened."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GateHandler)
        self.reached, self.opened = threading.Event(), threading.Event()


class GateHandler(BaseHTTPRequestHandler):
    server: Gate

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.reached.set()
        self.server.opened.wait(WAIT_S)
        data = json.dumps({"replies": [call[0] for call in request["calls"]]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def gate() -> Iterator[Gate]:
    with serving(Gate()) as gate:
        yield gate
        gate.opened.set()


@pytest.fixture
def table(run, dataset, gate) -> str:
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n")
    run(f"CREATE TABLE {dataset}.other AS SELECT 1 AS n")
    run(
        f"CREATE FUNCTION {dataset}.wait(n INT64) RETURNS INT64 REMOTE WITH CONNECTION us.c "
        f"OPTIONS(endpoint='http://127.0.0.1:{gate.server_port}/f')"
    )
    return f"{dataset}.t"


@pytest.fixture
def arrive(local_server, monkeypatch) -> Iterator[Callable[..., Future]]:
    """Call a function on a thread; return when its first request has arrived at the server."""
    mine = threading.local()
    answer_of = urllib3.connection.HTTPConnection.getresponse

    def after_sending(connection):
        if hasattr(mine, "sent"):
            mine.sent.set()
        return answer_of(connection)

    def call(sent: threading.Event, function, *arguments):
        mine.sent = sent
        return function(*arguments)

    def start(function, *arguments) -> Future:
        sent = threading.Event()
        future = threads.submit(call, sent, function, *arguments)
        assert sent.wait(WAIT_S)
        for _ in range(2):  # the server has read earlier requests when it answers these
            with pytest.raises(urllib.error.HTTPError, match="404") as answered:
                urllib.request.urlopen(f"{local_server.endpoints.bigquery}/none")  # noqa: S310
            answered.value.close()
        return future

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "getresponse", after_sending)
    with ThreadPoolExecutor(MAX_WAITING + 5) as threads:
        yield start


@pytest.fixture
def held(arrive, run, table, gate) -> Callable[..., Future]:
    """Run a script that mutates the table until it waits in its transaction."""

    def hold(
        end: str = "COMMIT TRANSACTION", change: str = "UPDATE {t} SET n = 2 WHERE TRUE"
    ) -> Future:
        wait = f"SELECT {table.replace('.t', '.wait')}(1)"
        script = f"BEGIN TRANSACTION; {change.format(t=table)}; {wait}; {end}"
        holder = arrive(run, script)
        assert gate.reached.wait(WAIT_S)
        return holder

    return hold


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {t} SET n = 3 WHERE TRUE",
        "DELETE FROM {t} WHERE TRUE",
        "TRUNCATE TABLE {t}",
        "MERGE {t} USING (SELECT 5 AS m) ON n = m WHEN NOT MATCHED THEN INSERT (n) VALUES (m)",
    ],
)
def test_later_transaction_on_a_table_is_aborted(arrive, gate, held, run, table, change):
    """Real BigQuery: of two transactions that mutate a table, the later one is cancelled."""
    holder = held()
    rival = arrive(
        run,
        f"BEGIN TRANSACTION; INSERT INTO {table} VALUES (9);\n{change.format(t=table)};\n"
        "COMMIT TRANSACTION",
    )
    gate.opened.set()
    holder.result(WAIT_S)
    with pytest.raises(BadRequest, match=ABORTED.format(table=table) + r" at \[2:1\]") as refused:
        rival.result(WAIT_S)
    assert refused.value.errors[0]["reason"] == "invalidQuery"
    assert run(f"SELECT n FROM {table}") == [(2,)]


@pytest.mark.parametrize(
    "change", ["UPDATE {t} SET n = 2 WHERE TRUE", "DELETE FROM {t} WHERE TRUE"]
)
def test_aborted_transaction_may_be_sent_again(arrive, gate, held, run, table, change):
    """Real BigQuery: only what is at work at the same time conflicts."""
    holder = held(change=change)
    script = f"BEGIN TRANSACTION; DELETE FROM {table} WHERE TRUE; COMMIT TRANSACTION"
    rival = arrive(run, script)
    gate.opened.set()
    holder.result(WAIT_S)
    with pytest.raises(BadRequest, match=ABORTED.format(table=table)):
        rival.result(WAIT_S)
    run(script)
    assert run(f"SELECT n FROM {table}") == []


@pytest.mark.parametrize(
    ("rival", "rows"),
    [
        ("BEGIN TRANSACTION; INSERT INTO {t} VALUES (3); COMMIT TRANSACTION", [2, 3]),
        ("BEGIN TRANSACTION; SELECT * FROM {t}; COMMIT TRANSACTION", [2]),
        ("BEGIN TRANSACTION; DELETE FROM {other} WHERE TRUE; COMMIT TRANSACTION", [2]),
        ("INSERT INTO {t} VALUES (3)", [2, 3]),
        ("UPDATE {t} SET n = n + 10 WHERE TRUE", [12]),
        ("SELECT 1; UPDATE {t} SET n = n + 10 WHERE TRUE", [12]),
        ("SELECT * FROM {t}", [2]),
    ],
)
def test_reads_inserts_and_single_statements_do_not_conflict(
    arrive, gate, held, run, table, rival, rows
):
    """Real BigQuery: single statements wait; INSERTs, reads and other tables do not conflict."""
    holder = held()
    other = arrive(run, rival.format(t=table, other=table.replace(".t", ".other")))
    gate.opened.set()
    holder.result(WAIT_S)
    other.result(WAIT_S)
    assert run(f"SELECT n FROM {table} ORDER BY n") == [(n,) for n in rows]


def test_transaction_that_only_inserts_aborts_nobody(arrive, gate, held, run, table):
    """Real BigQuery: appending to a table conflicts with nothing."""
    holder = held(change="INSERT INTO {t} VALUES (5)")
    rival = arrive(run, f"BEGIN TRANSACTION; DELETE FROM {table} WHERE n = 1; COMMIT TRANSACTION")
    gate.opened.set()
    holder.result(WAIT_S)
    rival.result(WAIT_S)
    assert run(f"SELECT n FROM {table}") == [(5,)]


def test_transaction_that_is_rolled_back_aborts_nobody(arrive, gate, held, run, table):
    """A rolled back transaction does not conflict with one that waited for it."""
    holder = held(end="ROLLBACK TRANSACTION")
    rival = arrive(run, f"BEGIN TRANSACTION; DELETE FROM {table} WHERE TRUE; COMMIT TRANSACTION")
    gate.opened.set()
    holder.result(WAIT_S)
    rival.result(WAIT_S)
    assert run(f"SELECT n FROM {table}") == []


def test_appended_rows_abort_nobody(append, arrive, gate, held, run, table):
    """Real BigQuery: streaming writes go on while a transaction mutates the table."""
    holder = held()
    rows = pa.table({"n": pa.array([7], pa.int64())})
    with ThreadPoolExecutor(1) as threads:
        appended = threads.submit(append, table, rows)
        gate.opened.set()
        holder.result(WAIT_S)
        appended.result(WAIT_S)
    run(f"BEGIN TRANSACTION; UPDATE {table} SET n = n + 1 WHERE TRUE; COMMIT TRANSACTION")
    assert run(f"SELECT n FROM {table} ORDER BY n") == [(3,), (8,)]


def test_single_statement_aborts_a_transaction_that_arrives_meanwhile(
    arrive, held, gate, run, table
):
    """Real BigQuery: a transaction also conflicts with a statement outside of transactions."""
    holder = held()
    statement = arrive(run, f"DELETE FROM {table.replace('.t', '.other')} WHERE TRUE")
    other = table.replace(".t", ".other")
    rival = arrive(
        run, f"BEGIN TRANSACTION; UPDATE {other} SET n = 5 WHERE TRUE; COMMIT TRANSACTION"
    )
    gate.opened.set()
    holder.result(WAIT_S)
    statement.result(WAIT_S)
    with pytest.raises(BadRequest, match=ABORTED.format(table=other)):
        rival.result(WAIT_S)


def test_dynamic_statement_of_a_transaction_is_aborted(arrive, bq, gate, held, table):
    """Real BigQuery: the rule holds for EXECUTE IMMEDIATE, and for requests by `jobs.query`."""
    holder = held()
    rival = arrive(
        lambda: bq.query_and_wait(
            f"BEGIN TRANSACTION; EXECUTE IMMEDIATE 'DELETE FROM {table} WHERE TRUE'; "
            "COMMIT TRANSACTION",
            retry=None,
            job_retry=None,
        )
    )
    gate.opened.set()
    holder.result(WAIT_S)
    with pytest.raises(BadRequest, match=ABORTED.format(table=table)):
        rival.result(WAIT_S)


def test_handler_sees_the_abort_and_only_rollback_can_follow(arrive, gate, held, run, table):
    """Real BigQuery: an EXCEPTION handler catches the error; nothing of the transaction stays."""
    holder = held()
    begin = (
        f"BEGIN BEGIN TRANSACTION; INSERT INTO {table} VALUES (9); DELETE FROM {table} WHERE TRUE; "
    )
    handler = "EXCEPTION WHEN ERROR THEN ROLLBACK TRANSACTION; SELECT @@error.message; END"
    rival = arrive(run, f"{begin} COMMIT TRANSACTION; {handler}")
    gate.opened.set()
    holder.result(WAIT_S)
    ((message,),) = rival.result(WAIT_S)
    assert message.startswith("Transaction is aborted due to concurrent update")
    assert run(f"SELECT n FROM {table}") == [(2,)]


def test_at_most_20_statements_wait_for_a_table(arrive, gate, held, run, table):
    """Real BigQuery: 20 mutating statements wait for a table; INSERTs are not counted."""
    holder = held()
    waiting = [arrive(run, f"UPDATE {table} SET n = n + 1 WHERE n > 0") for _ in range(MAX_WAITING)]
    one_more = arrive(run, f"MERGE {table} USING (SELECT 1 AS m) ON n = m WHEN MATCHED THEN DELETE")
    insert = arrive(run, f"INSERT INTO {table} VALUES (-1)")
    other = arrive(run, f"DELETE FROM {table.replace('.t', '.other')} WHERE TRUE")
    gate.opened.set()
    for request in (holder, *waiting, insert, other):
        request.result(WAIT_S)
    message = (
        "Resources exceeded during query execution: Too many DML statements outstanding against "
        f"table local:{table}, limit is 20."
    )
    with pytest.raises(BadRequest, match=message) as refused:
        one_more.result(WAIT_S)
    assert refused.value.errors[0]["reason"] == "resourcesExceeded"
    assert run(f"SELECT n FROM {table} ORDER BY n") == [(-1,), (2 + MAX_WAITING,)]
    run(f"DELETE FROM {table} WHERE TRUE")
