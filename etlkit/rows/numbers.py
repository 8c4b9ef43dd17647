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
"""A float keeps any number of this many digits; longer ones could be rounded."""

_MAX_FLOAT_DIGITS = 767
"""No float has more significant digits: https://en.wikipedia.org/wiki/Double-precision_floating-point_format"""

_MIN_NORMAL = 2.3e-308
"""Smaller floats have fewer digits."""


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
    # numpy compares its integers with a float as floats: both sides would be rounded.
    exact = int(value) if isinstance(value, Integral) else value
    try:
        number = float(exact)
    except OverflowError:
        number = float("inf")
    if number != exact and exact == exact:  # noqa: PLR0124 - only NaN differs from itself
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


class WideNumber(Decimal):
    """A number in JSON text that comes back changed if it becomes a float."""


def number_from_json(text: str) -> float | WideNumber:
    """A number with a point or an exponent in JSON text; the float only if its text is this number."""
    number = float(text)
    if len(text) <= _MAX_EXACT_DIGITS and _MIN_NORMAL < abs(number) < float("inf"):
        return number
    try:
        exact = WideNumber(text)
    except InvalidOperation as error:
        raise RefusedError("got a number with an exponent that no program can hold") from error
    return number if Decimal(repr(number)) == exact else exact


def float_from_wide(value: Any) -> Any:
    """A number of JSON text for a FLOAT64: wide numbers as a float, other values as they are.

    Raises:
        RefusedError: No float keeps the number.
    """
    return _kept_float(value) if isinstance(value, WideNumber) else value


def _kept_float(exact: Decimal) -> float:
    """The float that stands for a decimal number: printed with as many digits, it is the same number.

    Raises:
        RefusedError: There is none: the number is beyond the range of floats, or has too many digits.
    """
    number = float(exact)
    digits = len("".join(map(str, exact.as_tuple().digits)).strip("0"))
    is_whole = exact.as_tuple().exponent == 0
    if exact.is_nan() or number == exact:
        return number
    if number in {0.0, float("inf"), float("-inf")}:
        raise RefusedError("got a number beyond the range of FLOAT64: use a STRING column")
    if is_whole or digits > _MAX_FLOAT_DIGITS or Decimal(f"{number:.{digits - 1}e}") != exact:
        raise RefusedError(
            "got a number with more digits than FLOAT64 keeps: use a NUMERIC, BIGNUMERIC or STRING "
            "column"
        )
    return number


def decimal_to_json(value: Decimal) -> str:
    """A Decimal as text without an exponent."""
    return format(value, "f")


def decimal_from_json(value: Any) -> Decimal:
    """A Decimal from text, or from a number of JSON."""
    # repr: a float in JSON is decimal text, and its shortest form is that text again (see
    # `number_from_json`).
    return Decimal(value if isinstance(value, str | Decimal) else repr(value))


def looks_like_int(cell: str) -> bool:
    """Whether a CSV cell is an INT64 beyond doubt."""
    return _INT_CELL.fullmatch(cell) is not None and _INT64_MIN <= int(cell) <= _INT64_MAX


def looks_like_float(cell: str) -> bool:
    """Whether a CSV cell is a number that a float keeps."""
    if not _FLOAT_CELL.fullmatch(cell):
        return False
    if cell.lstrip("-").isdigit():  # a longer one is an id rather than a float
        return len(cell.lstrip("-")) <= _MAX_EXACT_DIGITS
    try:
        _kept_float(Decimal(cell))
    except RefusedError:
        return False
    return True


def looks_like_bool(cell: str) -> bool:
    """Whether a CSV cell is true or false, in any case."""
    return _BOOL_CELL.fullmatch(cell) is not None


def floats_from_text(array: Any, kind: Any) -> Any:
    """Text -> floats of the Arrow type `kind`.

    Raises:
        RefusedError: No float keeps a number.
        pyarrow.ArrowInvalid: A text is not a number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(array)
    numbers = pc.cast(text, kind)
    size = pc.abs(numbers)
    smallest, infinite = pa.scalar(_MIN_NORMAL, kind), pa.scalar(float("inf"), kind)
    is_normal = pc.and_(pc.greater_equal(size, smallest), pc.less(size, infinite))
    is_short = pc.less_equal(pc.binary_length(text), pa.scalar(_MAX_EXACT_DIGITS, pa.int64()))
    # Only what is neither short nor what a float looks like when it is printed needs a closer look.
    is_long = pc.invert(pc.and_(is_short, is_normal))
    text, values = text.filter(is_long), numbers.filter(is_long)
    for doubtful in text.filter(pc.not_equal(values.cast(pa.string()), text)).unique().to_pylist():
        _kept_float(Decimal(doubtful))
    return numbers


_made_exactly = Context(prec=100).create_decimal
"""A Decimal of a text of at most 100 digits, a sixth faster than by its constructor."""


def read_decimals(array: Any) -> list[Any]:
    """Arrow -> Decimals by their text, three times as fast as pyarrow's own way, which is the same."""
    import pyarrow as pa

    texts = array.cast(pa.string()).to_pylist()
    if array.null_count:
        return [None if text is None else _made_exactly(text) for text in texts]
    return list(map(_made_exactly, texts))


def decimals_from_text(array: Any, kind: Any) -> Any:
    """Text -> decimals of the Arrow type `kind`."""
    import pyarrow as pa

    return pa.array([None if text is None else Decimal(text) for text in array.to_pylist()], kind)
