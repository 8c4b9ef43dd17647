import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from google.api_core.exceptions import GoogleAPIError
from requests.exceptions import ConnectionError as ConnectionFailedError

from etlkit.errors import ConfigError, JobError
from etlkit.local import join_or_start
from etlkit.local.server.server_info import SERVER_FILE, read_server_info
from tests.warm_python import WarmPython

CLIENT = """
import sys
from pathlib import Path
from etlkit.local import join_or_start
with join_or_start(Path(sys.argv[1])) as server:
    print(server.pid, server.started, server.endpoints.bigquery, flush=True)
    sys.stdin.read()
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def client_process(local_dir):
    """Start client processes. Each ends when it is killed or its stdin is closed."""
    processes = []
    script = local_dir.with_name("client.py")
    script.write_text(CLIENT)

    def start() -> WarmPython:
        process = WarmPython([script, local_dir], cwd=ROOT, env=os.environ, stdin=subprocess.PIPE)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait(60)
        process.close()


@pytest.fixture
def is_gone(local_dir):
    """Whether no server has the data open any more."""

    def ask() -> bool:
        try:
            with FileLock(local_dir / "data.lock", timeout=0):
                return True
        except Timeout:
            return False

    return ask


def said(process: WarmPython) -> tuple[int, bool]:
    pid, started, _ = process.stdout.readline().split()
    return int(pid), started == "True"


def test_server_is_shared_and_ends_after_its_last_client(local_dir, client_process, until, is_gone):
    """One of four that start at once starts it; it outlives that one, and ends after the last."""
    clients = [client_process() for _ in range(4)]
    answers = [said(client) for client in clients]
    ((pid, _),) = [answer for answer in answers if answer[1]]
    assert [answer[0] for answer in answers] == [pid] * 4
    starter = clients.pop(answers.index((pid, True)))
    starter.stdin.close()
    starter.wait(60)
    with join_or_start(local_dir) as another:
        assert another.pid == pid
        assert not another.started
    assert not is_gone()

    for client in clients:
        client.stdin.close()
    until(is_gone)
    assert not (local_dir / SERVER_FILE).exists()


def test_server_ends_when_its_client_is_killed_and_the_data_is_whole(
    local_dir, client_process, connect, until, is_gone
):
    """SIGKILL of the only client ends the server cleanly, and the next server has every row."""
    client = client_process()
    said(client)
    with join_or_start(local_dir) as server, connect(server) as bq:
        bq.query_and_wait("CREATE SCHEMA d")
        bq.query_and_wait("CREATE TABLE d.t AS SELECT * FROM UNNEST(GENERATE_ARRAY(1, 1000)) AS n")
    client.send_signal(signal.SIGKILL)
    until(is_gone)
    assert not (local_dir / "data" / "bqemulator.duckdb.wal").exists()

    with join_or_start(local_dir) as server, connect(server) as bq:
        assert server.started
        assert [tuple(row) for row in bq.query_and_wait("SELECT SUM(n) FROM d.t")] == [(500500,)]
        os.kill(server.pid, signal.SIGTERM)  # ends it as cleanly as the end of its last client
        until(is_gone)
        assert not (local_dir / SERVER_FILE).exists()
    assert (local_dir / "server.log").read_text() == ""


def _answer_nonsense(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "null"])
def test_damaged_server_file_is_ignored(tmp_path, text):
    """A file that no server could have written counts as missing."""
    (tmp_path / SERVER_FILE).write_text(text)
    assert read_server_info(tmp_path) is None


def test_data_survives_a_killed_server(local_dir, connect, until, is_gone):
    """SIGKILL of the server in the middle of writes loses no acknowledged row.

    Its file is left over, and the port in it may belong to another program by now.
    """
    acknowledged = []
    with join_or_start(local_dir) as server, connect(server) as bq:
        bq.query_and_wait("CREATE SCHEMA d")
        bq.query_and_wait("CREATE TABLE d.t (n INT64)")
        writer = threading.Thread(target=_write_until_refused, args=(bq, acknowledged))
        writer.start()
        until(lambda: len(acknowledged) > 5)
        info = json.loads((local_dir / SERVER_FILE).read_text())
        os.kill(server.pid, signal.SIGKILL)
        writer.join(30)
    until(is_gone)

    with socket.create_server(("127.0.0.1", 0)) as foreign:
        info["lease_port"] = foreign.getsockname()[1]
        (local_dir / SERVER_FILE).write_text(json.dumps(info))
        answer = threading.Thread(target=_answer_nonsense, args=(foreign,), daemon=True)
        answer.start()
        with join_or_start(local_dir) as server, connect(server) as bq:
            assert server.started
            assert server.pid != info["pid"]
            rows = {row.n for row in bq.query_and_wait("SELECT n FROM d.t")}
        answer.join(60)
    assert rows.issuperset(acknowledged)
    assert len(rows) <= len(acknowledged) + 1


def _write_until_refused(bq, acknowledged: list[int]) -> None:
    for number in range(10_000):
        try:
            job = bq.query(f"INSERT INTO d.t VALUES ({number})", retry=None, job_retry=None)
            job.result(retry=None, job_retry=None)
        except (GoogleAPIError, ConnectionFailedError):
            return
        acknowledged.append(number)


def test_start_error_shows_the_log_and_the_next_step(local_dir):
    """The error of a server that cannot start says why and what to do."""
    (local_dir / "data").mkdir(parents=True)
    (local_dir / "data" / "bqemulator.duckdb").write_text("this is no database" * 1000)
    with pytest.raises(JobError, match=r"exit code 1(?s:.)*not a valid DuckDB(?s:.)*move .* away"):
        join_or_start(local_dir)


def test_missing_extra_is_a_config_error(local_dir, monkeypatch):
    """Without the extra's packages nothing is started; the message says what is missing."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"bqemulator.* extra `local`"):
        join_or_start(local_dir)


def test_endpoints_point_the_clients(local_server):
    """The environment has exactly the variables that the clients read."""
    environ = local_server.endpoints.environ()
    assert environ.keys() == {
        "BIGQUERY_EMULATOR_HOST",
        "ETLKIT_BIGQUERY_GRPC_ENDPOINT",
        "ETLKIT_LOCAL_TOKEN",
        "ETLKIT_VISION_ENDPOINT",
        "ETLKIT_VISION_GRPC_ENDPOINT",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_PROJECT",
    }
    assert environ["BIGQUERY_EMULATOR_HOST"].startswith("http://127.0.0.1:")
