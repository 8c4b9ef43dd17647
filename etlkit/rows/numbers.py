"""Values of the number types and of BOOL. `etlkit.rows.types` says which type uses what.

pyarrow is imported where it is used: describing columns must not load it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from numbers import Integral, Real
from typing import Any

from etlkit.rows.refused import RefusedError, type_name, wrong_type

_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1

_INT_CELL = re.compile(r"-?(0|[1-9][0-9]{0,18})")
"""A plus sign or leading zeros make it a code, not a number."""

_FLOAT_CELL = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
_BOOL_CELL = re.compile(r"true|false", re.IGNORECASE)

_MAX_EXACT_DIGITS = 15
"""A float keeps whole numbers of this many digits exactly; longer ones could be rounded."""

_MAX_PRINTED_DIGITS = 17
"""Programs print at most this many digits of a float; a cell with more is not a float."""


def clean_int(value: Any) -> int:
    """Any integer of 64 bits as an int; a bool is not one."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise wrong_type(value, "use int(value)" if isinstance(value, Real | str) else "")
    number = int(value)
    if not _INT64_MIN <= number <= _INT64_MAX:
        raise RefusedError("got an int beyond 64 bits: use a NUMERIC, BIGNUMERIC or STRING column")
    return number


def clean_float(value: Any) -> float:
    """Any real number that a float equals exactly, NaN and infinity as well."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong_type(value, "use float(value)" if isinstance(value, Decimal | str) else "")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number != value and value == value:  # noqa: PLR0124 - only NaN differs from itself
        raise wrong_type(value, "no float equals it exactly; use float(value) to round it")
    return number


def decimal_cleaner(digits: int, scale: int, wider: str) -> Callable[[Any], Decimal]:
    """Make the check of a decimal type.

    Args:
        digits: Digits in all.
        scale: Digits after the point.
        wider: A type that holds more, for the message.
    """

    def clean(value: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, Decimal | Integral):
            raise wrong_type(value, "use Decimal(str(value))" if isinstance(value, float) else "")
        context = Context(prec=digits, traps=[Inexact, InvalidOperation])
        try:
            number = value if isinstance(value, Decimal) else Decimal(int(value))
            fitted = number.quantize(Decimal((0, (1,), -scale)), context=context)
        except DecimalException:
            fitted = Decimal("NaN")
        if not fitted.is_finite():
            raise RefusedError(
                f"got a {type_name(type(value))} that is not a number or needs more than "
                f"{digits - scale} digits before or {scale} after the point: round it, or use "
                + wider
            )
        return fitted

    return clean


def clean_bool(value: Any) -> bool:
    """True or False, and nothing that only counts as such."""
    if isinstance(value, bool):
        return value
    raise wrong_type(value, "use bool(value)")


def holds_decimal(digits: int, scale: int) -> Callable[[Any, Any], bool]:
    """Make the test whether a type of this many digits holds all values of an Arrow decimal."""

    def holds(of: Any, kind: Any) -> bool:
        if not of.is_decimal(kind):
            return False
        before_point: int = kind.precision - kind.scale
        return before_point <= digits - scale and 0 <= kind.scale <= scale

    return holds


def float_to_json(value: float) -> float | str:
    """A float for JSON, which has neither NaN nor infinity: they become text."""
    return value if value - value == 0 else str(value)


def float_from_json(value: Any) -> Any:
    """The float that JSON wrote as a whole number or, for NaN and infinity, as text."""
    if isinstance(value, str) and value.lower().lstrip("-") in {"nan", "inf", "infinity"}:
        return float(value)
    if type(value) is int and float(value) == value:
        return float(value)
    return value


def decimal_to_json(value: Decimal) -> str:
    """A Decimal as text without an exponent."""
    return format(value, "f")


def decimal_from_json(value: Any) -> Decimal:
    """A Decimal from text, or from a number of JSON."""
    # repr: a float in JSON is decimal text, and its shortest form is that text again.
    return Decimal(value if isinstance(value, str) else repr(value))


def looks_like_int(cell: str) -> bool:
    """Whether a CSV cell is an INT64 beyond doubt."""
    return _INT_CELL.fullmatch(cell) is not None and _INT64_MIN <= int(cell) <= _INT64_MAX


def looks_like_float(cell: str) -> bool:
    """Whether a CSV cell is a number that a float keeps."""
    if not _FLOAT_CELL.fullmatch(cell):
        return False
    if looks_like_int(cell):
        return len(cell.lstrip("-")) <= _MAX_EXACT_DIGITS
    digits = re.sub(r"[eE].*|[^0-9]", "", cell).lstrip("0")
    return len(digits) <= _MAX_PRINTED_DIGITS


def looks_like_bool(cell: str) -> bool:
    """Whether a CSV cell is true or false, in any case."""
    return _BOOL_CELL.fullmatch(cell) is not None


def decimals_from_text(array: Any, kind: Any) -> Any:
    """Text -> decimals of the Arrow type `kind`."""
    import pyarrow as pa

    return pa.array([None if text is None else Decimal(text) for text in array.to_pylist()], kind)
