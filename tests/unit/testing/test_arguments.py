"""What may be given to `etlkit.testing`: a wrong argument is named, with what is right."""

import pytest

from etlkit import ConfigError, Datamart, EtlBase
from etlkit.testing import (
    FakeHttp,
    FakeVision,
    FaultPlan,
    FaultServer,
    MemorySource,
    assert_rows,
    datamart_rows,
    fake_rows,
    freeze_time,
    load_etl,
    run_transform,
    sample_rows,
)
from etlkit.testing.fake_vision import answer_of
from etlkit.testing.fault_vision import Item

COLUMNS = {"a": "INT64"}
JOB = Datamart(sql="SELECT 1 AS a")


class Etl(EtlBase):
    def transform_row(self, row):
        return row


REFUSED = {
    "columns, a query or a table": (
        lambda: fake_rows(None),
        r"fake_rows\(None\): give columns, e\.g\. .*; a query, e\.g\. .*; or a table, e\.g\.",
    ),
    "a list of columns": (lambda: fake_rows([("a", "INT64")]), "give columns"),
    "an empty query": (lambda: fake_rows("  "), "give columns"),
    "no columns": (lambda: fake_rows({}), "name the columns"),
    "a type that is no text": (lambda: fake_rows({"a": None}), "column 'a': name and type are"),
    "a name that is no text": (lambda: fake_rows({1: "INT64"}), "column 1: name and type are"),
    "endless rows": (lambda: fake_rows(COLUMNS, None), "n=None: it is a whole number, 0 or"),
    "fewer than no rows": (lambda: fake_rows(COLUMNS, -1), "n=-1"),
    "a seed of nothing": (lambda: fake_rows(COLUMNS, seed=None), "seed=None: it is a whole number"),
    "a sample of columns": (lambda: sample_rows(COLUMNS), "give a query, e.g. .*; or a table"),
    "a sample of nothing": (lambda: sample_rows("d.t", 0), "n=0: it is a whole number, 1 or more"),
    "a sample by a text": (lambda: sample_rows("d.t", seed="x"), "seed='x'"),
    "rows of nothing": (lambda: run_transform(Etl, None), "rows are a list of dicts.*got None"),
    "one row as rows": (lambda: run_transform(Etl, {"a": 1}), "rows are a list of dicts"),
    "rows that are no dicts": (lambda: run_transform(Etl, [{"a": 1}, 3]), "a row is a dict.*got 3"),
    "a schema that is none": (lambda: run_transform(Etl, [], schema=3), "columns are a dict"),
    "a key that no column has": (
        lambda: run_transform(Etl, [{"a": 1, "b": 2}], schema=COLUMNS),
        "row 1 has 'b', which its schema does not name; that has a$",
    ),
    "a source of nothing": (lambda: MemorySource(None), "MemorySource: rows are a list of dicts"),
    "a time that is none": (lambda: freeze_time(3).__enter__(), "is no time"),
    "a script that is no path": (lambda: load_etl(None), "give the path of a script"),
    "no script": (lambda: load_etl(""), "give the path of a script"),
    "an answer as a handler": (lambda: FakeHttp({"a": 1}), "give a function of the request"),
    "a list of images": (lambda: FakeVision([]), "give a dict"),
    "a name as a list of names": (
        lambda: FakeVision({"a": "Cat"}),
        r"'Cat' is said of 'a'.*\['Cat'\]",
    ),
    "what is seen as a number": (lambda: FakeVision({"a": [3]}), r"\[3\] is said of 'a'"),
    "a plan that is none": (lambda: FaultServer(["503"]), r"give a plan, e\.g\. FaultPlan\.script"),
    "a script that is a text": (lambda: FaultPlan.script("503"), "a script of faults is a list"),
    "a script of numbers": (lambda: FaultPlan.script([503]), "a script of faults is a list"),
    "items without a key": (lambda: FaultPlan.by_item(["503"]), "give a dict"),
    "an item's script": (lambda: FaultPlan.by_item({"a": "503"}), "a script of faults is a list"),
    "a share that is none": (lambda: FaultPlan.seeded(1, hang="x"), "shares of faults .*got 'x'"),
    "no datamart": (lambda: datamart_rows(None), r"datamart_rows\(None\): give a Datamart"),
    "tables in a list": (lambda: datamart_rows(JOB, []), "given=.*: it is a dict"),
    "a table of nothing": (lambda: datamart_rows(JOB, {"d.t": None}), "d.t: rows are a list"),
    "schemas that are none": (lambda: datamart_rows(JOB, schemas=3), "schemas=3: it is a dict"),
    "a time as a text": (lambda: datamart_rows(JOB, now="x"), "now='x': it is a time with its"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_named_with_what_is_right(what):
    """Before any request is made, and never as an error of etlkit's own lines."""
    call, message = REFUSED[what]
    with pytest.raises(ConfigError, match=message):
        call()


def test_rows_that_come_once_are_all_seen():
    """A generator is read a single time, whoever looks at its rows first."""
    rows = [{"a": 1}, {"a": 2}]
    assert run_transform(Etl, (row for row in rows)) == rows
    assert list(MemorySource(row for row in rows).rows) == rows


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"by": ""}, ValueError, "by='' names no column"),
        ({"by": []}, ValueError, r"by=\[\] names no column"),
        ({"by": 3}, TypeError, "by=3: it is a column, or a list of columns"),
        ({"float_tolerance": None}, TypeError, "float_tolerance=None: it is a share"),
        ({"float_tolerance": -1}, ValueError, "float_tolerance=-1: it is 0 or more"),
    ],
)
def test_options_of_a_comparison_are_checked(options, error, message):
    """An option that selects nothing would let every row pass."""
    with pytest.raises(error, match=message):
        assert_rows([{"a": 1.0}], [{"a": 1.0}], **options)


def test_a_row_may_be_known_by_an_array():
    """A list has no hash."""
    rows = [{"tags": ["a"], "n": 1}, {"tags": [], "n": 2}]
    assert_rows(rows[::-1], rows, by="tags")
    with pytest.raises(AssertionError, match=r"row tags=\[\]\n  n: 2, expected 3"):
        assert_rows(rows, [rows[0], {"tags": [], "n": 3}], by="tags")


def test_what_is_said_of_an_image_later_is_checked_when_it_is_asked():
    """A test may change `images` at any time; a text is no list of letters."""
    item = Item("cat.jpg", None, b"", ("LABEL_DETECTION",))
    error = answer_of({"cat.jpg": "Cat"}, item)["error"]
    assert error["code"] == 3
    assert "was told 'Cat' about cat.jpg" in error["message"]
