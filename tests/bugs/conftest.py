"""Each file here is about one kind of fault; `page.py` says how its tests get onto the page."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.source_rows import Read, read_source, write_file


@pytest.fixture
def read() -> Callable[..., Read]:
    """Read a source to its end, as a run does: types by column, ids and rows."""
    return read_source


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    """Write a file: a table as Parquet, a list as JSON Lines, text as it is; gives its path."""
    numbers = itertools.count(1)

    def write(content, ending: str) -> str:
        return write_file(tmp_path / f"{next(numbers)}.{ending}", content)

    return write
