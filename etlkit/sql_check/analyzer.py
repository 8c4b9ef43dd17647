"""What a check needs of an analyzer of GoogleSQL. The command line hands one in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from etlkit.sql_check.known import Columns, Known


@dataclass(frozen=True)
class Refusal:
    """Why a statement is refused.

    Attributes:
        message: The analyzer's sentence, without the position.
        line: In the statement, 1 = its first; None = no place is named.
        column: As GoogleSQL counts, 1 = the first character.
    """

    message: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Analysis:
    """What is known of one statement.

    Attributes:
        refusal: Why it is refused; None = it is valid.
        columns: Of the result of a query; None = it is no query.
        reads: Names of tables, models and functions, as the statement writes them.
        writes: Names of tables and kin that it makes or changes.
        makes: What a name is after the statement; None = it is dropped.
        unclear: Why nothing can be said of it; empty = it was analyzed.
    """

    refusal: Refusal | None = None
    columns: Columns | None = None
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    makes: Mapping[str, Known | None] = field(default_factory=dict)
    unclear: str = ""


class Analyzer(Protocol):
    """Analyzes single statements, on several threads at once."""

    def analyze(
        self,
        sql: str,
        find: Callable[[str], Known | None],
        parameters: Mapping[str, str] | None,
        variables: Mapping[str, str],
        /,
    ) -> Analysis:
        """Analyze one statement.

        Args:
            sql: GoogleSQL, without a semicolon.
            find: What a name is; None = it does not exist.
            parameters: Query parameters by name, with their types; None = any parameter is taken.
            variables: Variables of the script by name, with their types.
        """
