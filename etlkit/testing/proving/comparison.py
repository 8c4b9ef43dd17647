"""Compare tables whose rows have no order and perhaps no key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Rows: TypeAlias = Sequence[Mapping[str, Any]]

_MAX_EXAMPLES: Final = 3
_MAX_CHARS: Final = 160
_Key: TypeAlias = tuple[str, ...]


@dataclass
class Difference:
    """What is wrong with a table.

    Attributes:
        lost: Rows that are missing.
        doubled: Rows that are there more often than they should be.
        different: Rows with other values than they should have.
        examples: A few of them, for people.
    """

    lost: int = 0
    doubled: int = 0
    different: int = 0
    examples: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.lost or self.doubled or self.different)


def compare(rows: Rows, expected: Rows, ignored: Collection[str] = ()) -> Difference:
    """Compare two tables as bags of rows.

    Args:
        rows: What is there.
        expected: What should be there.
        ignored: Columns that are not looked at.
    """
    columns = _columns((*rows, *expected), ignored)
    have, want = _bag(rows, columns), _bag(expected, columns)
    missing, more = want - have, have - want
    doubled = Counter({key: number for key, number in more.items() if key in want})
    strange = more - doubled
    num_different = min(missing.total(), strange.total())
    difference = Difference(
        lost=missing.total() - num_different,
        doubled=doubled.total(),
        different=max(num_different, strange.total()),
    )
    for word, keys in (("missing", missing), ("doubled", doubled), ("not expected", strange)):
        for key in list(keys)[: _MAX_EXAMPLES if not difference.examples else 1]:
            shown = ", ".join(f"{n}={v}" for n, v in zip(columns, key, strict=True) if v != "None")
            difference.examples.append(f"{word}: {shown[:_MAX_CHARS]}")
    return difference


def differing_columns(rows: Rows, others: Rows) -> list[str] | None:
    """The columns without which two tables are the same.

    Returns:
        Empty = they are the same. None = they have another number of rows, or differ whatever columns
        are left out.
    """
    if len(rows) != len(others):
        return None
    columns = list(_columns((*rows, *others), ()))
    found = [name for name in columns if _bag(rows, [name]) != _bag(others, [name])]
    rest = [name for name in columns if name not in found]
    if _bag(rows, rest) == _bag(others, rest):
        return found
    # Each column has the same values, only in other rows: one of them is in the wrong place.
    for name in reversed(rest):
        left = [each for each in rest if each != name]
        if _bag(rows, left) == _bag(others, left):
            return [*found, name]
    for name in reversed(rest):
        rest = [each for each in rest if each != name]
        found.append(name)
        if rest and _bag(rows, rest) == _bag(others, rest):
            return found
    return None


def _columns(rows: Iterable[Mapping[str, Any]], ignored: Collection[str]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name not in ignored]


def _bag(rows: Rows, columns: Sequence[str]) -> Counter[_Key]:
    return Counter(tuple(repr(row.get(name)) for name in columns) for row in rows)
