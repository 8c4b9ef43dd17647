"""The ledger: events, and a view of the latest state of each run. See `etlkit.bigquery.runs.ledger`."""

from __future__ import annotations

from collections.abc import Sequence

from etlkit.bigquery.names import TableName
from etlkit.rows.columns import Column, quoted

_JSON = ("variables", "report")

_REPEATED_WITHIN = "INTERVAL 2 DAY"
"""A request that is sent again comes within minutes: only the latest partitions are read."""


def insert_event(events: TableName, names: Sequence[str]) -> str:
    """Add an event whose values are the query parameters of the same names.

    `wide_number_mode`: BigQuery refuses floats that do not come back as the same text.
    """
    values = [
        f"PARSE_JSON(@{name}, wide_number_mode => 'round')" if name in _JSON else f"@{name}"
        for name in names
    ]
    return (
        f"INSERT INTO {events.sql} (event_at, {', '.join(names)})\n"
        f"VALUES (CURRENT_TIMESTAMP(), {', '.join(values)})"
    )


TASK_EVENT = "task_"
"""How the events of tasks begin, e.g. `task_succeeded`: events of the workflow's run, not its end."""


def insert_task_events(events: TableName, common: Sequence[str], own: Sequence[Column]) -> str:
    """Add the ends of tasks that this attempt has not recorded yet.

    Args:
        events: The ledger's events.
        common: Columns with one value for all; query parameters of the same names, `run_id` and
            `owner` among them.
        own: Columns that each task has its own value of: keys of the objects in the JSON array
            `@tasks`, `task` and `event` among them. A task that failed may end again, in another way.
    """
    names = ", ".join(quoted(name) for name in [*common, *(column.name for column in own)])
    values = ", ".join([*(f"@{name}" for name in common), *map(_json_value, own)])
    return (
        f"INSERT INTO {events.sql} (event_at, {names})\n"
        f"SELECT CURRENT_TIMESTAMP(), {values}\n"
        "FROM UNNEST(JSON_QUERY_ARRAY(PARSE_JSON(@tasks, wide_number_mode => 'round'))) AS ended\n"
        "WHERE CONCAT(JSON_VALUE(ended, '$.event'), ' ', JSON_VALUE(ended, '$.task')) NOT IN (\n"
        f"  SELECT CONCAT(event, ' ', task) FROM {events.sql}\n"
        f"  WHERE event_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), {_REPEATED_WITHIN})\n"
        f"    AND run_id = @run_id AND owner = @owner AND STARTS_WITH(event, '{TASK_EVENT}')\n)"
    )


def _json_value(column: Column) -> str:
    path = f"'$.{column.name}'"
    if column.type == "JSON":
        return f"JSON_QUERY(ended, {path})"
    value = f"JSON_VALUE(ended, {path})"
    return value if column.type == "STRING" else f"CAST({value} AS {column.type})"


def workflow_events(events: TableName, names: Sequence[str]) -> str:
    """All that happened to the runs `@run_ids` of workflows, and to the runs of their tasks, in order.

    Args:
        events: The ledger's events. Those from before `@since` are not looked for.
        names: The columns to give; JSON comes as text.
    """
    chosen = ", ".join(
        f"TO_JSON_STRING({name}) AS {name}" if name in _JSON else quoted(name) for name in names
    )
    return (
        f"SELECT {chosen} FROM {events.sql}\n"
        "WHERE event_at >= @since\n"
        "  AND (run_id IN UNNEST(@run_ids) OR parent_run_id IN UNNEST(@run_ids))\n"
        "ORDER BY event_at, attempt, event != 'started', task"
    )


def runs_view(events: TableName) -> str:
    """The latest state of every run. A run that is published stays published."""
    columns = (
        "run_id, job, IF(event = 'started', 'running', event) AS state, mode, target, `read`, "
        "written, skipped, rejected, rows_published, error, attempt, fingerprint, code, revision, "
        "variables, "
        "retry_of, parent_run_id, task, seconds, bytes_billed, cost, report, "
        "owner, host, pid, etlkit_version, started_at, event_at AS updated_at, "
        "IF(event = 'started', NULL, event_at) AS finished_at, "
        "MIN(event_at) OVER (PARTITION BY run_id) AS began_at"
    )
    return (
        f"SELECT {columns}\nFROM {events.sql}\nWHERE NOT STARTS_WITH(event, '{TASK_EVENT}')\n"
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY run_id ORDER BY event = 'published' DESC, "
        "attempt DESC, event != 'started' DESC, event_at DESC) = 1"
    )


def find_runs(
    runs: TableName, names: Sequence[str], where: str, *, latest: int | None = None
) -> str:
    """Runs in the order in which they began, with BigQuery's time as `now`.

    By BigQuery's clock: run ids tell the time of the machine that made them.

    Args:
        runs: The view.
        names: The columns to give; each costs.
        where: A condition over the view's columns and query parameters.
        latest: Give at most this many, the newest first; None = all, the oldest first.
    """
    chosen = ", ".join(
        f"TO_JSON_STRING({name}) AS {name}" if name == "report" else quoted(name) for name in names
    )
    order = "began_at, run_id" if latest is None else "began_at DESC, run_id DESC"
    limit = "" if latest is None else f" LIMIT {int(latest)}"
    return (
        f"SELECT {chosen}, CURRENT_TIMESTAMP() AS now FROM {runs.sql}\nWHERE {where}\n"
        f"ORDER BY {order}{limit}"
    )


def migrate_ledger(old: TableName, events: TableName, names: Sequence[str]) -> str:
    """Copy the rows of the ledger's first form, one mutable row a run, that are not copied yet."""
    chosen = ", ".join(quoted(name) for name in names)
    return (
        f"INSERT INTO {events.sql} (event_at, event, {chosen})\n"
        "SELECT IFNULL(old.finished_at, old.updated_at),\n"
        "  IF(old.state IN ('starting', 'running'), 'started', old.state),\n"
        f"  {', '.join(f'old.{quoted(name)}' for name in names)}\n"
        f"FROM {old.sql} AS old\n"
        f"WHERE old.run_id NOT IN (SELECT run_id FROM {events.sql})"
    )
