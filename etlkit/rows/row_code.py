"""Generated code: the loops that run once per row, compiled for the names of a table's columns.

Whatever else happens once per row in etlkit costs as much as a good part of a user's function. Here the
names are constants of the code, which makes two things cheap that nothing else does:

- a dict display with constant keys makes a row twice as fast as `dict(zip(names, values))`
- `row["uri"] is v0 and row["size"] is v1` compares columns in one pass, without a list for each;
  right after the call, the row is in the processor's cache and `v0` is a variable of the loop

Names come from tables of others. Each stands in the code as its `repr`, which is a str literal whatever
the name holds, so no name can become code; variables are called by their position.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from etlkit.rows.frozen import LEAVES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from etlkit.rows.row import Row

END: Final = object()
"""A transform loop has run all rows."""

PAUSE: Final = object()
"""A transform loop has reached its time; rows may be left."""

TransformLoop = Callable[..., Any]
"""See `transform_loop`."""

ColumnLoop = Callable[..., Any]
"""See `column_loop`."""


class OddPart(NamedTuple):
    """What a column loop paused with: one of several results of a row that is not as expected.

    Attributes:
        num_before: Results before it; their values are taken.
        part: The result.
        rest: Gives the results behind it.
        kind: The class of the object that gives them.
    """

    num_before: int
    part: Any
    rest: Iterator[Any]
    kind: type


_CACHED = 64

_WIDE = 20
"""From this many columns on, a row is made faster by filling a copy of a dict that has the keys."""


@lru_cache(_CACHED)
def row_maker(names: tuple[str, ...]) -> Callable[..., list[Row]]:
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
        A function of (values, transform, append, copy, skipped, known, clock, until, worker):

        - values: an iterator. It stays where it is when the loop ends, also by an exception of the
          transform: another loop goes on with the next row. If there are names, each tuple has one
          value more: whether the loop looks at the clock after that row.
        - append: gets each result that is a dict whose keys are all `known`. Nobody else has that
          dict: if the transform, or anything else, still holds it, it is copied first. So nothing
          that happens after the row can change its result.
        - copy: makes that copy.
        - skipped: appended for None, if it is not None itself.
        - until: of `clock`; the loop ends after the first row that ends later, of those after which it
          looks.
        - worker: it looks after each row while its `has_called` is true.

        It returns the first result that is neither, `PAUSE` when it reached `until`, or `END`.
    """
    each = "result" if names is None else f"{_targets(names)}look"
    call = "" if names is None else f"result = transform({_display(names)})"
    is_due = "clock() >= until" if names is None else _IS_DUE
    source = f"""
def run(values, transform, append, copy, skipped, known, clock, until, worker=None, own=None):
    knows = known.issuperset
    for {each} in values:
        {call}
        if type(result) is dict and knows(result):
            append(result if references(result) == (OWN if own is None else own) else copy(result))
        elif result is None and skipped is not None:
            append(skipped)
        else:
            return result
        if {is_due}:
            return PAUSE
    return END
"""
    scope = {"PAUSE": PAUSE, "END": END, "references": _references, "OWN": 0}
    exec(source, scope)  # noqa: S102 - see the module  # nosec B102
    loop: TransformLoop = scope["run"]  # type: ignore[assignment]
    scope["OWN"] = _own_references(loop, names)
    return loop


_IS_DUE = "(look or worker.has_called) and clock() >= until"


