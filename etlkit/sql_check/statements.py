"""Several statements, or a script, one after the other: each sees what the earlier ones make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from etlkit.sql_check.analyzer import Analysis
from etlkit.sql_check.checked_job import CheckedJob
from etlkit.sql_check.known import Known, KnownTable
from etlkit.sql_check.sql_text import SqlText
from etlkit.variables.sql_tokens import Token, tokenize
from etlkit.workflow.script_statements import first_word, script_statements

_CONDITIONS = frozenset({"IF", "ELSEIF", "WHEN", "WHILE", "UNTIL"})
_NOTHING_TO_ANALYZE = frozenset(
    {"BEGIN", "BREAK", "COMMIT", "CONTINUE", "ELSE", "END", "EXCEPTION", "ITERATE", "LEAVE", "LOOP"}
    | {"RAISE", "REPEAT", "RETURN", "ROLLBACK", "CASE"}
)


@dataclass
class Statements:
    """The statements of one text.

    Attributes:
        checked: The job.
        parameters: Types of query parameters.
        used: Bare names of the custom variables in the text.
        variables: Types of the script's variables so far.
        temporary: What the text makes for itself, e.g. by `CREATE TEMP FUNCTION`.
    """

    checked: CheckedJob
    parameters: Mapping[str, str]
    used: frozenset[str] = frozenset()
    variables: dict[str, str] = field(default_factory=dict)
    temporary: dict[str, Known] = field(default_factory=dict)

    def analyze(self, text: SqlText, start: int, end: int) -> tuple[SqlText, Analysis] | None:
        """Analyze the statements between two positions of a text.

        Returns:
            The last one and what is known of it; None = it is refused, or nothing can be said.
        """
        tokens = [
            each for each in tokenize(text.written) if start <= each.start and each.end <= end
        ]
        last = None
        for part in script_statements(tokens):
            last = self._statement(text, part)
        return last

    def _statement(self, text: SqlText, part: Sequence[Token]) -> tuple[SqlText, Analysis] | None:
        word = first_word(list(part))
        is_label = len(part) > 1 and part[1].kind == "COLON"
        if word in _CONDITIONS:
            self._expression(text, part[1:], {"THEN", "DO"})
        elif word == "SET":
            self._set(text, part)
        elif word == "DECLARE":
            self._declare(text, part)
        elif word == "FOR":
            self._for(text, part)
        elif word == "EXECUTE":
            self.checked.note(f"line {part[0].line}: EXECUTE IMMEDIATE makes its SQL while it runs")
        elif not is_label and word not in _NOTHING_TO_ANALYZE:
            start, end = part[0].start, part[-1].end
            return self._one(text.part(start, end), is_temporary=_is_temporary(part))
        return None

    def _one(self, text: SqlText, *, is_temporary: bool = False) -> tuple[SqlText, Analysis] | None:
        found = self.checked.analyze(
            text, self.parameters, self.variables, self.temporary, self.used
        )
        if found is None:
            return None
        if is_temporary:
            self.temporary |= {name: known for name, known in found.makes.items() if known}
        else:
            self.checked.world.make(self._made(text, found))
        return text, found

    def _made(self, text: SqlText, found: Analysis) -> dict[str, Known | None]:
        """What the statement makes; of a table with columns that are not known, neither are all."""
        is_open = bool(found.makes) and self.checked.is_open(text, found)
        why = self.checked.why_open(found)
        return {
            name: replace(known, is_complete=False, why=why)
            if is_open and isinstance(known, KnownTable)
            else known
            for name, known in found.makes.items()
        }

    def _expression(
        self, text: SqlText, part: Sequence[Token], ends: set[str]
    ) -> tuple[SqlText, Analysis] | None:
        """A condition, or the value of a variable, analyzed as the column of a query."""
        tokens = [*part]
        while tokens and tokens[-1].word in ends:
            tokens.pop()
        if not tokens:
            return None
        start, end = tokens[0].start, tokens[-1].end
        return self._one(
            text.part(start, end).edited([(start, start, "SELECT ("), (end, end, "\n)")])
        )

    def _set(self, text: SqlText, part: Sequence[Token]) -> None:
        at = next((n for n, token in enumerate(part) if token.kind == "EQ"), None)
        if at is not None and part[1].text != "@":
            self._expression(text, part[at + 1 :], set())

    def _declare(self, text: SqlText, part: Sequence[Token]) -> None:
        """`DECLARE a, b TYPE DEFAULT value`: without a type it is that of the value."""
        at = 1
        names = [part[at].text.strip("`")] if len(part) > 1 else []
        while len(part) > at + 2 and part[at + 1].kind == "COMMA":
            at += 2
            names.append(part[at].text.strip("`"))
        rest = part[at + 1 :]
        default = next((n for n, token in enumerate(rest) if token.word == "DEFAULT"), len(rest))
        kind = text.written[rest[0].start : rest[default - 1].end] if default else ""
        found = self._expression(text, rest[default + 1 :], set())
        if kind:
            kind = re.sub(r"\([^)]*\)", "", kind).upper()
        elif found is not None and found[1].columns:
            kind = found[1].columns[0].type
        if kind:
            self.variables |= dict.fromkeys(names, kind)

    def _for(self, text: SqlText, part: Sequence[Token]) -> None:
        """`FOR row IN (query) DO`: the variable is a STRUCT of the query's columns."""
        opening = next((n for n, token in enumerate(part) if token.kind == "L_PAREN"), None)
        if opening is None or len(part) < opening + 4:
            return
        inner = part[opening + 1 : -2 if part[-1].word == "DO" else -1]
        found = self._one(text.part(inner[0].start, inner[-1].end)) if inner else None
        if found is not None and found[1].columns:
            fields = ", ".join(f"`{each.name}` {each.type}" for each in found[1].columns)
            self.variables[part[1].text.strip("`")] = f"STRUCT<{fields}>"


def _is_temporary(part: Sequence[Token]) -> bool:
    words = {token.word for token in part[1:5]}
    return first_word(list(part)) == "CREATE" and bool(words & {"TEMP", "TEMPORARY"})
