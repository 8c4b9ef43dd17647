"""The tables that a text of GoogleSQL reads and writes. Nothing is sent to BigQuery.

Heads of statements are read by their tokens, because BigQuery has more of them than any parser knows;
queries, and what follows the head of a DML statement, are parsed by sqlglot. Models, functions and
procedures count as tables. Names of one part are left out: temporary tables, and what WITH defines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from etlkit.errors import ConfigError
from etlkit.variables.sql_tokens import Token, tokenize
from etlkit.workflow.script_statements import first_word, script_statements
from etlkit.workflow.task_kind import Tables

_VARIABLE = re.compile(r"\$([^\W\d]\w*)\$")
_MARK = re.compile(r"etlkit_variable_(\w+?)_end")
_NAME_LIKE = re.compile(r"[\w.-]+")
_PATH = re.compile(r"(?:`[^`]+`|[\w-]+)(?:\s*\.\s*(?:`[^`]+`|[\w-]+))*")
_FULL_NAME = re.compile(r"(?:(.+)\.)?([^.]+)\.([^.]+)")

_QUERY_WORDS = frozenset({"SELECT", "WITH", "FROM", "("})
_NAMES = frozenset({"VAR", "IDENTIFIER"})
"""Kinds of tokens that a name is made of."""

_DML_WORDS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
_BUILT_IN = frozenset({"AEAD", "AI", "BQ", "HLL_COUNT", "KEYS", "KLL_QUANTILES", "ML", "NET"})
"""What stands before the dot of functions that BigQuery has itself."""


def sql_tables(
    sql: str, values: Mapping[str, Any] | None = None, *, queries: bool = True
) -> Tables:
    """Find the tables that statements or a script read and write.

    Args:
        sql: GoogleSQL with `$name$` for variables.
        values: Values of variables by bare name. A variable without one stays in the names, as
            `$name$`: it stands for any text.
        queries: Whether to parse queries, which is most of the work; without, what they read is
            missing.

    Returns:
        The tables. What cannot be read is in `unclear`, a sentence each.
    """
    text = _with_values(sql, values or {})
    finder = _Finder(text, queries=queries)
    try:
        for statement in script_statements(tokenize(text)):
            finder.read(statement)
    except ConfigError as error:
        finder.unclear.append(str(error))
    return Tables(
        frozenset(map(_unmarked, finder.reads)),
        frozenset(map(_unmarked, finder.writes)),
        tuple(map(_unmarked, finder.unclear)),
    )


def mentioned_names(sql: str, values: Mapping[str, Any]) -> frozenset[str]:
    """All names with a dot in a text, of tables and of columns; those in literals are left out.

    This is much faster than `sql_tables`, and enough to know of a table that it is not named.

    Args:
        sql: As in `sql_tables`.
        values: As there.
    """
    text = _with_values(sql, values)
    try:
        tokens = tokenize(text)
    except ConfigError:
        return frozenset()
    kept, position = [], 0
    for token in tokens:
        is_text = token.text[-1] in "'\""
        kept += [" " * (token.start - position), " " * len(token.text) if is_text else token.text]
        position = token.end
    names = (re.sub(r"[`\s]", "", found[0]) for found in _PATH.finditer("".join(kept)))
    return frozenset(_unmarked(name) for name in names if "." in name)


def name_with_values(name: str, values: Mapping[str, Any]) -> str:
    """The name of a table, its variables replaced by their values as far as they are given."""
    return _unmarked(_with_values(name.replace("`", ""), values))


def _with_values(text: str, values: Mapping[str, Any]) -> str:
    """Put values in, and for a variable without one a word that is valid everywhere in SQL."""

    def value(found: re.Match[str]) -> str:
        given = str(values.get(found[1], ""))
        return given if _NAME_LIKE.fullmatch(given) else f"etlkit_variable_{found[1]}_end"

    return _VARIABLE.sub(value, text)


def _unmarked(text: str) -> str:
    return _MARK.sub(r"$\1$", text)


class _Finder:
    """Collects the tables of one text."""

    def __init__(self, text: str, *, queries: bool) -> None:
        self._text = text
        self._reads_queries = queries
        self._dataset = ""
        self.reads: set[str] = set()
        self.writes: set[str] = set()
        self.unclear: list[str] = []

    def read(self, part: list[Token]) -> None:
        """Find the tables of one statement."""
        word = first_word(part)
        if word in _QUERY_WORDS:
            self._parse(part)
        elif word in _DML_WORDS:
            target = self._written(part, after={word, "INTO", "FROM"})
            self._parse(part, target)
        elif word in {"CREATE", "DROP", "UNDROP", "ALTER", "TRUNCATE"}:
            self._definition(part)
        elif word == "LOAD":
            self._written(part, after={"LOAD", "DATA", "INTO", "OVERWRITE"})
        elif word == "EXPORT" and part[1:2] and part[1].word == "MODEL":
            self._keep(self.reads, self._path(part, 2))
        elif word == "EXECUTE":
            self._dynamic(part)
        else:
            self._other(part)

    def _other(self, part: list[Token]) -> None:
        """EXPORT DATA, SET, DECLARE, ASSERT, CALL, conditions: what they read is in their queries."""
        if first_word(part) == "CALL":
            procedure = self._path(part, 1)
            if not _is_built_in(procedure):
                self._keep(self.reads, procedure)
                self.unclear.append(
                    f"line {part[0].line}: what the procedure {procedure} reads and writes is not "
                    "in the SQL"
                )
        words = [token.word for token in part]
        if first_word(part) == "SET" and words[1:4] == ["@", "@", "DATASET_ID"]:
            self._dataset = part[-1].text.strip("'\"")
        self._queries(part)

    def _dynamic(self, part: list[Token]) -> None:
        """EXECUTE IMMEDIATE: its SQL is known if it is one literal."""
        literal = part[min(2, len(part) - 1)]
        alone = all(token.word in {"INTO", "USING"} for token in part[3:4])
        if literal.kind != "STRING" or not alone:
            self.unclear.append(
                f"line {literal.line}: EXECUTE IMMEDIATE makes its SQL while it runs"
            )
            return
        inner = sql_tables(literal.text.strip("'\""))
        self.reads |= inner.reads
        self.writes |= inner.writes
        self.unclear += inner.unclear

    def _definition(self, part: list[Token]) -> None:
        """CREATE, DROP, ALTER and TRUNCATE."""
        words = [token.word for token in part]
        kinds = {"TABLE", "VIEW", "MODEL", "FUNCTION", "PROCEDURE", "INDEX", "POLICY", "SCHEMA"}
        at = next((n for n, word in enumerate(words) if word in kinds), None)
        if at is None or words[at] == "SCHEMA":
            return
        if words[at : at + 2] == ["TABLE", "FUNCTION"]:
            at += 1
        first = at + 1
        while words[first : first + 1] and words[first] in {"IF", "NOT", "EXISTS"}:
            first += 1
        end_of_name = self._end(part, first)
        end = next((n for n, token in enumerate(part) if token.start >= end_of_name), len(part))
        if words[at] in {"INDEX", "POLICY"}:
            if "ON" in words:
                self._keep(self.reads, self._path(part, words.index("ON") + 1))
            return
        self._keep(self.writes, self._path(part, first))
        if words[0] == "ALTER" and words[end : end + 2] == ["RENAME", "TO"]:
            dataset = self._path(part, first).rpartition(".")[0]
            self._keep(self.writes, f"{dataset}.{self._path(part, end + 2)}")
        if words[0] == "CREATE":
            self._body(part[end:])

    def _body(self, part: list[Token]) -> None:
        """What stands behind the name in a CREATE."""
        depth = 0
        for number, token in enumerate(part):
            depth += {"L_PAREN": 1, "R_PAREN": -1}.get(token.kind, 0)
            following = part[number + 1 :]
            if depth or not following:
                continue
            is_replica = token.word == "OF" and part[number - 1].word == "REPLICA"
            if is_replica or token.word in {"CLONE", "COPY", "LIKE"}:
                self._keep(self.reads, self._path(part, number + 1))
            elif token.word == "AS" and following[0].word in {"SELECT", "WITH", "FROM"}:
                self._parse(following)
                return
        self._queries(part)

    def _queries(self, part: list[Token]) -> None:
        """Parse each query in parentheses, and the one behind AS in an EXPORT."""
        position = 0
        while position < len(part) - 1:
            token, following = part[position], part[position + 1]
            is_query = following.word in {"SELECT", "WITH", "FROM"}
            if token.kind == "L_PAREN" and is_query:
                end = _closing(part, position)
                self._parse(part[position + 1 : end])
                position = end
            elif token.word == "AS" and is_query:
                self._parse(part[position + 1 :])
                return
            position += 1

    def _written(self, part: list[Token], *, after: set[str]) -> int:
        """Keep the target of a statement: the first name behind these words; return its position."""
        first = next((n for n, token in enumerate(part) if token.word not in after), len(part))
        self._keep(self.writes, self._path(part, first))
        return first

    def _path(self, part: list[Token], position: int) -> str:
        """The name that begins at a token; empty = there is none."""
        if position >= len(part):
            return ""
        found = _PATH.match(self._text, part[position].start)
        return re.sub(r"[`\s]", "", found[0]) if found else ""

    def _end(self, part: list[Token], position: int) -> int:
        """Where that name ends in the text."""
        if position >= len(part):
            return part[-1].end
        found = _PATH.match(self._text, part[position].start)
        return found.end() if found else part[position].start

    def _keep(self, tables: set[str], name: str) -> None:
        if self._dataset and name and "." not in name:
            name = f"{self._dataset}.{name}"
        if (full := _full_name(name)) is not None:
            tables.add(full)

    def _parse(self, part: list[Token], target: int | None = None) -> None:
        """Find the tables of a query, or what a DML statement reads beside its target."""
        if not self._reads_queries:
            return
        sql = self._for_parser(part, target)
        try:
            names = list(_names(_parser().parse(sql)))
        except Exception:  # of a wrong text sqlglot may also make a tree that cannot be walked
            self.unclear.append(f"line {part[0].line}: a part of the SQL cannot be parsed")
            return
        for name in names:
            self._keep(self.reads, name)

    def _for_parser(self, part: list[Token], target: int | None) -> str:
        """The SQL in a form that sqlglot parses and in which each table is one that is read.

        `MODEL d.m` and `TABLE d.t` in a call are kept here, and become NULL. The target of a DML
        statement loses its dataset. A keyword in a path, as in `d.out`, is put into backticks.
        """
        edits: list[tuple[int, int, str]] = []
        calls: list[bool] = []
        for number, token in enumerate(part):
            before = part[number - 1].kind if number else ""
            if token.kind == "L_PAREN":
                calls.append(before in _NAMES)
            elif token.kind == "R_PAREN" and calls:
                calls.pop()
            elif number == target:
                name = self._path(part, number).rpartition(".")[2]
                edits.append((token.start, self._end(part, number), f"`{name}`"))
            elif before == "DOT" and token.kind not in _NAMES and token.text.isidentifier():
                edits.append((token.start, token.end, f"`{token.text}`"))
            elif self._is_argument(part, number) and any(calls[-1:]):
                self._keep(self.reads, self._path(part, number + 1))
                edits.append((token.start, self._end(part, number + 1), "NULL"))
        return _edited(self._text, part, edits)

    def _is_argument(self, part: list[Token], number: int) -> bool:
        """Whether `MODEL name` or `TABLE name` begins there."""
        around = part[max(number - 1, 0) : number + 2]
        return (
            len(around) == 3
            and around[0].kind in {"L_PAREN", "COMMA", "FARROW"}
            and around[1].word in {"MODEL", "TABLE"}
            and around[2].kind in _NAMES
        )


def _edited(text: str, part: list[Token], edits: list[tuple[int, int, str]]) -> str:
    """The text of a statement with some places replaced; a place inside of another one is left out."""
    pieces, position = [], part[0].start
    for start, end, new in edits:
        if start >= position:
            pieces += [text[position:start], new]
            position = end
    return "".join([*pieces, text[position : part[-1].end]])


def _closing(part: list[Token], opening: int) -> int:
    depth = 0
    for position in range(opening, len(part)):
        depth += {"L_PAREN": 1, "R_PAREN": -1}.get(part[position].kind, 0)
        if depth == 0:
            return position
    return len(part)


def _full_name(name: str) -> str | None:
    """`dataset.table` or `project.dataset.table`; None = no table whose writer is a task."""
    found = _FULL_NAME.fullmatch(name.partition("$")[0])
    if found is None or "INFORMATION_SCHEMA" in name.upper():
        return None
    project, dataset, table = found.groups()
    if dataset.upper() == "_SESSION" or table == "__TABLES__":
        return None
    return ".".join(filter(None, (project, dataset, table)))


@cache
def _parser() -> Any:
    """The GoogleSQL of sqlglot, which raises where it would only warn and give the text back."""
    from sqlglot.dialects import BigQuery
    from sqlglot.errors import ParseError

    class Parser(BigQuery.Parser):  # type: ignore[misc]
        def _warn_unsupported(self) -> None:
            raise ParseError("sqlglot does not know this statement")

    return type("GoogleSql", (BigQuery,), {"Parser": Parser})()


def _names(trees: list[Any]) -> Iterator[str]:
    """The tables and functions that a parsed statement names."""
    from sqlglot import exp

    (tree,) = trees

    for table in tree.find_all(exp.Table):
        name = ".".join([part.name for part in table.parts][:3])  # a fourth one is an array
        is_function = not isinstance(table.this, exp.Identifier)
        if not _is_array(table) and not (is_function and _is_built_in(name)):
            yield name
    for function in tree.find_all(exp.Anonymous):
        name, path = function.name, function.parent
        if isinstance(path, exp.Dot) and path.expression is function:
            name = f"{path.this.sql(dialect='bigquery')}.{name}".replace("`", "")
        name = name[len("safe.") :] if name.lower().startswith("safe.") else name
        if not _is_built_in(name):
            yield name


def _is_built_in(function: str) -> bool:
    return function.partition(".")[0].upper() in _BUILT_IN


def _is_array(table: Any) -> bool:
    """Whether `a.b` is the array `b` of a table that is called `a` there, and no table itself."""
    from sqlglot import exp

    first = (table.catalog or table.db).lower()
    node, is_visible = table, bool(first)
    while node.parent is not None:
        child, node = node, node.parent
        if isinstance(node, exp.Select) and is_visible and first in _aliases(node, until=table):
            return True
        if isinstance(node, exp.Select):
            is_visible = bool(first)
        elif isinstance(node, exp.CTE) or (
            isinstance(node, (exp.From, exp.Join)) and child is node.this and child is not table
        ):
            is_visible = False  # a query of WITH or FROM does not see what is beside it
    return False


def _aliases(select: Any, until: Any) -> Iterator[str]:
    """What the tables of a FROM are called in lower case, up to a table."""
    clause = select.args.get("from_") or select.args.get("from")
    sources = [clause.this] if clause is not None else []
    sources += [join.this for join in select.args.get("joins") or ()]
    for source in sources:
        if source is until:
            return
        yield source.alias_or_name.lower()