@lru_cache(_CACHED)
def column_loop(
    names: tuple[str, ...],
    same: tuple[int, ...],
    made: tuple[str, ...],
    nested: tuple[int, ...],
    flat: tuple[tuple[int, tuple[str, ...]], ...] = (),
    *,
    is_fan_out: bool,
) -> ColumnLoop:
    """Make the loop that takes the new values out of each result, so that its dict is gone at once.

    Args:
        names: The keys of the rows, whose values come as tuples.
        same: Positions in `names` of the keys under which results have the very object that came in.
        made: The other keys of results.
        nested: Positions in `made` of values that the transform may change later.
        flat: Other positions in `made`, of lists that are taken apart, with the fields of `FlatLists`.
        is_fan_out: Whether rows become several results.

    Returns:
        A function of (values, transform, outcomes, outcome, columns, counts, skipped, freezes, clock,
        until, worker):

        - values, transform, clock, until, worker: as in `transform_loop`.
        - outcomes: a list that gets `outcome` for each row that became something, `skipped` for others.
        - columns: a list for each key in `made`, or `FlatLists` for those in `flat`. It gets one
          value per row, and None where there is none; if `is_fan_out`, one value per result.
        - counts: gets the number of results of each row if `is_fan_out`.
        - freezes: for each position in `nested`, what makes a value that nobody else has.

        It returns the first result that is not as expected, an `OddPart` if it is one of several,
        `PAUSE`, or `END`. Then, and after an exception, lists may hold values of that row.
    """
    call = f"result = transform({_display(names)})"
    if len(names) >= _WIDE:
        filled = "; ".join(f"row[{name!r}] = v{i}" for i, name in enumerate(names))
        call = f"row = blank(); {filled}; result = transform(row)"
    header = f"""
def run(values, transform, outcomes, outcome, columns, counts, skipped, freezes, clock, until, worker):
    {"".join(f"w{i}, " for i in range(len(made)))}= columns
    {"".join(f"f{i}, " for i in nested)}= freezes
{_apart(flat)}
    for {_targets(names)}look in values:
        {call}
""".replace("    = columns\n", "").replace("    = freezes\n", "")
    if is_fan_out:
        odd = "return part if kind is dict else OddPart(num, part, parts, kind)"
        body = f"""
        kind = type(result)
        if kind is generator:
            parts = result
        elif kind is list or kind is tuple:
            parts = iter(result)
        elif kind is dict:
            parts = (result,)
        elif result is None:
            parts = ()
        else:
            return result
        num = 0
        for part in parts:
{_taking("part", names, same, made, nested, dict(flat), odd, 12)}
            num += 1
        counts.append(num)
        outcomes.append(outcome if num else skipped)
        if clock() >= until:
            return PAUSE
    return END
"""
    else:
        lists = dict(flat)
        blanks = "".join(
            f"            {'n' if i in lists else 'w'}{i}.append(None)\n" for i in range(len(made))
        )
        body = f"""
        if result is None:
{blanks}
            outcomes.append(skipped)
        else:
{_taking("result", names, same, made, nested, dict(flat), "return result", 12)}
            outcomes.append(outcome)
        if {_IS_DUE}:
            return PAUSE
    return END
"""
    scope = {
        "PAUSE": PAUSE,
        "END": END,
        "OddPart": OddPart,
        "generator": GeneratorType,
        "LEAVES": LEAVES,
        "blank": dict.fromkeys(names).copy,
    }
    exec(header + body, scope)  # noqa: S102 - see the module  # nosec B102
    made_loop: ColumnLoop = scope["run"]  # type: ignore[assignment]
    return made_loop


def _taking(
    row: str,
    names: Sequence[str],
    same: Sequence[int],
    made: Sequence[str],
    nested: Sequence[int],
    flat: Mapping[int, Sequence[str]],
    odd: str,
    indent: int,
) -> str:
    """The statements that take the values out of a result, or do `odd`."""
    tests = "".join(f" and {row}[{names[i]!r}] is v{i}" for i in same)
    lines = [
        f"if type({row}) is not dict or len({row}) != {len(same) + len(made)}:",
        f"    {odd}",
        "try:",
        f"    if not (True{tests}):",
        f"        {odd}",
    ]
    for i, name in enumerate(made):
        if i in nested:
            lines += [
                f"    value = {row}[{name!r}]",
                f"    w{i}.append(value if type(value) in LEAVES else f{i}(value))",
            ]
        elif i in flat:
            lines += [f"    value = {row}[{name!r}]", *_taking_list(i, flat[i], odd)]
        else:
            lines.append(f"    w{i}.append({row}[{name!r}])")
    lines += ["except KeyError:", f"    {odd}"]
    return "\n".join(" " * indent + line for line in lines)


def _taking_list(i: int, fields: Sequence[str], odd: str) -> Iterator[str]:
    """The statements that take a list apart."""
    yield "    if type(value) is list:"
    if fields:
        yield "        for item in value:"
        yield f"            if type(item) is dict and len(item) == {len(fields)}:"
        for number, field in enumerate(fields):
            yield f"                w{i}_{number}.append(item[{field!r}])"
        yield f"            elif not n{i}.take_struct(item):"
        yield f"                {odd}"
    else:
        yield f"        w{i}_0 += value"
    yield f"        w{i}.append(len(w{i}_0))"
    yield f"    elif not n{i}.take(value):"
    yield f"        {odd}"


def _apart(flat: Sequence[tuple[int, Sequence[str]]]) -> str:
    """The statements that make variables of the lists of `FlatLists`."""
    lines = []
    for i, fields in flat:
        leaves = "".join(f"w{i}_{number}, " for number in range(len(fields) or 1))
        lines += [f"n{i} = w{i}", f"w{i} = n{i}.ends", f"{leaves}= n{i}.leaves"]
    return "\n".join("    " + line for line in lines)


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

        row = (*(0 for _ in names or "_"), True)
        values = map(transform, ({}, {})) if names is None else iter([row, row])
        loop(
            values, transform, [].append, copy, None, frozenset(names or ()), float, 1.0, None, own
        )
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
