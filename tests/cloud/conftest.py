"""One text for two worlds: BigQuery itself if `ETLKIT_CLOUD_PROJECT` is set, else the local server."""

import itertools
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from etlkit.api.run import Settings
from etlkit.bigquery.client import EMULATOR_VARIABLE
from etlkit.local import join_or_start

ROOT = Path(__file__).parents[2]
PROJECT_VARIABLE = "ETLKIT_CLOUD_PROJECT"
LOCATION_VARIABLE = "ETLKIT_CLOUD_LOCATION"

LABEL = "etlkit_suite"
"""On every dataset of the suite, and on the jobs that its tests send by themselves."""

EXPIRE_MS = 24 * 60 * 60 * 1000
"""Tables of the suite's datasets are gone after a day, should the suite be killed."""


@dataclass(frozen=True)
class World:
    """Where the tests run.

    Attributes:
        client: The official client; its jobs carry `LABEL`.
        settings: For etlkit.
        suite: How the names of all datasets and jobs of this session begin.
        started_at: When the session began, in seconds of the epoch.
        is_local: Whether it is the local server.
    """

    client: bigquery.Client
    settings: Settings
    suite: str
    started_at: float
    is_local: bool

    @property
    def work(self) -> str:
        """The work dataset that all tests share."""
        return f"{self.suite}_work"

    @property
    def location(self) -> str:
        """Where its datasets are."""
        return self.client.location or "US"

    def make_dataset(self, name: str, **properties: object) -> None:
        """Create a dataset that the session removes."""
        dataset = bigquery.Dataset(f"{self.client.project}.{name}")
        dataset.location = self.location
        dataset.labels = {LABEL: self.suite}
        dataset.default_table_expiration_ms = EXPIRE_MS
        for key, value in properties.items():
            setattr(dataset, key, value)
        self.client.create_dataset(dataset)

    def remove(self) -> None:
        """Remove every dataset of the session, with all its tables."""
        for dataset in self.client.list_datasets():
            if dataset.dataset_id.startswith(self.suite):
                self.client.delete_dataset(
                    dataset.reference, delete_contents=True, not_found_ok=True
                )


def differences() -> set[str]:
    """The topics of the table of differences in the guide to the local world."""
    guide = (ROOT / "docs/guides/local.md").read_text(encoding="utf-8")
    table = guide.split("## Where it differs from BigQuery")[1].split("\n\n")
    (rows,) = (block for block in table if block.startswith("| Topic |"))
    return set(re.findall(r"^\| (.+?) \|", rows, re.MULTILINE)) - {"Topic"}


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means."""
    config.addinivalue_line(
        "markers",
        "differs(row): the local server cannot do this yet; `row` is the topic in the table of "
        "differences in docs/guides/local.md",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect marked tests to fail, locally only; ask for the price when all others have run."""
    rows = differences()
    here = f"{Path(__file__).parent}{os.sep}"
    mine = [item for item in items if str(item.path).startswith(here)]  # of thousands of others
    for item in mine:
        for marker in item.iter_markers("differs"):
            (row,) = marker.args
            if row not in rows:
                raise pytest.UsageError(f"{item.nodeid}: {row!r} is not in docs/guides/local.md")
            if PROJECT_VARIABLE not in os.environ:
                item.add_marker(pytest.mark.xfail(strict=True, reason=f"local.md: {row}"))
    last = {id(item) for item in mine if item.path.name == "test_price.py"}
    items.sort(key=lambda item: id(item) in last)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """BigQuery, or the local server; the session's datasets are removed whatever happens."""
    project = os.environ.get(PROJECT_VARIABLE)
    suite = f"etlkit_cloud_{secrets.token_hex(4)}"
    config = bigquery.QueryJobConfig(labels={LABEL: suite})
    with ExitStack() as stack:
        if project is None:
            server = stack.enter_context(
                join_or_start(tmp_path_factory.mktemp("cloud") / ".etlkit")
            )
            environ = server.endpoints.environ()
            client = bigquery.Client(
                project=server.endpoints.project,
                credentials=AnonymousCredentials(),
                client_options=ClientOptions(api_endpoint=server.endpoints.bigquery),
                default_query_job_config=config,
            )
            settings = Settings(environ=environ)
        else:
            if EMULATOR_VARIABLE in os.environ:
                pytest.exit(f"unset {EMULATOR_VARIABLE}: it leads the clients to an emulator")
            location = os.environ.get(LOCATION_VARIABLE, "US")
            client = bigquery.Client(
                project=project, location=location, default_query_job_config=config
            )
            settings = Settings(project=project, location=location, environ=dict(os.environ))
        stack.enter_context(client)
        world = World(client, settings, suite, time.time(), project is None)
        stack.callback(world.remove)
        world.make_dataset(world.work)
        yield world


@pytest.fixture(scope="session")
def bq(world) -> bigquery.Client:
    """The official client."""
    return world.client


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """One number for each dataset."""
    return itertools.count(1)


@pytest.fixture
def dataset(world, numbers) -> str:
    """A fresh dataset; its name is also a good name for the test's jobs."""
    name = f"{world.suite}_{next(numbers)}"
    world.make_dataset(name)
    return name


@pytest.fixture
def run(bq) -> Callable[..., list[tuple]]:
    """Run SQL and give the rows as tuples."""

    def run_sql(sql: str, **options) -> list[tuple]:
        config = bigquery.QueryJobConfig(**options)
        return [tuple(row) for row in bq.query(sql, job_config=config).result()]

    return run_sql
