"""The heads of files: what each one says about the columns, before any type is decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from etlkit.files.file import named_errors

if TYPE_CHECKING:
    from etlkit.files.file import File

_F = TypeVar("_F")


@dataclass(frozen=True)
class Head(Generic[_F]):
    """What the beginning of a file says about its columns.

    Attributes:
        file: The file.
        num_rows: How many rows the file has at least.
        found: What the format found, in its own terms.
    """

    file: File
    num_rows: int
    found: _F


def read_heads(
    files: Sequence[File], look: Callable[[File], Head[_F]], limit: int | None
) -> list[Head[_F]]:
    """Look at the files of a run, up to the one that has the last row that is read.

    Args:
        files: In order.
        look: Finds the head of one.
        limit: How many rows are read at most; None = all.
    """
    heads: list[Head[_F]] = []
    missing = limit
    for file in files:
        with named_errors(file, "cannot be read"):
            heads.append(look(file))
        if len(files) > 1:  # thousands of files need not be open at once
            file.pause()
        if missing is not None:
            missing -= heads[-1].num_rows
            if missing <= 0:
                break
    return heads
