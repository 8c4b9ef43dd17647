"""Limits of parameterized types: `STRING(n)`, `BYTES(n)`, `NUMERIC(p, s)`.

A check looks at a whole Arrow array and says what is wrong with it; None = every value fits.
pyarrow is imported where it is used: describing columns must not load it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

Check = Callable[[Any], "str | None"]
"""Array -> what is wrong with one of its values."""


def characters(longest: int) -> Check:
    """Make the check of `STRING(longest)`."""

    def check(array: Any) -> str | None:
        import pyarrow.compute as pc

        found = pc.max(pc.utf8_length(array)).as_py() or 0
        return _too_long(found, longest, "characters")

    return check


def num_bytes(longest: int) -> Check:
    """Make the check of `BYTES(longest)`."""

    def check(array: Any) -> str | None:
        import pyarrow.compute as pc

        found = pc.max(pc.binary_length(array)).as_py() or 0
        return _too_long(found, longest, "bytes")

    return check


def _too_long(found: int, longest: int, unit: str) -> str | None:
    return f"got {found:,} {unit}, but the column holds {longest:,}" if found > longest else None


def digits(precision: int, scale: int = 0) -> Check:
    """Make the check of `NUMERIC(precision, scale)`. BigQuery would round what has more digits."""
    bound = Decimal(10) ** (precision - scale)

    def check(array: Any) -> str | None:
        import pyarrow.compute as pc

        values = pc.min_max(array).as_py().values()
        # Not abs(): it rounds to the 28 digits of the context.
        if any(value is not None and value.copy_abs() >= bound for value in values):
            return (
                f"got a number with more than {precision - scale} digits before the point, but the "
                f"column is ({precision}, {scale})"
            )
        # None = there are only NULLs.
        if pc.all(pc.equal(pc.round(array, ndigits=scale), array)).as_py() is False:
            return (
                f"got a number with more than {scale} digits after the point, but the column is "
                f"({precision}, {scale}): round it"
            )
        return None

    return check
