"""Errors of the user's code: what they say, and the user's own line."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from traceback import walk_stack
from types import CodeType, FrameType
from typing import TypeAlias

from etlkit.errors import without_keys
from etlkit.redaction import CleanText

_PACKAGE = str(Path(__file__).parents[1])
_STANDARD_LIBRARY = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_MAX_CHARS = 2000
"""Of the message of an exception: some carry the whole body of an answer."""

_MAX_FRAMES = 1000
"""As many as Python's own limit of recursion. The traceback of an exception that is raised again and
again grows without end."""

_MAX_CAUSES = 20

_CACHED_FILES = 256

Place: TypeAlias = tuple[str, "int | None"]
"""A file and a line of it."""

_CONSOLES = ("<stdin>", "<console>", "<python-input", "<ipython-input")
"""Code typed at a prompt is the user's; other names in brackets are generated code, as `<string>` of
dataclasses."""


def user_line(error: BaseException) -> str | None:
    """Where in the user's code an error comes from, as `transforms/shout.py:12`.

    That is the innermost frame outside of etlkit, of Python's own library and of installed packages.
    Code of the user that is itself an installed package is found as the frame that etlkit called.

    Returns:
        Path and line, the path from the working directory if it is below that. None = the error was
        never raised.
    """
    return users_frame(_raised_at(error))


def _raised_at(error: BaseException) -> list[Place]:
    """Files and lines from the outermost frame to the innermost, of `_MAX_FRAMES` at most."""
    places: list[Place] = []
    entry = error.__traceback__
    while entry is not None and len(places) < _MAX_FRAMES:
        places.append((entry.tb_frame.f_code.co_filename, entry.tb_lineno))
        entry = entry.tb_next
    return places


def cut_earlier_raises(error: BaseException) -> None:
    """Keep only the newest raise in the traceback of an exception caught by the caller.

    An exception object that is raised again and again keeps all of its tracebacks, the newest first.
    """
    entry = error.__traceback__
    caught_in = None if entry is None else entry.tb_frame.f_code
    while entry is not None and entry.tb_next is not None:
        if entry.tb_next.tb_frame.f_code is caught_in:
            entry.tb_next = None
        entry = entry.tb_next


def forget_frames(error: BaseException) -> None:
    """Drop the tracebacks of an exception and of those that it came from: they keep frames alive."""
    found: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if found is None:
            return
        found.__traceback__ = None
        found = found.__cause__ or found.__context__


def thread_place(ident: int) -> str | None:
    """Where in the user's code a thread is now, as `user_line`; None = there is no such thread."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - the only way to another thread's frames
    stack = () if frame is None else [*walk_stack(frame)][::-1]
    return users_frame([(each.f_code.co_filename, line) for each, line in stack])


def users_frame(places: Sequence[Place]) -> str | None:
    """As `user_line`, of files and lines from the outermost frame to the innermost."""
    if not places:
        return None
    outside = None
    for filename, line in reversed(places):
        if _is_users_file(filename):
            outside = filename, line  # at last the outermost one
            if not _is_library(filename):
                break
    filename, line = places[-1] if outside is None else outside
    return f"{_shown(filename)}:{line}"


def innermost_of_user(frame: FrameType | None, begin: CodeType) -> FrameType | None:
    """The innermost frame of the user's code on a thread; None = none of it runs there.

    Args:
        frame: The thread's innermost frame.
        begin: Where our part of the thread begins. What is outside of it, such as a debugger, is not
            looked at.
    """
    while frame is not None and frame.f_code is not begin:
        filename = frame.f_code.co_filename
        if _is_users_file(filename) and not _is_library(filename):
            return frame
        frame = frame.f_back
    return None


def user_error_text(error: BaseException) -> CleanText:
    """`KeyError: 'uri' (transforms/shout.py:12)`, without keys; a long message is cut."""
    kind, said = type(error).__name__, _said(error)
    text = without_keys(f"{kind}: {said}" if said else kind)
    num_chars = len(text) - len(kind) - 2
    if num_chars > _MAX_CHARS:  # cut afterwards: half of a key would not be known as one
        text = f"{text[: len(kind) + 2 + _MAX_CHARS]}… ({num_chars:,} characters)"
    line = user_line(error)
    return CleanText(text if line is None else f"{text} ({line})")


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # an exception of the user's may fail even here
        return f"its message cannot be shown, as that raised {type(second).__name__}"


@lru_cache(_CACHED_FILES)
def _is_users_file(filename: str) -> bool:
    """Whether it is a file, or a prompt, outside of etlkit."""
    is_file = not filename.startswith("<") or filename.startswith(_CONSOLES)
    return is_file and not filename.startswith(_PACKAGE)


@lru_cache(_CACHED_FILES)
def _is_library(filename: str) -> bool:
    if _INSTALLED & set(Path(filename).parts):
        return True
    return filename.startswith(_STANDARD_LIBRARY)


def _shown(filename: str) -> str:
    try:
        return _from(os.getcwd(), filename)  # noqa: PTH109 - a str, for the cache
    except OSError:  # the working directory is gone
        return without_keys(filename)


@lru_cache(_CACHED_FILES)
def _from(directory: str, filename: str) -> str:
    path = Path(filename)
    is_below = path.is_relative_to(directory)
    return without_keys(path.relative_to(directory).as_posix() if is_below else filename)
