"""The statements of a script, those inside its blocks too.

See https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language
"""

from __future__ import annotations

from collections.abc import Iterator

from etlkit.variables.sql_tokens import Token

_ENDS_CONDITION = {
    **dict.fromkeys(("IF", "ELSEIF", "WHEN", "CASE"), "THEN"),
    **dict.fromkeys(("WHILE", "FOR"), "DO"),
}
"""The word that ends the condition of a block, by the word that begins it."""

_OPENS_BLOCK = frozenset({"BEGIN", "IF", "CASE", "WHILE", "FOR", "LOOP", "REPEAT"})
_CLOSES_BLOCK = frozenset({"END", "UNTIL"})
_HEADS_OF_ONE_WORD = frozenset({"BEGIN", "ELSE", "EXCEPTION", "LOOP", "REPEAT"})


def first_word(part: list[Token]) -> str:
    """The word that a statement begins with, in capitals; empty = it has none."""
    return part[0].word.split()[0] if part else ""  # `BEGIN TRANSACTION` is one token


def script_statements(tokens: list[Token]) -> Iterator[list[Token]]:
    """Yield each statement, and the head of each block by itself, e.g. `IF condition THEN`.

    The body of a procedure is left out: it does not run when the procedure is made.
    """
    start, depth, procedure = 0, 0, -1
    while start < len(tokens):
        end = _end(tokens, start)
        part = tokens[start:end]
        word = first_word(part)
        if part and procedure < 0:
            yield part
        if word in _CLOSES_BLOCK:
            depth -= 1
            if depth <= procedure:
                procedure = -1
        elif word in _OPENS_BLOCK and not _begins_transaction(part):
            depth += 1
        elif _makes_procedure(part):
            procedure = depth
        start = end + (end < len(tokens) and tokens[end].kind == "SEMICOLON")


def _end(tokens: list[Token], start: int) -> int:
    """The position after the statement, or after the head of a block."""
    part = tokens[start : start + 5]
    if len(part) > 1 and part[1].kind == "COLON":
        return start + 2  # a label
    if first_word(part) in _HEADS_OF_ONE_WORD and not _begins_transaction(part):
        return start + 1
    last = _ENDS_CONDITION.get(first_word(part))
    is_procedure = _makes_procedure(part)
    parentheses = cases = 0
    for position in range(start, len(tokens)):
        token = tokens[position]
        parentheses += {"L_PAREN": 1, "R_PAREN": -1}.get(token.kind, 0)
        if token.kind == "SEMICOLON" or (is_procedure and token.word == "BEGIN"):
            return position
        if parentheses == 0 and position > start:
            if token.word == last and not cases:
                return position + 1
            cases += {"CASE": 1, "END": -1}.get(token.word, 0)
    return len(tokens)


def _begins_transaction(part: list[Token]) -> bool:
    words = " ".join(token.word for token in part[:2])
    return words.startswith("BEGIN TRANSACTION")


def _makes_procedure(part: list[Token]) -> bool:
    return first_word(part) == "CREATE" and "PROCEDURE" in {token.word for token in part[1:5]}
