"""The dotted names in a text of GoogleSQL, found without parsing it.

A name that is no table costs nothing: only those that a catalog knows are declared to the analyzer.

https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical
"""

from __future__ import annotations

import itertools
import re
from typing import Final

_TRIPLE: Final = r"'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\""
_SINGLE: Final = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
_RAW: Final = r"(?:[rR][bB]?|[bB][rR]?)"
_IDENTIFIER: Final = r"`(?:[^`\\\n]|\\.)+`|[^\W\d]\w*(?:-\w+)*"

_TOKEN: Final = re.compile(
    rf"(?P<comment>--[^\n]*|\#[^\n]*|/\*.*?\*/)"
    rf"|(?P<string>{_RAW}?(?:{_TRIPLE}|{_SINGLE}))"
    rf"|(?P<variable>@@?(?:`[^`]+`|\w+(?:\.\w+)*))"
    rf"|(?P<path>(?:{_IDENTIFIER})(?:\s*\.\s*(?:`(?:[^`\\\n]|\\.)+`|\w+(?:-\w+)*|\*))*)"
    rf"|(?P<number>\d[\w.]*)"
    rf"|(?P<positional>\?)",
    re.DOTALL,
)
_PART: Final = re.compile(r"`((?:[^`\\\n]|\\.)+)`|(\w+(?:-\w+)*|\*)")
_ESCAPED: Final = re.compile(r"\\(.)")

Path = tuple[str, ...]


def paths_in(sql: str) -> dict[Path, None]:
    """All dotted names of a text, as written but without backticks, in order and once.

    `` `p.d.t` `` is `("p.d.t",)`, `d.t` is `("d", "t")`.
    """
    found: dict[Path, None] = {}
    for match in _TOKEN.finditer(sql):
        if match.lastgroup != "path":
            continue
        text = match["path"]
        if "`" not in text and "." not in text:
            found[text,] = None
            continue
        parts = tuple(_unquoted(each) for each in _PART.finditer(text))
        found[parts] = None
        if "-" in parts[0] and "`" not in text[: len(parts[0]) + 1]:
            # `a-b.c` may also be a minus before `b.c`.
            found[parts[0].rpartition("-")[2], *parts[1:]] = None
    return found


def resolved(path: Path) -> Path:
    """A name with its dots resolved: `` `p.d`.t `` is `("p", "d", "t")`."""
    return (
        tuple(part for each in path for part in each.split("."))
        if any("." in each for each in path)
        else path
    )


def connections_in(sql: str) -> dict[Path, None]:
    """The names behind the word CONNECTION, as `paths_in` gives them."""
    if "connection" not in sql.casefold():
        return {}
    texts = [m["path"] for m in _TOKEN.finditer(sql) if m.lastgroup == "path"]
    named = [b for a, b in itertools.pairwise(texts) if a.casefold() == "connection"]
    return {
        tuple(_unquoted(each) for each in _PART.finditer(text)): None
        for text in named
        if text.casefold() != "default"
    }


def has_positional_parameters(sql: str) -> bool:
    """Whether a text has a `?` outside of strings, names and comments."""
    return "?" in sql and any(match["positional"] for match in _TOKEN.finditer(sql))


def variables_in(sql: str) -> set[str]:
    """Names behind `@@`, in lower case."""
    return {
        match["variable"][2:].casefold()
        for match in _TOKEN.finditer(sql)
        if match.lastgroup == "variable" and match["variable"].startswith("@@")
    }


def _unquoted(match: re.Match[str]) -> str:
    quoted = match[1]
    return match[2] if quoted is None else _ESCAPED.sub(r"\1", quoted)
