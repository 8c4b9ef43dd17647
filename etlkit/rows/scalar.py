"""One scalar type: which Python values it takes, and how they become Arrow and come back.

pyarrow converts more than it should: it takes bytes for strings, floats for integers, datetimes for
dates, naive datetimes as UTC. So a column is handed to it as it is only if all its values have the
one type that cannot go wrong; otherwise each value passes the type's `clean`, which refuses or
normalises it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class RefusedError(Exception):
    """A value does not fit its type; the text says what it was and what to do, not what it held."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """How values of one BigQuery type travel.

    Attributes:
        expected: What Python value the type wants, for messages.
        exact: The Python types `build` takes without `clean`.
        clean: One value (not None) -> the value `build` takes; raises RefusedError.
        build: Values and whether None is among them -> Arrow. Raises anything if one of them cannot
            be stored although its type is exact (an int beyond 64 bits): `clean` then says which.
        read: Arrow -> values; null = None.
        is_mutable: Whether rows can change a value in place, so that identity proves nothing.
    """

    expected: str
    exact: frozenset[type]
    clean: Callable[[Any], Any]
    build: Callable[[Sequence[Any], bool], Any]
    read: Callable[[Any], list[Any]]
    is_mutable: bool = False

    def encode(self, values: Sequence[Any]) -> Any:
        """Values -> Arrow array of the same length; None = null.

        Raises:
            RefusedError: A value does not fit.
        """
        kinds = set(map(type, values))
        nulls = type(None) in kinds
        kinds.discard(type(None))
        if kinds <= self.exact:
            try:
                return self.build(values, nulls)
            except Exception:  # noqa: S110 - whatever it was, clean() below names it
                pass
        clean = self.clean
        return self.build([None if value is None else clean(value) for value in values], nulls)


def type_name(kind: type) -> str:
    """A type as a user would import it, e.g. `int`, `decimal.Decimal`."""
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def wrong(value: Any, hint: str = "") -> RefusedError:
    """The error for a value of a wrong type; `hint` says how to convert it."""
    return RefusedError(f"got {type_name(type(value))}" + (f": {hint}" if hint else ""))


def as_is(kind: Any) -> Callable[[Sequence[Any], bool], Any]:
    """A `Scalar.build` that leaves it to pyarrow."""
    return lambda values, _nulls: pa.array(values, kind)


def to_pylist(array: Any) -> list[Any]:
    """A `Scalar.read` that leaves it to pyarrow."""
    values: list[Any] = array.to_pylist()
    return values
