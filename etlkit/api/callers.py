"""Who calls etlkit: the user's module and file, found on the stack."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import FrameType

_PACKAGE = str(Path(__file__).parents[1])


def calling_file() -> Path | None:
    """The file of the code that called etlkit; None = it was typed at a prompt."""
    frame = _calling_frame()
    file = None if frame is None else frame.f_globals.get("__file__")
    return None if file is None else Path(file)


def calling_name() -> str | None:
    """The dotted name of the module that called etlkit, or a script's name; None = it has none."""
    frame = _calling_frame()
    return None if frame is None else module_name(frame.f_globals)


def module_name(names: dict[str, object]) -> str | None:
    """What a module is called in reports: its dotted name, of a script the name of its file.

    Args:
        names: The module's globals.

    Returns:
        None = it is a console or a notebook.
    """
    name, file = names.get("__name__"), names.get("__file__")
    if name != "__main__":
        return str(name) if name else None
    return None if file is None else Path(str(file)).stem


def _calling_frame() -> FrameType | None:
    frame = inspect.currentframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE) and not _is_generated(file):
            return frame
        frame = frame.f_back
    return None


def _is_generated(file: str) -> bool:
    """The `__init__` of a dataclass is code without a file: it is called `<string>`."""
    return file.startswith(("<string>", "<frozen", "<attrs"))
