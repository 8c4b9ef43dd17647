"""GoogleSQL as tokens: where statements begin and end, and which must run as one script.

The tokens are sqlglot's. Nothing is parsed here: SQL that only BigQuery understands stays unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from etlkit.errors import ConfigError

_STATEMENT_WORDS = frozenset(
    {"SELECT", "WITH", "FROM", "(", "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE"}
    | {"DROP", "UNDROP", "ALTER", "EXPORT", "LOAD", "GRANT", "REVOKE", "ASSERT", "CALL"}
)
"""A statement that begins so can be a job of its own. Anything else (DECLARE, SET, BEGIN, IF, LOOP,
EXECUTE IMMEDIATE, COMMIT, a label, the END of a procedure) belongs to a script:
https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language"""


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        kind: sqlglot's name for it, e.g. `STRING`, `RAW_STRING`, `IDENTIFIER`, `VAR`.
        text: As written, with quotes.
        start: Its position in the SQL, 0 = first character.
        end: The position after it.
        line: Line in the SQL, 1 = first.
    """

    kind: str
    text: str
    start: int
    end: int
    line: int

    @property
    def word(self) -> str:
        """The text in capitals, to compare it with keywords."""
        return self.text.upper()


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """One statement of a text, or all of them if they must run as one script.

    Attributes:
        text: Its SQL, without the semicolon that ends it.
        line: Line where it begins, 1 = first line of the text.
        column: Column where it begins, 1 = first character of the line.
        is_script: Whether BigQuery runs it as a script.
    """

    text: str
    line: int
    column: int
    is_script: bool

    @property
    def first_line(self) -> str:
        """Its first line, for messages."""
        return self.text.split("\n", 1)[0].strip()


def tokenize(sql: str) -> list[Token]:
    """Split SQL into tokens; comments are left out.

    Raises:
        ConfigError: A quote or a comment is not closed.
    """
    return list(_tokens(sql))


@lru_cache(maxsize=256)  # one text is split for its statements, its variables and its tables
def _tokens(sql: str) -> tuple[Token, ...]:
    from sqlglot.errors import TokenError

    try:
        found = _tokenizer()().tokenize(sql)
    except TokenError as error:
        raise ConfigError("the SQL cannot be read: a quote or a comment has no end") from error
    tokens, line, counted = [], 1, 0
    for t in found:
        line += sql.count("\n", counted, t.start)
        counted = t.start
        tokens.append(Token(t.token_type.name, sql[t.start : t.end + 1], t.start, t.end + 1, line))
    return tuple(tokens)


@cache
def _tokenizer() -> Any:
    from sqlglot.dialects import BigQuery

    class Tokenizer(BigQuery.Tokenizer):  # type: ignore[misc]
        COMMANDS: frozenset[Any] = (
            frozenset()
        )  # otherwise all that follows CALL is one opaque token
        NESTED_COMMENTS = False  # BigQuery's do not nest

    return Tokenizer


def split(sql: str) -> list[SqlStatement]:
    """The statements of a text, in order; a single one with the whole text if one needs the others.

    Statements run as separate jobs if each of them can. A statement that declares, branches, opens a
    transaction, makes something temporary or reads a system variable needs the session of its script,
    so the whole text runs as one script.

    Raises:
        ConfigError: There is no statement, or a quote is not closed.
    """
    tokens = tokenize(sql)
    parts = statements(tokens)
    if not parts:
        raise ConfigError("there is no statement in the SQL")
    if len(parts) > 1 and not all(map(_is_independent, parts)):
        return [_statement(sql, parts[0][0], tokens[-1], is_script=True)]
    return [_statement(sql, p[0], p[-1], is_script=not _begins_statement(p)) for p in parts]


_PLAIN_QUERY = re.compile(
    r"""\s*(?:SELECT|WITH)\s(?:[^'"`;$#/-]|-(?!-)|/(?!\*)"""
    r"""|'(?!'')[^'\\\n]*'|"(?!"")[^"\\\n]*"|`[^`\\\n]*`)*+""",
    re.IGNORECASE,
)


def is_plain_query(sql: str) -> bool:
    """Whether a text certainly is one query and nothing else, as most are. Cheap.

    To split others, all of sqlglot is imported, which takes as long as some requests.
    """
    return _PLAIN_QUERY.fullmatch(sql) is not None


def one_query(sql: str) -> tuple[str, str]:
    """Split a text into the temporary functions of a query and the query itself.

    The query can then stand inside another statement, behind the functions: nothing follows it, no
    semicolon and no comment.

    Returns:
        `CREATE TEMP FUNCTION` statements, each with its semicolon; empty = there are none. Then the
        query.

    Raises:
        ConfigError: There is no statement in it, more than one query, or a quote has no end.
    """
    if is_plain_query(sql):
        return "", sql.strip()
    parts = statements(tokenize(sql))
    if not parts:
        raise ConfigError("there is no statement in the SQL")
    texts = [sql[part[0].start : part[-1].end] for part in parts]
    for part, text in zip(parts[:-1], texts, strict=False):
        if not _makes_temp_function(part):
            raise ConfigError(
                "write one SELECT; only CREATE TEMP FUNCTION may stand before it. This is another "
                f"statement, in line {part[0].line}: {text.splitlines()[0]}"
            )
    return "".join(f"{text};\n" for text in texts[:-1]), texts[-1]


def _makes_temp_function(tokens: list[Token]) -> bool:
    words = [token.word for token in tokens[:5]]
    words = [word for word in words if word not in {"OR", "REPLACE"}]
    return words[:1] == ["CREATE"] and words[1] in {"TEMP", "TEMPORARY"} and "FUNCTION" in words


def statements(tokens: list[Token]) -> list[list[Token]]:
    """Tokens by statement, without the semicolons; empty statements are left out."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind == "SEMICOLON":
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _begins_statement(tokens: list[Token]) -> bool:
    return tokens[0].word in _STATEMENT_WORDS and not (
        len(tokens) > 1 and tokens[1].kind == "COLON"
    )


def _is_independent(tokens: list[Token]) -> bool:
    if not _begins_statement(tokens):
        return False
    makes = tokens[0].word in {"CREATE", "LOAD"}
    if makes and {"TEMP", "TEMPORARY"} & {token.word for token in tokens[1:5]}:
        return False
    return not any(a.text == b.text == "@" and a.end == b.start for a, b in pairwise(tokens))


def _statement(sql: str, first: Token, last: Token, *, is_script: bool) -> SqlStatement:
    column = first.start - (sql.rfind("\n", 0, first.start) + 1) + 1
    return SqlStatement(sql[first.start : last.end], first.line, column, is_script)
