"""The word that a statement begins with, found without parsing it."""

from __future__ import annotations

import re
from typing import Final

_FIRST: Final = re.compile(
    r"(?:\s|--[^\n]*(?:\n|\Z)|\#[^\n]*(?:\n|\Z)|/\*.*?\*/)*([A-Za-z]+)(?![\w'\"`.-])", re.DOTALL
)
"""A word behind spaces and comments that is not part of something longer, such as a literal."""


def first_word(sql: str) -> str:
    """The word that a text begins with, in capitals; "" = it begins with something else."""
    found = _FIRST.match(sql)
    return "" if found is None else found[1].upper()


def may_begin(sql: str, *words: str) -> bool:
    """Whether a text may be a statement that begins with one of these words, in capitals.

    False is certain. True is a guess if the text begins with no word, e.g. with a parenthesis.
    """
    found = first_word(sql)
    return not found or found in words
