from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from etlkit.rows import datetimes
from etlkit.rows.batches import RowDecoder
from etlkit.rows.columns import Column, arrow_type

MOMENTS = [-62_135_596_800_000_000, -1, 0, None, 1_700_000_000_123_456, 253_402_300_799_999_999]


@pytest.mark.parametrize("has_numpy", [True, False])
@pytest.mark.parametrize("kind", ["TIMESTAMP", "DATETIME"])
def test_moments_are_the_same_with_numpy_and_without(kind, has_numpy, monkeypatch):
    """pyarrow does without numpy; slices and nulls as well."""
    if not has_numpy:
        monkeypatch.setattr(datetimes, "_numpy", lambda: None)
    column = Column("at", kind)
    array = pa.array(MOMENTS * 3, pa.int64()).view(arrow_type(column))
    zone = UTC if kind == "TIMESTAMP" else None
    epoch = datetime(1970, 1, 1, tzinfo=zone)
    for part in (array, array.slice(2, 7), array.slice(0, 3), array.slice(3, 1)):
        batch = pa.record_batch([part], ["at"])
        found = [row["at"] for row in RowDecoder((column,)).decode(batch).rows]
        ticks = part.view("int64").to_pylist()
        assert [
            None if each is None else (each - epoch) // datetime.resolution for each in found
        ] == ticks
        assert {each.tzinfo for each in found if each is not None} <= {zone}


def test_decimals_are_those_of_pyarrow():
    """Digit by digit, with the zeros at their end."""
    values = [Decimal(0), Decimal("1e-9"), Decimal("-12345678901234567890.5"), None, Decimal(7)]
    for column in (Column("d", "NUMERIC"), Column("d", "BIGNUMERIC")):
        array = pa.array(values, arrow_type(column))
        found = [
            row["d"] for row in RowDecoder((column,)).decode(pa.record_batch([array], ["d"])).rows
        ]
        assert list(map(str, found)) == list(map(str, array.to_pylist()))
