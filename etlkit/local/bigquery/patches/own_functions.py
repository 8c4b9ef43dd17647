"""Functions of our own in the place of those that DuckDB does not answer as BigQuery does.

Modules such as `casts` describe what is replaced, in BigQuery's syntax tree, and by which functions:
DuckDB macros, or Python where SQL would be long. The tree is rewritten before the emulator translates
the statement, which leaves calls of unknown functions as they are.

Whether the answers are right, and which are not: tests/emulator/test_reference.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlglot import exp

Rewrite = Callable[[Any], "exp.Expression | None"]
"""Gives what a node is replaced by; None = it stays."""

PREFIX: Final = "etlkit_"


@dataclass(frozen=True)
class OwnFunctions:
    """What one module replaces.

    Attributes:
        marks: A regular expression; statements in which it finds nothing need no rewrite.
        rewrites: How nodes of these classes are replaced.
        names: BigQuery's names of functions that are renamed before the text is parsed, and our names.
        macros: `name(parameters) AS expression` each, in DuckDB's SQL.
        functions: Name, function, DuckDB's types of its parameters and of its result. A NULL argument
            gives NULL, unless a parameter is a list.
        tokens: Changes the text before everything else.
    """

    marks: str = ""
    rewrites: Mapping[type[exp.Expression], Rewrite] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    macros: Sequence[str] = ()
    functions: Sequence[tuple[str, Callable[..., Any], list[str], str]] = ()
    tokens: Callable[[str], str] | None = field(default=None)


def call(name: str, *arguments: Any) -> exp.Expression:
    """A call of one of our functions."""
    return exp.Anonymous(this=f"{PREFIX}{name}", expressions=[each.copy() for each in arguments])


def fails(message: str) -> str:
    """DuckDB SQL that raises an error, in contexts of any type.

    DuckDB's own `error()` is volatile, which `TRY` refuses.
    """
    return f"{PREFIX}error({message})"
