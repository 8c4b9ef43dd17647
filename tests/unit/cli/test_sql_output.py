import io
import json
import math
import os
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest

from etlkit.cli.sql_output import to_json_value, write_rows
from tests.unit.cli.terminal import Terminal


@pytest.fixture
def printed(monkeypatch):
    """Print a table on a terminal of this width."""

    def show(names: list[str], rows: list[list], columns: int = 80) -> str:
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((columns, 24)))
        stream = Terminal()
        write_rows(stream, "table", names, rows)
        return stream.getvalue()

    return show


def test_a_table_that_fits_is_a_grid(printed):
    """Numbers are right-aligned, NULL is written out, and each row is a line."""
    lines = printed(["name", "n"], [["a", 1], ["bb", None], ["", 333]]).splitlines()
    assert lines[1:2] + lines[3:6] + lines[-1:] == [
        "│ name │    n │",
        "│ a    │    1 │",
        "│ bb   │ NULL │",
        "│      │  333 │",
        "(3 rows)",
    ]


def test_a_table_that_is_a_little_too_wide_is_folded(printed):
    """A long cell continues on the next line without losing a letter."""
    text = printed(["id", "text"], [[1, "abcdefghij" * 10]], columns=80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("abc") + text.count("bcd") >= 10
    assert "…" not in text


def test_a_table_that_is_far_too_wide_is_shown_row_by_row(printed):
    """Where columns would be a few letters wide, each value has a line of its own."""
    answer = {"labels": ["x" * 300]}
    text = printed(["id", "answer"], [[1, answer], [2, None]], columns=80)
    assert text.splitlines() == [
        "-- row 1 --",
        "    id: 1",
        f"answer: {json.dumps(answer)}",
        "-- row 2 --",
        "    id: 2",
        "answer: NULL",
        "(2 rows)",
    ]


def test_a_table_without_rows_has_its_columns(printed):
    """An empty result shows its column names."""
    text = printed(["a", "b"], [])
    assert "│ a │ b │" in text
    assert text.endswith("(0 rows)\n")


def test_markup_and_control_characters_are_only_text(printed):
    """Data cannot color, move or clear the terminal."""
    text = printed(["t"], [["[bold]x[/bold] \x1b[2J\a\r\0"]])
    assert "[bold]x[/bold] \\x1b[2J\\x07\\r\\x00" in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
        (2**63 - 1, 2**63 - 1),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.10"), "0.10"),
        (b"\x00\xff", "AP8="),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4, 5), "03:04:05"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),  # noqa: DTZ001
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006Z"),
        (
            datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=9))),
            "2026-01-02T00:00:00+09:00",
        ),
        ({"a": [None, b"", {"b": math.nan}]}, {"a": [None, "", {"b": "NaN"}]}),
        ("é\0", "é\0"),
        (timedelta(days=1), "1 day, 0:00:00"),
    ],
)
def test_every_value_can_be_written_as_json(value, expected):
    """Values without a JSON type become strings without loss."""
    written = to_json_value(value)
    assert written == expected
    assert json.loads(json.dumps(written, allow_nan=False)) == expected


def test_json_and_csv_are_written_row_by_row():
    """A large result is not held in memory: each row is written before the next is read."""
    for format_name in ("json", "csv"):
        stream = io.StringIO()
        sizes = []

        def rows(stream=stream, sizes=sizes):
            for number in range(3):
                sizes.append(len(stream.getvalue()))
                yield [number]

        write_rows(stream, format_name, ["n"], rows())
        assert sizes == sorted(set(sizes))
