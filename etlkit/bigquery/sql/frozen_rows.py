"""The frozen source rows of a run: how they are made, sampled, read again, and what is left of them."""

from __future__ import annotations

from collections.abc import Sequence

from etlkit.api.source import ROW_ID
from etlkit.bigquery.names import TableName
from etlkit.bigquery.sql.expiration import expires
from etlkit.bigquery.sql.shards import SHARD, shard_expression, shards_between
from etlkit.rows.columns import Column, quoted
from etlkit.variables.sql_tokens import one_query


def source_rows(query: str, limit: int | None) -> str:
    """The user's query with an id on every row, behind its temporary functions."""
    functions, select = one_query(query)
    return functions + _with_ids(select, limit)


def _with_ids(select: str, limit: int | None) -> str:
    rows = f"SELECT GENERATE_UUID() AS {ROW_ID}, q.* FROM (\n{select}\n) AS q"
    return rows if limit is None else f"{rows} LIMIT {limit}"


def snapshot(table: TableName, query: str, limit: int | None, *, with_shards: bool = False) -> str:
    """Freeze the source rows. `IF NOT EXISTS`: a repeat must not give new ids to the same rows.

    Args:
        table: Takes them.
        query: The user's.
        limit: Rows at most; None = all.
        with_shards: Whether many workers will read it, each some `SHARD`s.
    """
    functions, select = one_query(query)
    rows, clusters = _with_ids(select, limit), ""
    if with_shards:
        rows = f"SELECT *, {shard_expression(ROW_ID)} AS {SHARD} FROM (\n{rows}\n)"
        clusters = f"CLUSTER BY {SHARD} "
    created = f"CREATE TABLE IF NOT EXISTS {table.sql} {clusters}OPTIONS({expires()})"
    return f"{functions}{created} AS\n{rows}"


def sample(
    table: TableName,
    population: TableName,
    columns: Sequence[Column],
    num_rows: int,
    seed: int,
    *,
    where: str = "",
) -> str:
    """Freeze some of the rows that are frozen already, with their ids.

    Every row has the same chance: TABLESAMPLE would take whole blocks. Which rows they are depends on
    what is in them and on the seed, not on their ids, which are new each time.

    Args:
        table: The sample.
        population: All rows.
        columns: Of them, without the id.
        num_rows: Rows to take, at most.
        seed: Another one gives other rows.
        where: What is true of the rows to choose from, of a table `t`; empty = all of them.
    """
    only = f" WHERE {where}" if where else ""
    values = ", ".join(f"t.{quoted(column.name)}" for column in columns)
    order = f"FARM_FINGERPRINT(CONCAT('{seed:d} ', TO_JSON_STRING(STRUCT({values}))))"
    return (
        f"CREATE TABLE IF NOT EXISTS {table.sql} OPTIONS({expires()}) AS\n"
        f"SELECT t.* FROM {population.sql} AS t{only} ORDER BY {order} LIMIT {num_rows:d}"
    )


def rows_by_id(frozen: TableName) -> str:
    """Frozen rows of the ids `@ids`."""
    return f"SELECT * FROM {frozen.sql} WHERE {ROW_ID} IN UNNEST(@ids)"


def rest(
    table: TableName,
    frozen: TableName,
    finished_ids: str,
    *,
    with_shards: bool = False,
    shards: tuple[int, int] | None = None,
) -> str:
    """The frozen rows that have no outcome yet.

    Args:
        table: Takes them.
        frozen: The frozen rows.
        finished_ids: A SELECT of the ids of rows that have one.
        with_shards: As in `snapshot`.
        shards: Only the rows of the first to the last of these; None = all.
    """
    where = "" if shards is None else f" AND frozen.{shards_between(*shards)}"
    clusters = f"CLUSTER BY {SHARD} " if with_shards else ""
    return (
        f"CREATE OR REPLACE TABLE {table.sql} {clusters}OPTIONS({expires()}) AS\n"
        f"SELECT frozen.* FROM {frozen.sql} AS frozen\n"
        f"LEFT JOIN (\n{finished_ids}\n) AS done ON frozen.{ROW_ID} = done.{ROW_ID}\n"
        f"WHERE done.{ROW_ID} IS NULL{where}"
    )
