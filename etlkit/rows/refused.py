"""What etlkit says about a value that a type does not accept."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


class RefusedError(Exception):
    """A value does not fit its type. The text says what it was and what to do, not its content."""


def type_name(kind: type) -> str:
    """A type as a user would import it, e.g. `int`, `decimal.Decimal`."""
    kind = Decimal if issubclass(kind, Decimal) else kind  # also for our own kind of Decimal
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def wrong_type(value: Any, hint: str = "") -> RefusedError:
    """The error for a value of a wrong type; `hint` says how to convert it."""
    return RefusedError(f"got {type_name(type(value))}" + (f": {hint}" if hint else ""))
