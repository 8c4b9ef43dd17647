import pyarrow as pa
import pytest

from etlkit.engine import recent_rows as module
from etlkit.engine.chunk import SourceRows
from etlkit.engine.recent_rows import RecentRows
from etlkit.rows.batches import RowDecoder
from etlkit.rows.columns import Column

DECODER = RowDecoder([Column("n", "INT64")])


def rows(*numbers):
    ids = [f"id-{n}" for n in numbers]
    batch = pa.RecordBatch.from_pydict({"_etlkit_row_id": ids, "n": pa.array(numbers, pa.int64())})
    return SourceRows(batch, DECODER)


def test_rows_are_found_by_id():
    """Those that are there; the others are left out."""
    recent = RecentRows()
    for numbers in ((1, 2), (3, 4)):
        recent.add(rows(*numbers))
    assert recent.find(["id-4", "id-1", "id-9"]) == {"id-4": {"n": 4}, "id-1": {"n": 1}}


@pytest.mark.parametrize(("kept", "expected"), [(1, ["id-2"]), (2, ["id-1", "id-2"])])
def test_the_oldest_rows_go(monkeypatch, kept, expected):
    """The bound is in bytes, and adding the same rows again does not count."""
    monkeypatch.setattr(module, "MAX_BYTES", rows(1).batch.nbytes * kept)
    recent = RecentRows()
    recent.add(rows(1))
    last = rows(2)
    for _ in range(3):
        recent.add(last)
    assert sorted(recent.find(["id-1", "id-2"])) == expected
