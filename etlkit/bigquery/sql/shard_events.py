"""The events of a run's shards: who works on which. See `etlkit.bigquery.shards.shard_log`."""

from __future__ import annotations

from etlkit.bigquery.names import TableName
from etlkit.rows.columns import Column

SHARD_EVENT_COLUMNS = (
    Column("event_at", "TIMESTAMP", description="By BigQuery's clock"),
    Column("number", "INT64", description="Order of the events that one worker told together"),
    Column("attempt", "INT64", description="Attempt at the run; earlier ones' events are history"),
    Column(
        "kind", "STRING", description="opened, joined, claimed, released, settled, left, lost, …"
    ),
    Column("worker", "STRING", description="Id of the worker; empty = the run itself"),
    Column("first", "INT64", description="The first shard"),
    Column("last", "INT64", description="The last shard"),
    Column("generation", "INT64", description="How often the shards were worked on"),
    Column("source", "STRING", description="The table they are read from"),
    Column("fraction", "FLOAT64", description="Of share: the part of every rate it may use"),
    Column("calls", "INT64", description="Of budget: calls that it may make in all"),
    Column("cost", "FLOAT64", description="Of budget: what they may cost"),
    Column(
        "rows",
        "INT64",
        description="Of opened: rows without an outcome. Of settled: rows that got theirs",
    ),
    Column("service", "STRING", description="Of down and up: which one it is"),
    Column("host", "STRING", description="Of joined: where the worker runs"),
)


def insert_shard_events(table: TableName) -> str:
    """Add events, a JSON array of objects in `@events`; their keys are columns' names."""
    own = SHARD_EVENT_COLUMNS[1:]
    names = ", ".join(f"`{column.name}`" for column in own)
    values = ", ".join(
        f"JSON_VALUE(told, '$.{c.name}')"
        if c.type == "STRING"
        else f"CAST(JSON_VALUE(told, '$.{c.name}') AS {c.type})"
        for c in own
    )
    return (
        f"INSERT INTO {table.sql} (event_at, {names})\nSELECT CURRENT_TIMESTAMP(), {values}\n"
        "FROM UNNEST(JSON_QUERY_ARRAY(PARSE_JSON(@events))) AS told"
    )


def shard_events(table: TableName, *, every_attempt: bool) -> str:
    """Events, the oldest first, with BigQuery's time as `now`, and the `highest` generation of all.

    Args:
        table: Where they are.
        every_attempt: Whether those of all attempts are wanted, and not those of the latest only: a run
            that is resumed often has many.
    """
    names = ", ".join(f"`{column.name}`" for column in SHARD_EVENT_COLUMNS)
    latest = "" if every_attempt else "WHERE TRUE QUALIFY attempt = MAX(attempt) OVER ()\n"
    return (
        f"SELECT {names}, CURRENT_TIMESTAMP() AS now, MAX(generation) OVER () AS highest\n"
        f"FROM {table.sql}\n{latest}ORDER BY event_at, worker, number"
    )
