"""A preview as one table: what changed is marked by signs, and it fits the terminal."""

import io
import json
import math

import pytest

from etlkit.cli.preview_table import print_preview
from etlkit.cli.row_changes import MAX_TEXT, changes
from etlkit.engine.preview import PreviewRow

SHORT = [
    PreviewRow({"id": 1, "word": "cat"}, ({"id": 1, "word": "CAT", "loud": True},)),
    PreviewRow({"id": 2, "word": "dog"}, ()),
    PreviewRow({"id": 3, "word": "hen"}, (), "row 3 (id 0c-1), column 'word': bad (a.py:1)"),
    PreviewRow({"id": 4, "word": "ab"}, ({"id": 4, "word": "a"}, {"id": 4, "word": "b"})),
    PreviewRow({"id": 5, "word": None}, ({"id": 5.0},)),
]
META = {"a": 1, "tags": ["x", "y"], "in": {"deep": True}}
WIDE = {"uri": "gs://bucket/" + "folder/" * 9 + "photo.jpg", "meta": META, "size": 12, "note": "n"}
LABELS = {"labels": [{"name": "cat", "score": 0.9}] * 30}
LONG = [
    PreviewRow(
        WIDE,
        ({**WIDE, "meta": {"a": 2, "tags": ["x"], "in": {"deep": False}, "b": 0}, "seen": LABELS},),
    ),
    PreviewRow(WIDE, ()),
    PreviewRow(WIDE, (), "row 3: too bad"),
]


@pytest.fixture
def shown(monkeypatch):
    """What is printed on a terminal that is so wide."""

    def show(rows, width, encoding="utf-8"):
        monkeypatch.setenv("COLUMNS", str(width))
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        print_preview(stream, rows)
        stream.seek(0)
        return stream.read()

    return show


def test_short_rows_are_a_grid(shown):
    """One line a target row; skipped, rejected, and several rows of one are said to be so."""
    text = shown(SHORT, 80)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    lines = [cells for cells in lines if cells]
    assert lines == [
        ["row", "id", "word", "+ loud"],
        ["1", "1", "~ cat → CAT", "+ true"],
        ["2 skipped", "2", "dog", ""],
        ["3 rejected", "3", "hen", ""],
        ["4 (1/2)", "4", "~ ab → a", ""],
        ["4 (2/2)", "4", "~ ab → b", ""],
        ["5", "~ 5 → 5.0", "- NULL", ""],
    ]
    assert "row 3 rejected: column 'word': bad (a.py:1)" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [80, 200])
def test_long_rows_are_lines_that_fit(shown, width):
    """Unchanged columns share a line, a nested value shows its changed places, and nothing is wider."""
    text = shown(LONG, width)
    assert max(map(len, text.splitlines())) <= width
    assert max(len(line) for line in text.splitlines()) > width - 3
    flat = " ".join(text.replace("│", " ").split())
    for line in ("~ meta.a 1 2", "- meta.tags[1] y", "~ meta.in.deep true false", "+ meta.b 0"):
        assert line in flat
    assert "(unchanged) uri" in flat
    assert f"({len(json.dumps(LABELS))} chars)" in flat
    assert "skipped" in flat
    assert "too bad" in flat


def test_an_old_terminal_gets_letters_that_it_has(shown):
    """ASCII frames and arrows; control characters are escaped; no rows are said to be none."""
    rows = [PreviewRow({"a": "x\x1b[31m", "b": math.nan}, ({"a": "y", "b": math.nan},))]
    text = shown(rows, 80, encoding="ascii")
    assert "~ x\\x1b[31m -> y" in text
    assert "| NaN |" in text
    assert shown([], 80) == "no rows\n"


@pytest.mark.parametrize("same", [0, 169, 171, 4000])
def test_long_values_show_where_they_differ(same):
    """Also far behind their beginning, and where one of them ends."""
    start = "long text "[: same % 10] + "long text " * (same // 10)
    for before, after in (("old" * 99, "new" * 99), ("old", "new" * 99), ("", "new")):
        (change,) = changes({"t": start + before}, {"t": start + after})
        assert before[:3] in change.before
        assert after[:3] in change.after
        assert len(change.after) <= MAX_TEXT + len("……") + len(" (4,297 chars)")
        assert same < 200 or change.after.endswith(f" ({len(start + after):,} chars)")
