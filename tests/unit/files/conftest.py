from collections.abc import Callable

import pytest

from tests.source_rows import Read, read_source


@pytest.fixture
def read() -> Callable[..., Read]:
    """Read a source as a run does or, with frozen=False, as a preview does."""
    return read_source
