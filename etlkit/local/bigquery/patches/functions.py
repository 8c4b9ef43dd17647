"""Rewrite statements so that they call our functions, and make these functions in DuckDB."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import sqlglot
from bqemulator.sql import builtin_udfs
from bqemulator.sql.translator import SQLTranslator
from sqlglot import exp
from sqlglot.tokens import TokenType

from etlkit.local.bigquery.patches import (
    array_elements,
    cast_formats,
    casts,
    date_formats,
    date_parts,
    json_values,
    networks,
    numbers,
    text_formats,
    texts,
    top_values,
)
from etlkit.local.bigquery.patches.own_functions import PREFIX, OwnFunctions, Rewrite
from etlkit.local.bigquery.patches.single_connection import SingleConnectionEngine
from etlkit.local.bigquery.patches.table import PATCHES

_QUOTED: Final = frozenset({TokenType.STRING, TokenType.IDENTIFIER})


def _raise(message: str) -> str:
    raise ValueError(message)


class FunctionTable:
    """All of them."""

    def __init__(self, parts: Sequence[OwnFunctions]) -> None:
        self._parts = parts
        self._names = {name: own for part in parts for name, own in part.names.items()}
        called = rf"\b(?:{'|'.join(self._names)})\s*\("
        marks = [called, *(part.marks for part in parts if part.marks)]
        self._marks = re.compile("|".join(marks), re.IGNORECASE)
        self._rewrites: dict[type[exp.Expression], list[Rewrite]] = {}
        for part in parts:
            for kind, rewrite in part.rewrites.items():
                self._rewrites.setdefault(kind, []).append(rewrite)

    def rewritten(self, sql: str) -> str:
        """A statement that calls our functions; it is the same text if it needs none."""
        if self._marks.search(sql) is None:
            return sql
        for part in self._parts:
            if part.tokens is not None:
                sql = part.tokens(sql)
        try:
            sql = self._with_own_names(sql)
            tree = sqlglot.parse_one(sql, read="bigquery")
        except sqlglot.errors.SqlglotError:
            return sql  # the translator says what is wrong with it
        return tree.sql(dialect="bigquery") if self._rewrite(tree) else sql

    def _with_own_names(self, sql: str) -> str:
        tokens = sqlglot.tokenize(sql, read="bigquery")
        for number, (token, following) in reversed(list(enumerate(pairwise(tokens)))):
            own = self._names.get(token.text.upper())
            is_called = following.token_type is TokenType.L_PAREN
            # DuckDB does not know the type of a correlated column in FROM: it could not choose a form.
            is_unnested = number > 1 and tokens[number - 2].token_type is TokenType.UNNEST
            if own and is_called and not is_unnested and token.token_type not in _QUOTED:
                sql = f"{sql[: token.start]}{PREFIX}{own}{sql[token.end + 1 :]}"
        return sql

    def _rewrite(self, tree: Any) -> bool:
        changed = False
        for node in reversed(list(tree.walk())):
            rewrites = self._rewrites.get(type(node), ())
            if not rewrites or _is_kept(node):
                continue
            found = (rewrite(node) for rewrite in rewrites)
            replacement = next((each for each in found if each is not None), None)
            if replacement is not None:
                node.replace(replacement)
                changed = True
        return changed

    def make_functions(self, connection: Any) -> None:
        """Make the functions, for all connections of the database."""
        everything = [("error", _raise, ["VARCHAR"], "VARCHAR")]
        for part in self._parts:
            everything += part.functions
        for name, function, parameters, result in everything:
            nulls = "special" if any(each.endswith("[]") for each in parameters) else "default"
            connection.create_function(
                f"{PREFIX}{name}", function, parameters, result, null_handling=nulls
            )

    def make_macros(self, connection: Any) -> None:
        """Make the macros of one connection: those that have types cannot be stored."""
        macros = (macro for part in self._parts for macro in part.macros)
        made = (f"CREATE OR REPLACE TEMP MACRO {PREFIX}{macro}" for macro in macros)
        connection.execute(";\n".join(made))


def _is_kept(node: Any) -> bool:
    """A default of a column is kept as the user wrote it: DuckDB binds it to the macro for ever."""
    return node.find_ancestor(exp.ColumnConstraint, exp.AlterColumn) is not None


def apply() -> None:
    """Rewrite statements before each translation, and make the functions when DuckDB starts."""
    modules = (
        texts,
        cast_formats,
        casts,
        numbers,
        date_parts,
        date_formats,
        json_values,
        array_elements,
        text_formats,
        networks,
        top_values,
    )
    table = FunctionTable([module.FUNCTIONS for module in modules])
    plain_translate = SQLTranslator.translate
    plain_register = builtin_udfs.register_builtin_udfs

    def translate(translator: SQLTranslator, bq_sql: str, **options: Any) -> Any:
        return plain_translate(translator, table.rewritten(bq_sql), **options)

    def register(connection: Any) -> None:
        plain_register(connection)
        table.make_functions(connection)

    PATCHES.replace("bqemulator.sql.translator:SQLTranslator.translate", translate)
    PATCHES.replace("bqemulator.sql.builtin_udfs:register_builtin_udfs", register)
    SingleConnectionEngine.connects = (table.make_macros,)
