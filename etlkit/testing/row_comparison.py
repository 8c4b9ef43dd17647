"""`assert_rows`: rows compared with the expected ones, and a difference that can be read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etlkit.api.quantities import number_of
from etlkit.testing.arguments import short as _short
from etlkit.testing.arguments import short_pair

if TYPE_CHECKING:
    from etlkit.rows.row import Row

_MAX_SHOWN = 10


def assert_rows(
    actual: Iterable[Row],
    expected: Iterable[Row],
    *,
    by: str | Sequence[str] | None = None,
    ordered: bool = True,
    float_tolerance: float = 0.0,
) -> None:
    """Raise an `AssertionError` that names each row and column that differs.

    Equal values have the same type: True is not 1, and 1 is not 1.0. NaN equals NaN.

    Args:
        actual: What the code gave.
        expected: What it should have given.
        by: Columns that identify a row: rows with the same values are compared, wherever they stand.
            None = rows are compared by their position.
        ordered: False = the order does not matter. Goes without `by`.
        float_tolerance: How far two floats may be apart, as a share of the larger one.

    Raises:
        AssertionError: They differ; shows up to ten rows.
        TypeError: The rows are no dicts, or `by` or `float_tolerance` is of another type.
        ValueError: Two rows have the same values in `by`, a row lacks one of these columns, or there
            are none; or `float_tolerance` is negative.
    """
    __tracebackhide__ = True
    given, wanted = _rows("actual", actual), _rows("expected", expected)
    same = _Same(_tolerance(float_tolerance))
    if by is not None:
        names = _names(by)
        found = list(_by_key(_keyed(given, names), _keyed(wanted, names), names, same))
    elif ordered:
        found = list(_by_position(given, wanted, same))
    else:
        found = list(_unordered(given, wanted, same))
    if found:
        shown = found[:_MAX_SHOWN]
        rest = len(found) - len(shown)
        more = [f"… and {rest:,} more"] if rest else []
        counts = f"{number_of(len(given), 'row')}, expected {len(wanted):,}; {len(found):,} differ"
        raise AssertionError("\n".join([counts, *shown, *more]))


def _names(by: Any) -> tuple[str, ...]:
    names = (by,) if isinstance(by, str) else tuple(by) if isinstance(by, Iterable) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise TypeError(f"by={_short(by)}: it is a column, or a list of columns, e.g. by='id'")
    if not names or not all(names):
        raise ValueError(f"by={_short(by)} names no column; without by, the position counts")
    return names


def _tolerance(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"float_tolerance={_short(value)}: it is a share, e.g. 1e-9")
    if not value >= 0:
        raise ValueError(f"float_tolerance={value}: it is 0 or more")
    return float(value)


def _rows(what: str, rows: Any) -> list[Row]:
    is_list = isinstance(rows, Iterable) and not isinstance(rows, Mapping)
    found = list(rows) if is_list else [rows]
    odd = [row for row in found if not is_list or not isinstance(row, Mapping)]
    if odd:
        raise TypeError(f"{what} must be rows, e.g. a list of dicts, and holds {_short(odd[0])}")
    return found


class _Same:
    """Whether two values are the same; floats within a tolerance."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def __call__(self, one: Any, other: Any) -> bool:
        if type(one) is not type(other):
            return False
        if isinstance(one, float):
            both_nan = math.isnan(one) and math.isnan(other)
            return both_nan or math.isclose(one, other, rel_tol=self.tolerance, abs_tol=0.0)
        if isinstance(one, Mapping):
            return one.keys() == other.keys() and all(self(one[key], other[key]) for key in one)
        if isinstance(one, (list, tuple)):
            return len(one) == len(other) and all(map(self, one, other))
        return bool(one == other)


