"""`CREATE TABLE t (columns) … AS query`: a table with declared columns and the rows of a query.

Real BigQuery: the declared columns have the names, types, modes and descriptions of the list, in the
order of the columns of the query. DuckDB has no such statement. So the table is created empty, and then
filled. The query is tried first: if it fails, nothing has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp
from sqlglot.tokens import TokenType

STATEMENT_TYPE = "CREATE_TABLE_AS_SELECT"


@dataclass(frozen=True)
class Parts:
    """The statement in parts that run one after the other.

    Attributes:
        query: It alone.
        create: The statement without its query.
        insert: The rows of the query into the table.
        name: The table as the statement names it.
        num_columns: Columns that are declared.
        keeps: Whether an existing table is kept (`IF NOT EXISTS`).
    """

    query: str
    create: str
    insert: str
    name: exp.Table
    num_columns: int
    keeps: bool

    def check(self, rows: Any) -> None:
        """Compare with the result of the query.

        Raises:
            InvalidQueryError: It has another number of columns.
        """
        if rows.num_columns != self.num_columns:
            raise InvalidQueryError(
                "The number of columns in the column definition list does not match the number of "
                "columns produced by the query",
                location="query",
            )


def parts(sql: str, tree: Any) -> Parts | None:
    """The parts of such a statement; None = it is another one.

    Args:
        sql: Its text.
        tree: The text, parsed.
    """
    if not isinstance(tree, exp.Create) or tree.kind != "TABLE" or tree.expression is None:
        return None
    schema = tree.this
    if not isinstance(schema, exp.Schema) or not isinstance(schema.this, exp.Table):
        return None
    columns = [each for each in schema.expressions if isinstance(each, exp.ColumnDef)]
    begin = _query_begin(sql)
    if not columns or begin is None:
        return None
    query = sql[begin[1] :].rstrip().removesuffix(";")
    names = ", ".join(f"`{column.name}`" for column in columns)
    insert = f"INSERT INTO {schema.this.sql(dialect='bigquery')} ({names}) {query}"
    keeps = bool(tree.args.get("exists"))
    return Parts(query, sql[: begin[0]], insert, schema.this, len(columns), keeps)


def _query_begin(sql: str) -> tuple[int, int] | None:
    """Where the AS before the query begins and ends: the first one that is not in parentheses."""
    depth = 0
    for token in sqlglot.tokenize(sql, read="bigquery"):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if depth == 0 and token.text.upper() == "AS":
            return token.start, token.end + 1
    return None
