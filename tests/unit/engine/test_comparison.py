"""Two sides of a comparison: what counts as the same, and what is counted of the rest."""

import math

from etlkit.api.diff_report import RowSide
from etlkit.api.source import Sampling
from etlkit.engine.comparison import MAX_EXAMPLES, compare, is_same
from etlkit.engine.side import Side


def side(columns, **rows):
    return Side(columns=columns, rows=rows, code={"a.py": str(sorted(columns))})


def written(*rows):
    return RowSide("written", rows)


def compared(old, new):
    source = {name: {"id": name} for name in old.rows}
    options = {"versions": ("then", "now"), "sampling": Sampling(5), "currency": "USD"}
    return compare("job", source, old, new, **options)


def test_values_are_the_same_if_equal_and_of_one_type():
    """`1`, `1.0` and `true` are three values; NaN is itself; lists and dicts are looked into."""
    assert is_same({"a": [1, None]}, {"a": [1, None]})
    assert is_same(math.nan, math.nan)
    assert not is_same(1, 1.0)
    assert not is_same([1], [True])
    assert not is_same([1], [1, 2])
    assert not is_same({"a": 1}, {"a": 1, "b": None})


def test_rows_are_counted_by_what_became_of_them():
    """Same, changed, ended in another way; a missing column is NULL; texts of errors do not count."""
    old = side(
        {"x": "INT64", "y": "STRING"},
        a=written({"x": 1, "y": None}),
        b=written({"x": 1}),
        c=written({"x": 1}, {"x": 2}),
        d=RowSide("rejected", (), "row 4: bad (a.py:1)"),
        e=RowSide("skipped"),
        f=written({"x": 1}),
    )
    new = side(
        {"x": "INT64", "z": "INT64"},
        a=written({"x": 1}),
        b=written({"x": 2}),
        c=written({"x": 1}),
        d=RowSide("rejected", (), "row 4: bad (a.py:9)"),
        e=written({"x": 1, "z": 5}),
        f=RowSide("rejected", (), "no"),
    )
    report = compared(old, new)
    assert (report.rows, report.same, report.changed) == (6, 2, 2)
    assert report.moved == {"skipped -> written": 1, "written -> rejected": 1}
    assert [
        (each.column, each.old_type, each.new_type, each.changed) for each in report.columns
    ] == [
        ("x", "INT64", "INT64", 1),
        ("y", "STRING", None, 0),
        ("z", None, "INT64", 0),
    ]
    assert [each.number for each in report.examples] == [2, 3, 5, 6]
    assert report.changed_files == ["a.py changed"]
    assert (report.old.written, report.old.skipped, report.new.rejected) == (4, 1, 2)
    assert not report.is_same


def test_equal_sides_are_the_same_and_a_column_alone_is_a_difference():
    """Rows decide, and so do the columns' types; the examples are bounded."""
    rows = {f"r{n}": written({"x": n}) for n in range(30)}
    assert compared(side({"x": "INT64"}, **rows), side({"x": "INT64"}, **rows)).is_same
    typed = compared(side({"x": "INT64"}, **rows), side({"x": "NUMERIC"}, **rows))
    assert (typed.same, typed.is_same) == (30, False)
    others = {name: written({"x": -1}) for name in rows}
    assert len(compared(side({}, **rows), side({}, **others)).examples) == MAX_EXAMPLES
