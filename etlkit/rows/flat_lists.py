"""The lists of a column, taken apart: what is in them, one after the other, and where each one ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from etlkit.rows.columns import Column


class FlatLists(Sequence[list[Any]]):
    """A list for each row, as Arrow has them. A row without a list has an empty one.

    Nothing that happens to a list or dict after it was taken changes what is here.

    Args:
        fields: The names of the fields of the STRUCTs in the lists; empty = there are plain values in
            them.

    Attributes:
        ends: For each row, how many elements there are up to the end of its list. It is written last:
            who reads up to the last end sees whole lists, whatever another thread adds meanwhile.
        leaves: The values of each field; one list if there are plain values.
    """

    __slots__ = ("_fields", "ends", "leaves")

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._fields = fields
        self.ends: list[int] = []
        self.leaves: tuple[list[Any], ...] = tuple([] for _ in fields or "_")

    def take(self, value: Any) -> bool:
        """Add the list of a row.

        Returns:
            False = it is none, or has something in it that is no element of it; `drop` what was added.
        """
        if value is not None:
            if not isinstance(value, (list, tuple)):
                return False
            if not self._fields:
                self.leaves[0].extend(value)
            elif not all(map(self.take_struct, value)):
                return False
        self.ends.append(len(self.leaves[0]))
        return True

    def take_struct(self, value: Any) -> bool:
        """Add an element, which may lack fields; False = it is no dict, or has another key."""
        if not isinstance(value, dict) or not value.keys() <= set(self._fields):
            return False
        for name, leaf in zip(self._fields, self.leaves, strict=True):
            leaf.append(dict.get(value, name))
        return True

    def append(self, value: None) -> None:
        """Add a row without a list."""
        self.take(value)

    def __len__(self) -> int:
        return len(self.ends)

    def __delitem__(self, rest: slice) -> None:
        """Drop the rows from one on, and what was added of a row that has no end."""
        del self.ends[rest.start :]
        for leaf in self.leaves:
            del leaf[self.ends[-1] if self.ends else 0 :]

    @overload
    def __getitem__(self, which: int) -> list[Any]: ...

    @overload
    def __getitem__(self, which: slice) -> FlatLists: ...

    def __getitem__(self, which: int | slice) -> list[Any] | FlatLists:
        """The list of a row, or those of consecutive rows."""
        if isinstance(which, int):
            return next(iter(self[which : which + 1]))
        begin, end, _ = which.indices(len(self.ends))
        first = self.ends[begin - 1] if begin else 0
        taken = FlatLists(self._fields)
        ends = self.ends[begin:end]
        taken.ends = [each - first for each in ends] if first else ends
        last = first + (taken.ends[-1] if taken.ends else 0)
        taken.leaves = tuple(leaf[first:last] for leaf in self.leaves)
        return taken

    def __iter__(self) -> Iterator[list[Any]]:
        """The lists, made anew."""
        elements: Sequence[Any] = self.leaves[0]
        if self._fields:
            pairs = zip(*self.leaves, strict=True)
            elements = [dict(zip(self._fields, values, strict=True)) for values in pairs]
        for begin, end in pairwise(self.offsets()):
            yield list(elements[begin:end])

    def offsets(self) -> list[int]:
        """Where each list begins, and where the last one ends."""
        return [0, *self.ends]

    def without(self, gaps: Sequence[int]) -> FlatLists:
        """The same rows without some that have no list."""
        dropped = set(gaps)
        taken = FlatLists(self._fields)
        taken.ends = [end for at, end in enumerate(self.ends) if at not in dropped]
        taken.leaves = self.leaves
        return taken


def flat_fields(column: Column) -> tuple[str, ...] | None:
    """The fields of `FlatLists` for a column; None = its lists are not taken apart.

    They are not if something in an element can be changed later.
    """
    if column.mode != "REPEATED":
        return None
    if not column.fields:
        return () if is_plain(column) else None
    return tuple(f.name for f in column.fields) if is_flat(column) else None


def is_flat(column: Column) -> bool:
    """Whether the fields of a STRUCT hold nothing that can be changed."""
    return all(is_plain(f) and f.mode != "REPEATED" and not f.fields for f in column.fields)


def is_plain(column: Column) -> bool:
    """Whether values of a column's type cannot be changed."""
    return column.type not in {"BYTES", "JSON"}
