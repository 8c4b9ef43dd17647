"""Generated code: the loops that run once per row, compiled for the names of a table's columns.

Whatever else happens once per row in etlkit costs as much as a good part of a user's function. Here the
names are constants of the code, which makes two things cheap that nothing else does:

- a dict display with constant keys makes a row twice as fast as `dict(zip(names, values))`
- `row["uri"] is v0 and row["size"] is v1` compares columns in one pass, without a list for each of them

Names come from tables of others. Each stands in the code as its `repr`, which is a str literal whatever
the name holds, so no name can become code; variables are called by their position.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from etlkit.rows.row import Row

END: Final = object()
"""A transform loop has run all rows."""

PAUSE: Final = object()
"""A transform loop has reached its time; rows may be left."""

TransformLoop = Callable[..., Any]
"""See `transform_loop`."""

_CACHED = 64


def row_maker(names: Sequence[str]) -> Callable[..., list[Row]]:
    """Make a function that turns columns (one list per name) into rows (one dict per position).

    `names` must not be empty: the rows would not know their number.
    """
    source = f"lambda *columns: [{_display(names)} for {_targets(names)} in zip(*columns)]"
    made: Callable[..., list[Row]] = eval(source, {"zip": zip})  # noqa: S307 - see the module  # nosec B307
    return made


@lru_cache(_CACHED)
def transform_loop(names: tuple[str, ...] | None) -> TransformLoop:
    """Make the loop that gives rows to a transform and takes what it returns.

    Args:
        names: The keys of the rows, whose values come as tuples. None = the values that come are
            results already, such as the rows that one row becomes; there is no `transform` then.

    Returns:
        A function of (values, transform, append, copy, skipped, num_keys, clock, until):

        - values: an iterator. It stays where it is when the loop ends, also by an exception of the
          transform: another loop goes on with the next row.
        - append: gets each result that is a dict of up to `num_keys` keys. Nobody else has that dict:
          if the transform, or anything else, still holds it, it is copied first. So nothing that
          happens after the row can change its result.
        - copy: makes that copy.
        - skipped: appended for None, if it is not None itself.
        - until: of `clock`; the loop ends after the first row that ends later.

        It returns the first result that is neither, `PAUSE` when it reached `until`, or `END`.
    """
    each = "result" if names is None else _targets(names)
    call = "" if names is None else f"result = transform({_display(names)})"
    source = f"""
def run(values, transform, append, copy, skipped, num_keys, clock, until, own=None):
    for {each} in values:
        {call}
        if type(result) is dict and len(result) <= num_keys:
            append(result if references(result) == (OWN if own is None else own) else copy(result))
        elif result is None and skipped is not None:
            append(skipped)
        else:
            return result
        if clock() >= until:
            return PAUSE
    return END
"""
    scope = {"PAUSE": PAUSE, "END": END, "references": _references, "OWN": 0}
    exec(source, scope)  # noqa: S102 - see the module  # nosec B102
    loop: TransformLoop = scope["run"]  # type: ignore[assignment]
    scope["OWN"] = _own_references(loop, names)
    return loop


@lru_cache(_CACHED)
def same_values(names: tuple[str, ...], num_keys: int) -> Callable[..., bool]:
    """Make the test whether rows still hold the very objects that they were made of.

    Returns:
        A function of (rows, columns): whether each row has `num_keys` keys and, under each name, the
        object at its position in that column. Columns are in the order of `names`, as long as `rows`.

    Raises:
        KeyError: By that function: a row lacks a name.
    """
    same = "".join(f" or row[{name!r}] is not v{i}" for i, name in enumerate(names))
    source = f"""
def same(rows, columns):
    for row, {_targets(names) if names else ""} in zip(rows, *columns):
        if len(row) != {num_keys}{same}:
            return False
    return True
"""
    scope: dict[str, Any] = {}
    exec(source, scope)  # noqa: S102 - see the module  # nosec B102
    made: Callable[..., bool] = scope["same"]
    return made


def _targets(names: Sequence[str]) -> str:
    """`v0, v1,`; `_,` without names."""
    return "".join(f"v{i}, " for i in range(len(names))) or "_,"


def _display(names: Sequence[str]) -> str:
    """`{'uri': v0, 'size': v1}`."""
    return "{" + ", ".join(f"{name!r}: v{i}" for i, name in enumerate(names)) + "}"


def _no_references(_: object) -> int:
    return -1


_references = getattr(sys, "getrefcount", _no_references)
_MOST_REFERENCES = 6


def _own_references(loop: TransformLoop, names: tuple[str, ...] | None) -> int:
    """How many references a result has in this loop if nobody else has one; -1 = no count says so.

    It differs between versions of Python, so it is measured by the loop itself: a number that holds for
    a dict that nobody has, whether it is new or the row, and not for one that somebody keeps.
    """

    def copies(transform: Callable[[Row], Row], own: int) -> int:
        copied: list[Row] = []

        def copy(row: Row) -> Row:
            copied.append(row)
            return {}

        values = (
            map(transform, ({}, {})) if names is None else iter([(0,) * max(1, len(names))] * 2)
        )
        loop(values, transform, [].append, copy, None, len(names or ()), float, 1.0, own)
        return len(copied)

    kept: list[Row] = []

    def keep(row: Row) -> Row:
        kept.append(row)
        return row

    for own in range(1, _MOST_REFERENCES):
        is_free = copies(dict, own) == 0 and (names is None or copies(_itself, own) == 0)
        if is_free and copies(keep, own) == len(kept[-2:]):
            return own
    return -1


def _itself(row: Row) -> Row:
    return row
