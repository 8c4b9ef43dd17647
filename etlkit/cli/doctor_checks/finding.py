"""`Finding`: what a check found, and the command that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        state: `ok`; a `warning` does not stop a run; a `problem` does.
        subject: What was looked at, e.g. `credentials`.
        text: What was found.
        mend: Commands that mend it, to be copied; empty = there is nothing to mend, or no command.
    """

    state: State
    subject: str
    text: str
    mend: Sequence[str] = ()


def ok(subject: str, text: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding("ok", subject, text)


def warning(subject: str, text: str, *mend: str) -> Finding:
    """A check that found something to know."""
    return Finding("warning", subject, text, mend)


def problem(subject: str, text: str, *mend: str) -> Finding:
    """A check that found what makes runs fail."""
    return Finding("problem", subject, text, mend)
