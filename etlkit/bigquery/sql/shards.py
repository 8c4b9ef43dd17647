"""Shards: the parts of a run's frozen rows that its workers share."""

from __future__ import annotations

from etlkit.api.source import ROW_ID
from etlkit.bigquery.names import TableName

SHARD = "_etlkit_shard"
"""INT64, in the frozen rows of a run that many workers share: a number from 0 to `NUM_SHARDS` - 1."""

NUM_SHARDS = 4096
"""Parts of the frozen rows, by their ids: each worker takes some, then others."""

_SHARD_DIGITS = 3


def shard_of(row_id: str) -> int:
    """The shard of a row: ids are random, so three hexadecimal digits spread them evenly."""
    return int(row_id[:_SHARD_DIGITS], 16)


def shard_expression(row_id: str) -> str:
    """`shard_of` in SQL, for a column of row ids."""
    return f"CAST(CONCAT('0x', SUBSTR({row_id}, 1, {_SHARD_DIGITS})) AS INT64)"


def shards_between(first: int, last: int) -> str:
    """A filter on the rows of neighbouring shards, as the Storage Read API takes it, too."""
    return f"{SHARD} BETWEEN {int(first)} AND {int(last)}"


def unsettled_shards(frozen: TableName, finished_ids: str | None) -> str:
    """The shards with rows that have no outcome yet, as `shard` and the number of these rows, `n`.

    Args:
        frozen: The frozen rows.
        finished_ids: A SELECT of the ids of rows that have one; None = none has.
    """
    where = f"WHERE {ROW_ID} NOT IN (\n{finished_ids}\n)\n" if finished_ids else ""
    return (
        f"SELECT {SHARD} AS shard, COUNT(*) AS n FROM {frozen.sql}\n{where}"
        "GROUP BY shard ORDER BY shard"
    )
