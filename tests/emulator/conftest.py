import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from etlkit.local import LocalServer, join_or_start

DATASET_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """The server that all tests share; tests that kill servers start their own."""
    with join_or_start(tmp_path_factory.mktemp("shared") / ".etlkit") as server:
        yield server


@pytest.fixture(scope="session")
def connect() -> Callable[[LocalServer], bigquery.Client]:
    """Make the official client for a local server, without touching the environment."""

    def connect_to(server: LocalServer) -> bigquery.Client:
        return bigquery.Client(
            project=server.endpoints.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=server.endpoints.bigquery),
        )

    return connect_to


@pytest.fixture(scope="session")
def bq(local_server, connect) -> Iterator[bigquery.Client]:
    with connect(local_server) as client:
        yield client


@pytest.fixture
def dataset(bq) -> str:
    """A fresh dataset."""
    name = f"ds_{next(DATASET_NUMBERS)}"
    bq.create_dataset(name)
    return name


@pytest.fixture
def run(bq) -> Callable[..., list[tuple]]:
    """Run SQL and give the rows as tuples."""

    def run_sql(sql: str, **options) -> list[tuple]:
        config = bigquery.QueryJobConfig(**options)
        return [tuple(row) for row in bq.query(sql, job_config=config).result()]

    return run_sql


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], object]], None]:
    """Wait for an event: ask again and again until the answer is true, or fail."""

    def wait_until(is_true: Callable[[], object], within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not is_true():
            assert time.monotonic() < deadline, f"not true within {within_s:g} s"
            time.sleep(0.01)

    return wait_until


@pytest.fixture
def local_dir(tmp_path: Path) -> Path:
    """A directory for a server of the test's own."""
    return tmp_path / ".etlkit"
