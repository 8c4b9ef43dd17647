"""SQL that users write: what is cut out of it, and what is put around it."""

from __future__ import annotations

from collections.abc import Sequence

from etlkit.bigquery.names import is_table
from etlkit.rows.columns import quoted
from etlkit.variables.sql_tokens import is_plain_query, one_query, statements, tokenize


def up_to_end(query: str) -> str:
    """The user's query without what follows it. Positions in it stay."""
    if is_plain_query(query):
        return query.rstrip()
    one_query(query)
    return query[: statements(tokenize(query))[-1][-1].end]


def query_of(table_or_query: str) -> str:
    """The query that reads a table, `dataset.table` or with its project; a query as it is."""
    name = table_or_query.strip().replace("`", "")
    return f"SELECT * FROM `{name}`" if is_table(name) else table_or_query


def sample_of(table_or_query: str, num_rows: int, seed: int) -> str:
    """Some rows of a table or query; which ones depends on what is in them, and on the seed."""
    functions, select = one_query(query_of(table_or_query))
    order = f"FARM_FINGERPRINT(CONCAT('{seed:d} ', TO_JSON_STRING(q)))"
    return f"{functions}SELECT q.* FROM (\n{select}\n) AS q ORDER BY {order} LIMIT {num_rows:d}"


def named_columns(query: str, names: Sequence[str]) -> str:
    """A query that is valid only if columns with these names can be written in SQL."""
    functions, select = one_query(query)
    chosen = ", ".join(f"q.{quoted(name)}" for name in names)
    return f"{functions}SELECT {chosen} FROM (\n{select}\n) AS q"


def user_dml(text: str) -> list[str]:
    """The statements of the user's DML, without semicolons and comments behind them."""
    return [text[part[0].start : part[-1].end] for part in statements(tokenize(text))]
