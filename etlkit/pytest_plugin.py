"""The pytest plugin of etlkit: a local BigQuery as a fixture.

pytest finds it by itself where etlkit is installed. It imports nothing else until a test asks for the
fixture.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def local_bigquery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A local BigQuery of its own for this session; Google's clients in the tests go there.

    Yields:
        The environment variables for other programs that a test starts.
    """
    from etlkit.runner import local_world

    with local_world(tmp_path_factory.mktemp("etlkit") / ".etlkit") as environ:
        yield environ
