import gc
import sys
from pathlib import Path

import pytest

from etlkit.local.bigquery.user_cache import KeptTexts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open files are in /proc")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "etlkit"


def open_files(folder):
    """The files in a folder that this process has open."""
    found = []
    for number in Path("/proc/self/fd").iterdir():
        try:
            found.append(number.readlink())
        except FileNotFoundError:  # that of this list
            continue
    return [path for path in found if path.is_relative_to(folder)]


def test_a_table_that_nobody_has_any_more_is_closed(folder, young_heap):
    """Python 3.13 tells of each that is not."""
    kept = KeptTexts("texts", "1")
    kept.put(b"key", "text")
    assert open_files(folder)
    assert kept.get(b"key") == "text"
    del kept
    gc.collect()
    assert not open_files(folder)
    again = KeptTexts("texts", "1")
    assert again.get(b"key") == "text"
    again.close()
    assert not open_files(folder)
    assert again.get(b"key") is None
    again.close()


def test_a_broken_file_is_closed(folder):
    folder.mkdir()
    (folder / "texts-1.sqlite").write_bytes(b"no database" * 100)
    kept = KeptTexts("texts", "1")
    assert not open_files(folder)
    kept.put(b"key", "text")
    assert kept.get(b"key") is None
