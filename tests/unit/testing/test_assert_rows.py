"""`assert_rows` passes for equal rows only, and says which value of which row differs."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from etlkit.testing import assert_rows

NAN = float("nan")
TOKYO = timezone(timedelta(hours=9))


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ([], []),
        ([{"a": 1, "b": None}], [{"b": None, "a": 1}]),
        ([{"x": NAN, "y": [NAN, {"z": NAN}]}], [{"x": NAN, "y": [NAN, {"z": NAN}]}]),
        (
            [{"at": datetime(2026, 1, 1, 9, tzinfo=TOKYO)}],
            [{"at": datetime(2026, 1, 1, tzinfo=UTC)}],
        ),
    ],
)
def test_equal_rows(actual, expected):
    """The order of keys and the zone of a moment do not matter; NaN is NaN."""
    assert_rows(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected", "said"),
    [
        ([{"a": 1}], [{"a": True}], "row 1\n  a: 1, expected True"),
        ([{"a": 1}], [{"a": 1.0}], "row 1\n  a: 1, expected 1.0"),
        ([{"a": 1}], [{"a": 1, "b": None}], "row 1\n  b: missing, expected None"),
        ([{"a": 1, "c": 2}], [{"a": 1}], "row 1\n  c: 2, which is not expected"),
        ([{"a": 1}, {"a": 2}], [{"a": 1}], "row 2 is not expected: {'a': 2}"),
        ([{"a": 1}], [{"a": 1}, {"a": 2}], "row 2 is missing: {'a': 2}"),
        ([{"a": [1, {"b": 2}]}], [{"a": [1, {"b": 3}]}], "row 1\n  a: "),
        ([{"a": "x" * 99 + "1"}], [{"a": "x" * 99 + "2"}], "xxx1', expected …xxxx"),
        ([{"a": list(range(99))}], [{"a": list(range(98))}], ", 97, 98], expected …"),
    ],
)
def test_each_difference_is_named(actual, expected, said):
    """By row and column, both values shown."""
    with pytest.raises(AssertionError) as caught:
        assert_rows(actual, expected)
    assert said in str(caught.value)
    given = "1 row" if len(actual) == 1 else f"{len(actual)} rows"
    assert str(caught.value).startswith(f"{given}, expected {len(expected)}; 1 differ")


def test_rows_found_by_their_key():
    """Wherever they stand; what is missing and what is too much is named by it."""
    assert_rows(
        [{"id": 2, "x": "b"}, {"id": 1, "x": "a"}],
        [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}],
        by="id",
    )
    with pytest.raises(AssertionError) as caught:
        assert_rows(
            [{"id": 2, "x": "b"}, {"id": 3, "x": "c"}],
            [{"id": 1, "x": "a"}, {"id": 2, "x": "B"}],
            by=["id"],
        )
    assert str(caught.value).splitlines() == [
        "2 rows, expected 2; 3 differ",
        "row id=1 is missing: {'id': 1, 'x': 'a'}",
        "row id=2",
        "  x: 'b', expected 'B'",
        "row is not expected: {'id': 3, 'x': 'c'}",
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"id": 1}, {"id": 1}], "2 rows have the same id"),
        ([{"x": 1}], "a row has no id"),
    ],
)
def test_a_key_that_is_none_is_a_mistake_of_the_test(rows, said):
    """A ValueError, so that it is not taken for a difference."""
    with pytest.raises(ValueError, match=said):
        assert_rows(rows, [], by="id")


def test_rows_in_any_order():
    """As often as they are expected."""
    assert_rows([{"a": 1}, {"a": 2}, {"a": 1}], [{"a": 1}, {"a": 1}, {"a": 2}], ordered=False)
    with pytest.raises(AssertionError, match=r"row is missing: \{'a': 2\}"):
        assert_rows([{"a": 1}, {"a": 1}], [{"a": 1}, {"a": 2}], ordered=False)


def test_floats_within_a_tolerance():
    """A share of the larger one; also inside of lists."""
    assert_rows([{"x": [1.0000001]}], [{"x": [1.0]}], float_tolerance=1e-6)
    with pytest.raises(AssertionError):
        assert_rows([{"x": 1.0000001}], [{"x": 1.0}], float_tolerance=1e-8)


def test_many_differences_are_cut():
    """Ten are shown, and how many there are more; long values are cut."""
    with pytest.raises(AssertionError) as caught:
        assert_rows([{"x": "a" * 500}] * 30, [{"x": "b"}] * 30)
    assert str(caught.value).endswith("… and 20 more")
    assert max(map(len, str(caught.value).splitlines())) < 120


class Uncomparable:
    """A value that fails the test when it is compared with another one."""

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        return hash(self.number)

    def __eq__(self, other):
        assert self.number == other.number, "each row was compared with each"
        return True


@pytest.mark.parametrize("shift", [0, 1000])
def test_many_rows_without_an_order_take_no_square_of_time(shift):
    """Equal rows are found by their hashes, and what has no equal hash is not looked for."""
    given = [{"x": Uncomparable(n), "tags": [{"n": float("nan")}]} for n in range(1000)]
    wanted = [{"tags": [{"n": float("nan")}], "x": Uncomparable(n + shift)} for n in range(1000)]
    if not shift:
        assert_rows(given, wanted[::-1], ordered=False)
        return
    with pytest.raises(AssertionError, match="1,000 rows, expected 1,000; 2,000 differ"):
        assert_rows(given, wanted, ordered=False)


def test_values_without_a_hash_and_near_ones_are_found_without_an_order():
    """And a row that is there twice is needed twice."""
    assert_rows([{"a": {1, 2}}, {"a": {3}}], [{"a": {3}}, {"a": {2, 1}}], ordered=False)
    near = [{"a": 1.0}, {"a": 2.0}], [{"a": 2.0 + 1e-12}, {"a": 1.0}]
    assert_rows(*near, ordered=False, float_tolerance=1e-9)
    with pytest.raises(AssertionError, match="row is missing"):
        assert_rows([{"a": 1}], [{"a": 1}, {"a": 1}], ordered=False)
    with pytest.raises(AssertionError, match=r"row is not expected: .'a': True"):
        assert_rows([{"a": True}], [{"a": 1}], ordered=False)


@pytest.mark.parametrize("rows", [{"a": 1}, None, 5, [1], ["a"], [None]])
def test_what_is_no_rows_is_a_mistake_of_the_test(rows):
    """One row instead of a list of them, for example."""
    with pytest.raises(TypeError, match=r"actual must be rows, e\.g\. a list of dicts, and holds"):
        assert_rows(rows, [])
