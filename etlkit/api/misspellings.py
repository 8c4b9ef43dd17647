"""Misspelled hooks and class attributes: Python ignores them, and so do type checkers."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

_SIMILARITY = 0.85
"""`max_concurency` and `batchsize` are above it, `transform` beside `transform_row` is not."""


class MisspelledWarning(UserWarning):
    """A name in a class looks like that of a hook or an attribute that etlkit reads."""


def similar_names(cls: type, base: type) -> dict[str, str]:
    """Names that a class defines and nobody reads, and the known names that they look like.

    A name that code of the class uses is its own, such as a helper `transform_rows`. So is one that
    begins with `_`.

    Args:
        cls: A class that was just defined.
        base: The class of etlkit that it derives from.

    Returns:
        By the class's name, in the order of definition: the known name.
    """
    known = _known(cls, base)
    own = [
        name
        for name in (*vars(cls), *vars(cls).get("__annotations__", ()))
        if not name.startswith("_") and name not in known
    ]
    if not own:
        return {}
    inherited = {name for each in cls.__mro__[1:] for name in vars(each)}
    unread = dict.fromkeys(name for name in own if name not in inherited)
    found = {name: close for name in unread if (close := _closest(name, known)) is not None}
    used = _used(cls) if found else set()
    return {name: close for name, close in found.items() if name not in used}


def warn_of_similar_names(cls: type, similar: dict[str, str]) -> None:
    """Warn at the line of the class statement; `similar` is what `similar_names` gives."""
    for name, close in similar.items():
        warnings.warn(
            f"{cls.__qualname__}.{name} is not read by etlkit: did you mean {close}? If it is your "
            f"own, use it in the class, or call it _{name}",
            MisspelledWarning,
            stacklevel=_levels(),
        )


def _levels() -> int:
    """How far up the class statement is: an `__init_subclass__` of the user may stand between."""
    frame, levels = inspect.currentframe(), 0
    while frame is not None and (
        frame.f_code.co_name == "__init_subclass__" or frame.f_globals.get("__name__") == __name__
    ):
        frame, levels = frame.f_back, levels + 1
    return levels


def _known(cls: type, base: type) -> set[str]:
    """Public names of etlkit's own classes among the bases."""
    ours = {base, *(each for each in cls.__mro__[1:] if _is_ours(each))}
    return {name for each in ours for name in vars(each) if not name.startswith("_")}


def _is_ours(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "etlkit"


def _closest(name: str, known: set[str]) -> str | None:
    """The known name that this one is a slip of, whatever its capitals; None = there is none."""
    plain = {each.replace("_", ""): each for each in sorted(known)}
    close = difflib.get_close_matches(name.replace("_", "").lower(), plain, n=1, cutoff=_SIMILARITY)
    return plain[close[0]] if close else None


def _used(cls: type) -> set[str]:
    """All names that functions of the class and of the user's bases of it read."""
    return {
        name
        for each in cls.__mro__
        if not _is_ours(each)
        for value in vars(each).values()
        for function in _functions(value)
        for name in _names(function.__code__)
    }


def _functions(value: Any) -> Iterator[FunctionType]:
    for each in (value, getattr(value, "__func__", None), getattr(value, "fget", None)):
        if isinstance(each, FunctionType):
            yield each


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
        elif isinstance(constant, str):  # getattr(self, "transform_rows")
            yield constant
