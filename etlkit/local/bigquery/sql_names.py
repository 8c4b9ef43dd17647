"""The dotted names in a text of GoogleSQL, found without parsing it.

A name that is no table costs nothing: only those that a catalog knows are declared to the analyzer.

https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_TRIPLE: Final = r"'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\""
_SINGLE: Final = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
_QUOTED: Final = r"`(?:[^`\\\n]|\\.)+`"
_IDENTIFIER: Final = rf"{_QUOTED}|[^\W\d]\w*(?:-\w+)*"
_MORE: Final = rf"(?:\s*\.\s*(?:{_QUOTED}|\w+(?:-\w+)*|\*))*"

_TOKEN: Final = re.compile(
    rf"(?P<comment>--[^\n]*|\#[^\n]*|/\*.*?\*/)"
    rf"|(?P<string>(?:[rR][bB]?|[bB][rR]?)?(?:{_TRIPLE}|{_SINGLE}))"
    rf"|(?P<variable>@@?(?:`[^`]+`|\w+(?:\.\w+)*))"
    rf"|(?P<path>(?:{_IDENTIFIER}){_MORE})"
    rf"|(?P<number>\d[\w.]*)"
    rf"|(?P<positional>\?)"
    rf"|(?P<end>;)",
    re.DOTALL,
)
_MODEL: Final = re.compile(
    rf"\s*\(\s*(?P<argument>MODEL\s+(?P<model>(?:{_IDENTIFIER}){_MORE})\s*,?)", re.IGNORECASE
)
_PART: Final = re.compile(r"`((?:[^`\\\n]|\\.)+)`|(\w+(?:-\w+)*|\*)")
_ESCAPED: Final = re.compile(r"\\(.)")

_SCRIPT_WORDS: Final = frozenset(
    {
        *("BEGIN", "BREAK", "CASE", "CONTINUE", "DECLARE", "FOR", "IF", "ITERATE", "LEAVE", "LOOP"),
        *("RAISE", "REPEAT", "RETURN", "SET", "WHILE"),
    }
)
"""https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language"""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call such as `ML.PREDICT(MODEL d.m, …)`.

    Attributes:
        function: The name of the function, as written.
        model: The name of the model, with its dots resolved.
        name: Where the name of the function begins and ends.
        argument: Where the argument with the model begins and ends, with its comma.
    """

    function: Path
    model: Path
    name: tuple[int, int]
    argument: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Scan:
    """What a text names.

    Attributes:
        paths: All dotted names, as written but without backticks, in order and once.
            `` `p.d.t` `` is `("p.d.t",)`, `d.t` is `("d", "t")`.
        connections: The names behind the word CONNECTION.
        model_calls: Calls whose first argument is a model.
        has_positional: Whether there is a `?`.
        is_script: Whether there are several statements, or one of the procedural language.
        pieces: The text in pieces, each with its kind: "path", "string", "comment", or "" for the rest.
    """

    paths: tuple[Path, ...]
    connections: tuple[Path, ...]
    model_calls: tuple[ModelCall, ...]
    has_positional: bool
    is_script: bool
    pieces: tuple[tuple[str, str], ...]


@lru_cache(maxsize=256)
def scan(sql: str) -> Scan:
    """Find the names in a text."""
    matches = list(_TOKEN.finditer(sql))
    tokens = [match for match in matches if match.lastgroup != "comment"]
    named = [match for match in tokens if match.lastgroup == "path"]
    return Scan(
        tuple(_paths(match["path"] for match in named)),
        _connections([match["path"] for match in named]),
        tuple(_model_calls(sql, named)),
        any(match.lastgroup == "positional" for match in tokens),
        _is_script(tokens),
        tuple(_pieces(sql, matches)),
    )


def resolved(path: Path) -> Path:
    """A name with its dots resolved: `` `p.d`.t `` is `("p", "d", "t")`."""
    if not any("." in each for each in path):
        return path
    return tuple(part for each in path for part in each.split("."))


def _parts(text: str) -> Path:
    if "`" not in text and "." not in text:
        return (text,)
    return tuple(
        each[2] if each[1] is None else _ESCAPED.sub(r"\1", each[1])
        for each in _PART.finditer(text)
    )


def _paths(texts: Iterable[str]) -> dict[Path, None]:
    found: dict[Path, None] = {}
    for text in texts:
        parts = _parts(text)
        found[parts] = None
        if "-" in parts[0] and not text.startswith("`"):
            # `a-b.c` may also be a minus before `b.c`.
            found[parts[0].rpartition("-")[2], *parts[1:]] = None
    return found


def _connections(texts: list[str]) -> tuple[Path, ...]:
    following = (b for a, b in itertools.pairwise(texts) if a.casefold() == "connection")
    return tuple(dict.fromkeys(_parts(each) for each in following if each.casefold() != "default"))


def _model_calls(sql: str, named: list[re.Match[str]]) -> list[ModelCall]:
    calls = []
    for match in named if "model" in sql.casefold() else ():
        argument = _MODEL.match(sql, match.end())
        if argument is not None:
            model = resolved(_parts(argument["model"]))
            place = (argument.start("argument"), argument.end())
            calls.append(ModelCall(_parts(match["path"]), model, match.span(), place))
    return calls


def _is_script(tokens: list[re.Match[str]]) -> bool:
    first, second, *_ = [(match["path"] or "").upper() for match in tokens[:2]] + ["", ""]
    is_begin = first == "BEGIN" and (second == "TRANSACTION" or len(tokens) == 1)
    if first in _SCRIPT_WORDS and not is_begin:
        return True
    ends = [at for at, match in enumerate(tokens) if match.lastgroup == "end"]
    return bool(ends) and ends[0] < len(tokens) - 1


def _pieces(sql: str, matches: list[re.Match[str]]) -> list[tuple[str, str]]:
    pieces, position = [], 0
    for match in matches:
        kind = match.lastgroup or ""
        if kind in {"path", "string", "comment", "variable"}:
            pieces.append(("", sql[position : match.start()]))
            pieces.append(("path" if kind == "variable" else kind, match[0]))
            position = match.end()
    pieces.append(("", sql[position:]))
    return pieces
