import math
import struct
from collections import OrderedDict, defaultdict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import StrEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit.api.outcomes import SKIPPED, FullOutcome, error_class
from etlkit.engine.journal.records import (
    UnknownValueError,
    from_record,
    read_frames,
    to_frame,
    to_record,
)
from etlkit.errors import RowError, TransformError
from etlkit.rows.json_values import JsonText

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=8,
)


def read_back(outcome):
    row_id, found = from_record(to_record("id-1", outcome))
    assert row_id == "id-1"
    return found


def exact(value):
    """The value with its types: 1, True and 1.0 are equal, and not the same."""
    if isinstance(value, dict):
        return {key: exact(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(exact, value))
    return type(value), str(value), getattr(value, "tzinfo", None)


@given(st.dictionaries(st.text("ab", max_size=3), VALUES, max_size=4))
def test_a_row_comes_back_as_it_was(row):
    """Whatever its values are, nested or not, with their types."""
    assert exact(read_back(row)) == exact(row)


@pytest.mark.parametrize(
    "value",
    [
        datetime(1, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001 - a DATETIME has none
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=9))),
        Decimal("-0.00"),
        Decimal("1E+20"),
        Decimal("NaN"),
        -0.0,
        math.inf,
        2**70,
        b"\x00\xff",
        {"": {"": ["decimal", "1"]}},
        {1: "a", (): "b"},
        {"a": [{"b": [time(1, 2)]}, [date(2024, 2, 29)]]},
    ],
    ids=repr,
)
def test_odd_values_come_back_as_they_were(value):
    """Also those that look like the marks of the format itself."""
    if isinstance(value, dict) and () in value:
        with pytest.raises(TypeError):  # a list cannot be a key: such a record is not used
            read_back({"x": value})
        return
    assert exact(read_back({"x": value})["x"]) == exact(value)


def test_values_that_count_as_others_come_back_as_those():
    """They are one and the same to the columns."""
    given_row = {
        "a": np.int64(7),
        "b": np.float32(0.5),
        "c": OrderedDict(x=1),
        "d": defaultdict(list, y=[2]),
        "e": bytearray(b"z"),
        "f": (1, 2),
        "g": math.nan,
    }
    found = read_back(given_row)
    assert math.isnan(found.pop("g"))
    assert found == {"a": 7, "b": 0.5, "c": {"x": 1}, "d": {"y": [2]}, "e": b"z", "f": [1, 2]}


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [object(), Colour.RED, {1, 2}, timedelta(1), "\ud800"],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_cannot_be_kept_exactly_is_refused(value):
    """Its row is called again then, as without a journal."""
    with pytest.raises(UnknownValueError):
        to_record("id-1", {"x": [value]})


@pytest.mark.parametrize("of", [lambda row: row, lambda row: FullOutcome((row, {"n": 2}))])
def test_a_row_that_loses_a_key_meanwhile_is_written_as_it_was(of):
    """The pipeline removes keys that have no column from rows that a worker still writes down."""

    class Removes(dict):
        def values(self):
            row.pop("unknown", None)
            return super().values()

    row = {"n": 1, "nested": Removes(a=1), "unknown": None, "last": 3}
    _, outcome = from_record(to_record("id", of(row)))
    assert "unknown" not in row
    written = outcome if isinstance(outcome, dict) else outcome.rows[0]
    assert written == {"n": 1, "nested": {"a": 1}, "unknown": None, "last": 3}


def test_skipped_rows_and_fan_out_come_back():
    """An empty iterable is a skipped row."""
    assert read_back(SKIPPED) is SKIPPED
    assert read_back(FullOutcome(())).rows == ()
    parts = ({"a": 1}, {"a": 2, "b": b"x"})
    assert read_back(FullOutcome(parts)).rows == parts


def test_an_error_comes_back_with_all_that_is_told_of_it():
    """So a rejected row looks as if it had been rejected by this attempt."""
    error = TransformError("no such picture", column="uri")
    error.__cause__ = KeyError("x")
    error.code, error.attempts = "NOT_FOUND", 3
    found = read_back(FullOutcome((), error)).error
    assert isinstance(found, RowError)
    assert (error_class(found), found.code, found.attempts) == ("KeyError", "NOT_FOUND", 3)
    assert str(found.at_row(7, "i")) == str(error.at_row(7, "i"))


def test_reading_ends_at_a_frame_that_is_not_whole(tmp_path):
    """Wherever the file was cut, or a bit flipped: what stands before it is used."""
    contents = [b"one", b"", b"three" * 50]
    whole = b"".join(map(to_frame, contents))
    file = tmp_path / "f"
    for cut in range(len(whole)):
        file.write_bytes(whole[:cut])
        ends = [len(b"".join(map(to_frame, contents[:n]))) for n in range(len(contents) + 1)]
        assert list(read_frames(file)) == contents[: sum(end <= cut for end in ends[1:])]
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    file.write_bytes(flipped)
    assert list(read_frames(file)) == contents[:2]
    file.write_bytes(struct.pack("<II", 2**32 - 1, 0) + b"x")
    assert list(read_frames(file)) == []


def test_json_that_is_text_already_comes_back_as_its_value():
    """A column may not be known to be JSON when the run goes on."""
    text = JsonText('{"a":[1,null,"b"],"c":0.5}')
    assert read_back({"answer": text}) == {"answer": {"a": [1, None, "b"], "c": 0.5}}
