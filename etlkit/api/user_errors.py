"""Errors of the user's code: what they say, and the user's own line."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from traceback import FrameSummary
from types import FrameType

from etlkit.errors import without_keys

_PACKAGE = str(Path(__file__).parents[1])
_STANDARD_LIBRARY = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_MAX_CHARS = 2000
"""Of the message of an exception: some carry the whole body of an answer."""

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
    return users_frame(traceback.extract_tb(error.__traceback__))


def users_frame(frames: Sequence[FrameSummary]) -> str | None:
    """As `user_line`, of frames from the outermost to the innermost."""
    if not frames:
        return None
    outside = [frame for frame in frames if _is_file(frame) and not _is_ours(frame.filename)]
    theirs = [frame for frame in outside if not _is_library(frame.filename)]
    frame = theirs[-1] if theirs else outside[0] if outside else frames[-1]
    return f"{_shown(frame.filename)}:{frame.lineno}"


def innermost_of_user(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the user's code on a thread; None = none of it runs there.

    Args:
        frame: The thread's innermost frame.
    """
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith("<") and not _is_ours(filename) and not _is_library(filename):
            return frame
        frame = frame.f_back
    return None


def user_error_text(error: BaseException) -> str:
    """`KeyError: 'uri' (transforms/shout.py:12)`, without keys; a long message is cut."""
    line = user_line(error)
    place = "" if line is None else f" ({line})"
    said = without_keys(_said(error))
    if len(said) > _MAX_CHARS:
        said = f"{said[:_MAX_CHARS]}… ({len(said):,} characters)"
    return f"{type(error).__name__}{': ' if said else ''}{said}{place}"


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # an exception of the user's may fail even here
        return f"its message cannot be shown, as that raised {type(second).__name__}"


def _is_file(frame: FrameSummary) -> bool:
    return not frame.filename.startswith("<") or frame.filename.startswith(_CONSOLES)


def _is_ours(filename: str) -> bool:
    return filename.startswith(_PACKAGE)


def _is_library(filename: str) -> bool:
    if _INSTALLED & set(Path(filename).parts):
        return True
    return filename.startswith(_STANDARD_LIBRARY)


def _shown(filename: str) -> str:
    path = Path(filename)
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):  # elsewhere, or the working directory is gone
        return filename
