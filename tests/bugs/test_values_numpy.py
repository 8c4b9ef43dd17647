"""numpy and pandas: their values are taken where they equal a value of the column, and else refused."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from etlkit import EtlBase, RowSchemaError, TransferJob, run_job
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import parse_schema
from etlkit.rows.inference import infer_columns
from etlkit.testing import MemorySink, MemorySource


def encoded(kind, value):
    """The value as a column of this type holds it."""
    return RowEncoder(parse_schema({"a": kind})).encode([{"a": value}]).to_pylist()[0]["a"]


@pytest.mark.edge_case(
    "`np.int64(2**53 + 1)` in FLOAT64", "a returned row", "row error, as for `int`"
)
@pytest.mark.edge_case("`np.float64(0.5)`, `np.int32(7)`", "a returned row", "taken as 0.5, 7")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("FLOAT64", np.int64(2**53 + 1)),
        ("FLOAT64", np.int64(-(2**53) - 1)),
        ("FLOAT64", np.uint64(2**64 - 1)),
        ("FLOAT64", np.longdouble(1) / 3),
        ("INT64", np.float64(1)),
        ("INT64", np.bool_(1)),
        ("BOOL", np.bool_(1)),
        ("NUMERIC", np.float64(0.5)),
        ("STRING", np.bytes_(b"x")),
        ("TIMESTAMP", np.datetime64("2024-01-31")),
        ("JSON", {"a": np.int64(1)}),
        ("ARRAY<INT64>", np.array([1, 2])),
    ],
)
def test_what_would_change_is_refused(kind, value):
    """The message has the type of the value, and no value."""
    with pytest.raises(RowSchemaError, match="numpy") as caught:
        encoded(kind, value)
    assert caught.value.column == "a"
    with pytest.raises(RowSchemaError, match="beyond 64 bits"):
        encoded("INT64", np.uint64(2**63))


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("FLOAT64", np.int64(2**53), 2.0**53),
        ("FLOAT64", np.float32(0.1), float(np.float32(0.1))),
        ("FLOAT64", np.float16(0.5), 0.5),
        ("FLOAT64", np.float64("inf"), float("inf")),
        ("INT64", np.uint64(2**63 - 1), 2**63 - 1),
        ("NUMERIC", np.int8(-5), Decimal(-5)),
        ("STRING", np.str_("x"), "x"),
        ("BYTES", np.bytes_(b"x"), b"x"),
        ("JSON", {"a": np.float64(0.5)}, '{"a":0.5}'),
    ],
)
def test_what_is_equal_is_taken(kind, value, expected):
    """As the Python value that it equals."""
    assert encoded(kind, value) == expected


@pytest.mark.edge_case("`pd.NaT` in a new column", "a returned row", "row error: use None")
@pytest.mark.edge_case(
    "`pd.NaT` in a DATE, TIME, DATETIME or TIMESTAMP column", "a returned row", "row error"
)
@pytest.mark.edge_case("`pd.NA`", "a returned row", "row error")
def test_no_time_is_a_row_error():
    """The row alone fails, whether its column is new or not."""
    for kind in ("DATE", "TIME", "DATETIME", "TIMESTAMP"):
        with pytest.raises(RowSchemaError, match="not a point in time; use None"):
            encoded(kind, pd.NaT)
    for rows in ([{"a": pd.NaT}], [{"a": datetime(2024, 1, 1, tzinfo=UTC)}, {"a": pd.NaT}]):
        with pytest.raises(RowSchemaError, match="not a point in time; use None"):
            infer_columns(rows, {})
    with pytest.raises(RowSchemaError, match="no column type holds"):
        infer_columns([{"a": pd.NA}], {})


class Times(EtlBase):
    """Makes a new column with the times that pandas reads."""

    def transform_row(self, row):
        row["at"] = pd.to_datetime(row["text"], errors="coerce", utc=True)
        return row


def test_only_the_row_without_a_time_is_skipped():
    """The run goes on, and the error has the row and the column."""
    texts = ["2024-01-31", "not a time", "2024-02-29"]
    sink = MemorySink()
    job = TransferJob(
        source=MemorySource([{"text": each} for each in texts], {"text": "STRING"}),
        transform=Times,
        sink=sink,
        on_row_error="skip",
        max_rejected=None,
    )
    report = run_job(job)
    assert (report.written, report.skipped) == (2, 1)
    (error,) = report.first_errors
    assert error.startswith("row 2 ")
    assert "column 'at'" in error
