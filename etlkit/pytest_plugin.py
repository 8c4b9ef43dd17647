"""The pytest plugin of etlkit: fixtures for tests of transforms and jobs.

pytest finds it by itself where etlkit is installed. It imports nothing else until a test asks for a
fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from etlkit.rows.row import Row
    from etlkit.testing import FakeVision, FaultServer


@pytest.fixture(scope="session")
def local_bigquery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A local BigQuery of its own for this session; Google's clients in the tests go there.

    With pytest-xdist each worker has one.

    Yields:
        The environment variables for other programs that a test starts.
    """
    from etlkit.runner import local_world

    with local_world(tmp_path_factory.mktemp("etlkit") / ".etlkit") as environ:
        yield environ


@pytest.fixture
def etl_run() -> Callable[..., list[Row]]:
    """`etlkit.testing.run_transform` whose calls do not wait: the clock of retries jumps."""
    from etlkit.testing import no_sleep, run_transform

    def run(etl: object, rows: list[Row], **options: object) -> list[Row]:
        with no_sleep():
            return run_transform(etl, rows, **options)  # type: ignore[arg-type]

    return run


@pytest.fixture
def fake_vision(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVision]:
    """Cloud Vision on this machine; a test sets its `images`, and etlkit's Vision clients go there."""
    from etlkit.testing import FakeVision

    with FakeVision() as vision:
        for name, value in vision.environ.items():
            monkeypatch.setenv(name, value)
        yield vision


@pytest.fixture
def fault_server(request: pytest.FixtureRequest) -> Iterator[FaultServer]:
    """A server that fails as planned; its arguments come from `@pytest.mark.fault_server(...)`."""
    from etlkit.testing import FaultServer

    marked = request.node.get_closest_marker("fault_server")
    arguments = marked.args if marked else ()
    options = marked.kwargs if marked else {}
    with FaultServer(*arguments, **options) as server:
        yield server


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "fault_server(plan, **options): arguments of the FaultServer of the fixture fault_server",
    )