def _by_position(given: list[Row], wanted: list[Row], same: _Same) -> Iterator[str]:
    for number, (row, other) in enumerate(zip(given, wanted, strict=False), 1):
        yield from _difference(f"row {number}", row, other, same)
    for number, row in enumerate(given[len(wanted) :], len(wanted) + 1):
        yield f"row {number} is not expected: {_short(row)}"
    for number, row in enumerate(wanted[len(given) :], len(given) + 1):
        yield f"row {number} is missing: {_short(row)}"


def _by_key(
    given: dict[tuple[Any, ...], Row],
    wanted: dict[tuple[Any, ...], Row],
    names: tuple[str, ...],
    same: _Same,
) -> Iterator[str]:
    for key, other in wanted.items():
        what = "row " + ", ".join(f"{name}={_short(other[name])}" for name in names)
        if key in given:
            yield from _difference(what, given[key], other, same)
        else:
            yield f"{what} is missing: {_short(other)}"
    for key, row in given.items():
        if key not in wanted:
            yield f"row is not expected: {_short(row)}"


def _unordered(given: list[Row], wanted: list[Row], same: _Same) -> Iterator[str]:
    left, may_be_near = list(wanted), True
    try:
        given, left = _without_twins(given, wanted)
        may_be_near = same.tolerance > 0
    except TypeError:  # a value that cannot be hashed: each row is compared with each
        pass
    for row in given:
        near = enumerate(left) if may_be_near else ()
        at = next((i for i, other in near if same(row, other)), None)
        if at is None:
            yield f"row is not expected: {_short(row)}"
        else:
            del left[at]
    for row in left:
        yield f"row is missing: {_short(row)}"


def _without_twins(given: list[Row], wanted: list[Row]) -> tuple[list[Row], list[Row]]:
    """The rows of each side that have no equal one on the other side, found by their hashes."""
    places: dict[Any, list[int]] = {}
    for at, row in enumerate(wanted):
        places.setdefault(_hashable(row), []).append(at)
    for found in places.values():
        found.reverse()  # the first of several equal ones is taken first
    rest, taken = [], set()
    for row in given:
        equal = places.get(_hashable(row))
        if equal:
            taken.add(equal.pop())
        else:
            rest.append(row)
    return rest, [row for at, row in enumerate(wanted) if at not in taken]


def _hashable(value: Any) -> Any:
    """A key that is equal for values which `_Same` finds equal without a tolerance.

    Raises:
        TypeError: The value, or one in it, has no hash.
    """
    if isinstance(value, Mapping):
        return type(value), frozenset((key, _hashable(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_hashable, value))
    if isinstance(value, float) and math.isnan(value):
        return float, "NaN"
    hash(value)
    return type(value), value


def _keyed(rows: list[Row], names: tuple[str, ...]) -> dict[tuple[Any, ...], Row]:
    lacking = [row for row in rows if not set(names) <= row.keys()]
    if lacking:
        raise ValueError(f"a row has no {', '.join(names)}: {_short(lacking[0])}")
    values = [tuple(row[name] for name in names) for row in rows]
    value, number = Counter(map(repr, values)).most_common(1)[0] if values else ("", 0)
    if number > 1:
        raise ValueError(f"{number} rows have the same {', '.join(names)}: {value}")
    # As texts where a value has no hash, e.g. the list of a REPEATED column.
    keys = [tuple(each if isinstance(each, Hashable) else repr(each) for each in v) for v in values]
    return dict(zip(keys, rows, strict=True))


def _difference(what: str, row: Row, other: Row, same: _Same) -> Iterator[str]:
    lines = []
    for name in (*other, *(name for name in row if name not in other)):
        if name not in row:
            lines.append(f"  {name}: missing, expected {_short(other[name])}")
        elif name not in other:
            lines.append(f"  {name}: {_short(row[name])}, which is not expected")
        elif not same(row[name], other[name]):
            found, wanted = short_pair(row[name], other[name])
            lines.append(f"  {name}: {found}, expected {wanted}")
    if lines:
        yield "\n".join([what, *lines])
