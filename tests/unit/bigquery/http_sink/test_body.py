import datetime as dt
import json
from decimal import Decimal

import pytest

from etlkit import ConfigError, JobError, RowError, RowSchemaError, TransformCodeError
from etlkit.bigquery.http_sink.body import Body
from etlkit.bigquery.http_sink.bundle import Item
from etlkit.rows.columns import Column

COLUMNS = (Column("n", "INT64"), Column("at", "TIMESTAMP"), Column("price", "NUMERIC"))
AT = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)


def items(*rows):
    return [Item(str(at), 0, 1, 1, at, json.dumps(row)) for at, row in enumerate(rows)]


def made(request, *rows, is_batch=False, columns=COLUMNS):
    body = Body(request, is_batch=is_batch).bytes_of(items(*rows), columns)
    return None if body is None else json.loads(body)


def test_a_row_is_sent_as_it_is():
    """An object; several are a list, also if only one is left over."""
    assert made(None, {"n": 1}) == {"n": 1}
    assert made(None, {"n": 1}, {"n": 2}, is_batch=True) == [{"n": 1}, {"n": 2}]
    assert made(None, {"n": 1}, is_batch=True) == [{"n": 1}]


def test_a_template_has_values_and_texts():
    """A placeholder alone keeps the value's type, one inside of a text becomes text."""
    template = {"id": "{n}", "title": "no. {n}, {x}", "list": ["{none}", 5, {"all": "{rows}"}]}
    assert made(template, {"n": 1, "x": "é", "none": None}) == {
        "id": 1,
        "title": "no. 1, é",
        "list": [None, 5, {"all": [{"n": 1, "x": "é", "none": None}]}],
    }
    assert Body(template, is_batch=False).columns == ("n", "x", "none")


def test_a_template_of_several_rows_holds_all_of_them():
    """A single column would be that of one row."""
    assert made({"records": "{rows}"}, {"n": 1}, {"n": 2}, is_batch=True) == {
        "records": [{"n": 1}, {"n": 2}]
    }
    with pytest.raises(ConfigError, match="several rows"):
        Body({"id": "{n}", "r": "{rows}"}, is_batch=True)
    with pytest.raises(ConfigError, match="stand nowhere"):
        Body({"id": 1}, is_batch=True)


def test_a_function_gets_rows_with_native_values():
    """What it returns may hold such values, too."""
    seen = []

    def request(rows):
        seen.extend(rows)
        return {"at": rows[0]["at"], "price": rows[0]["price"]}

    text = {"n": 1, "at": AT.isoformat(), "price": "1.50"}
    assert made(request, text) == {"at": AT.isoformat(), "price": "1.50"}
    assert seen == [{"n": 1, "at": AT, "price": Decimal("1.50")}]


def test_a_function_may_make_text_bytes_or_nothing():
    """They are sent as they are."""
    for returned, expected in (("a=1", b"a=1"), (b"\x00", b"\x00"), (None, None)):
        body = Body(lambda _, value=returned: value, is_batch=False)
        assert body.bytes_of(items({"n": 1}), COLUMNS) == expected


def test_columns_that_came_later_are_not_put_into_older_rows():
    """A row that is sent again has the same body."""
    assert made(lambda rows: sorted(rows[0]), {"n": 1}) == ["n"]


def test_a_function_that_fails_fails_its_row():
    """With the user's exception; several rows at once cannot be told apart, so the run ends."""

    def request(rows):
        return [1 // row["n"] for row in rows]

    with pytest.raises(RowError, match="ZeroDivisionError"):
        made(request, {"n": 0})
    with pytest.raises(JobError, match="2 rows at once: ZeroDivisionError"):
        made(request, {"n": 0}, {"n": 1}, is_batch=True)
    with pytest.raises(TransformCodeError):
        made(lambda rows: rowz, {"n": 0})  # noqa: F821 - the mistake
    with pytest.raises(RowSchemaError, match="not JSON"):
        made(lambda rows: {"x": object()}, {"n": 0})


def test_a_delete_has_no_body_of_its_own():
    """Only one that is asked for."""
    body = Body(None, is_batch=False, is_optional=True)
    assert body.bytes_of(items({"n": 1}), COLUMNS) is None
