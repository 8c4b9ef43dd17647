import itertools
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from etlkit.api.run import Settings
from etlkit.local import LocalServer, join_or_start
from etlkit.testing.fault_proxy import Fault, Proxy
from tests.faults.attempt import NUM_ROWS, Plan
from tests.faults.fence import Fence

HERE = Path(__file__).parent
TARGETS = itertools.count(1)


@pytest.fixture(scope="session")
def fault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server for the tests of this directory; it outlives the children that they kill."""
    with join_or_start(tmp_path_factory.mktemp("faults") / ".etlkit") as server:
        yield server


@pytest.fixture(scope="session")
def bq(fault_server) -> Iterator[bigquery.Client]:
    """The official client, straight to the server."""
    with bigquery.Client(
        project=fault_server.endpoints.project,
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=fault_server.endpoints.bigquery),
    ) as client:
        yield client


@pytest.fixture(scope="session")
def run(bq) -> Callable[[str], list[tuple]]:
    """Run SQL and give the rows as tuples."""

    def run_sql(sql: str) -> list[tuple]:
        return [tuple(row) for row in bq.query_and_wait(sql, retry=None, job_retry=None)]

    return run_sql


@pytest.fixture
def through_proxy(fault_server) -> Iterator[Callable[..., Settings]]:
    """Settings that lead through a proxy to REST and one to gRPC, with faults of their own."""
    with ExitStack() as proxies:

        def settings(*, rest: Sequence[Fault] = (), grpc: Sequence[Fault] = ()) -> Settings:
            ends = fault_server.endpoints
            to_rest = proxies.enter_context(Proxy(ends.bigquery, rest))
            to_grpc = proxies.enter_context(Proxy(ends.bigquery_grpc, grpc, http2=True))
            environ = {
                **ends.environ(),
                "BIGQUERY_EMULATOR_HOST": f"http://{to_rest.address}",
                "ETLKIT_BIGQUERY_GRPC_ENDPOINT": to_grpc.address,
            }
            return Settings(environ=environ)

        yield settings


class PaidApi:
    """The stand-in API, from outside."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"

    def num_calls(self) -> int:
        return self._get("calls")

    def hold_after(self, num_calls: int) -> None:
        """Let all calls after so many wait for `let_go`; they count when they arrive."""
        self._get(f"hold/{num_calls}")

    def let_go(self) -> None:
        """Answer all calls, those that wait as well."""
        self._get("hold/0")

    def num_keys(self, since: int) -> int:
        """How many different keys were called since call number `since`."""
        return self._get(f"keys/{since}")

    def num_refused(self) -> int:
        """How many calls were answered with 503."""
        return self._get("refused")

    def calls(self) -> list[tuple[int, int, float]]:
        """Key, caller and monotonic time of every call, in order."""
        return [tuple(call) for call in self._get("log")]

    def _get(self, what: str):
        with urllib.request.urlopen(f"http://{self.address}/{what}", timeout=30) as answer:
            return json.loads(answer.read())


@pytest.fixture
def paid_api() -> Iterator[PaidApi]:
    """A stand-in API in a process of its own."""
    with running_api() as api:
        yield api


@contextmanager
def running_api(*arguments: str) -> Iterator[PaidApi]:
    """Start the API; its arguments are those of `paid_api.py`."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "paid_api.py"), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield PaidApi(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=20)
        finally:
            process.kill()
            process.stdout.close()


@pytest.fixture(scope="session")
def numbers(run) -> None:
    """The source of the jobs of `attempt.py`, and their datasets."""
    for dataset in ("fence", "etlkit_work"):
        run(f"CREATE SCHEMA IF NOT EXISTS {dataset}")
    run(
        f"CREATE TABLE fence.numbers AS SELECT n FROM UNNEST(GENERATE_ARRAY(0, {NUM_ROWS - 1})) AS n"
    )


@pytest.fixture
def fence(run, bq, numbers, fault_server, until) -> Iterator[Fence]:
    """A target of the test's own, and attempts that write to it."""
    plan = Plan(f"fence.target_{next(TARGETS)}")
    fence = Fence(run, bq, fault_server.endpoints.environ(), until, plan)
    yield fence
    fence.close()
