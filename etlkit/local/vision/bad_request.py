"""The error of a request that is refused as a whole."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """One fault: the path of the field, and what is wrong with it."""

    field: str
    description: str


class BadRequestError(Exception):
    """The request is refused: HTTP 400, INVALID_ARGUMENT. No image was looked at.

    Attributes:
        message: All faults, one per line.
        violations: The same faults one by one; () = the fault is not about a single field.
    """

    def __init__(self, message: str, violations: tuple[Violation, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.violations = violations
