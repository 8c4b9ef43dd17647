"""The ledger of a work dataset: events of runs, only ever added, and a view `runs` of their state.

Many runs share the ledger, so nothing in it is changed: BigQuery lets INSERTs run side by side, while
UPDATEs of one table conflict. See https://cloud.google.com/bigquery/docs/data-manipulation-language
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from etlkit._version import __version__
from etlkit.bigquery import sql
from etlkit.bigquery.names import TableName
from etlkit.bigquery.schema_fields import to_schema_fields
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.cloud import bigquery

    from etlkit.bigquery.client import Connection

log = logging.getLogger("etlkit.bigquery")

RUNS = "runs"
"""The view that people query: one row a run."""

EVENTS = "run_events"
"""The table below it: one row an event, partitioned by day, clustered by job."""

MAX_ERROR_CHARS = 2_000
MAX_VARIABLES_CHARS = 100_000
"""A row of the ledger is for people; 60,000 ids as a query parameter are not."""

_RUN_COLUMNS = (
    Column("run_id", "STRING", description="Sorts by start time"),
    Column("job", "STRING", description="Name of the job"),
    Column("mode", "STRING", description="How the sink publishes"),
    Column("target", "STRING", description="project.dataset.table"),
    Column("read", "INT64", description="Source rows read"),
    Column("written", "INT64", description="Source rows that became target rows"),
    Column("skipped", "INT64", description="Source rows left out"),
    Column("rejected", "INT64", description="Source rows rejected with their error"),
    Column("rows_published", "INT64", description="Target rows, counted after fan-out"),
    Column("error", "STRING", description="Why it failed; null = it did not"),
    Column("attempt", "INT64", description="1, and one more at every resume"),
    Column("fingerprint", "STRING", description="Of code and query"),
    Column("variables", "JSON", description="Query parameters, variables, files"),
    Column("retry_of", "STRING", description="The run whose rejected rows this one retries"),
    Column("owner", "STRING", description="Token of the attempt"),
    Column("host", "STRING", description="Where the attempt ran"),
    Column("pid", "INT64", description="Its process"),
    Column("etlkit_version", "STRING"),
    Column("started_at", "TIMESTAMP", description="When the run was asked for, by its own clock"),
)

EVENT_COLUMNS = (
    Column("event_at", "TIMESTAMP", description="By BigQuery's clock"),
    Column("event", "STRING", description="started, published, failed, interrupted"),
    *_RUN_COLUMNS,
)

VIEW_COLUMNS = (
    "state",
    "began_at",
    "updated_at",
    "finished_at",
    *(column.name for column in _RUN_COLUMNS),
)

_COUNTS = ("read", "written", "skipped", "rejected", "rows_published")


class Ledger:
    """The ledger of one work dataset.

    Args:
        connection: To read and write with.
        dataset: Project and dataset of the work tables.

    Attributes:
        runs: The view.
        events: The table.
    """

    def __init__(self, connection: Connection, dataset: tuple[str, str]) -> None:
        self._connection = connection
        self._dataset = dataset
        self.runs = TableName(*dataset, RUNS)
        self.events = TableName(*dataset, EVENTS)

    def make(self) -> None:
        """Create what is missing, and bring an earlier form up to date. Usually three requests."""
        from google.cloud import bigquery

        self._connection.make_dataset(self.events.dataset_id)
        fields = to_schema_fields(EVENT_COLUMNS)
        wanted = bigquery.Table(str(self.events), schema=fields)
        wanted.description = "etlkit: what happened to each run; see the view runs"
        wanted.time_partitioning = bigquery.TimePartitioning(field="event_at")
        wanted.clustering_fields = ["job", "run_id"]
        table = self._connection.make_table(wanted)
        if table.expires is not None:
            self._keep(table)
        there = {field.name for field in table.schema}
        if missing := [field for field in fields if field.name not in there]:
            table.schema = [*table.schema, *missing]
            self._connection.update(table, ["schema"])
        self._make_view()

    def _keep(self, table: bigquery.Table) -> None:
        """Take away the expiration that the dataset's default gave the ledger."""
        from google.api_core.exceptions import GoogleAPIError

        table.expires = None
        try:
            self._connection.update(table, ["expires"])
        except GoogleAPIError as error:  # a sandbox insists on it
            log.warning(
                "the ledger %s will be deleted at the default expiration of its dataset: %s",
                self.events,
                error,
            )

    def _make_view(self) -> None:
        from google.cloud import bigquery

        view = bigquery.Table(str(self.runs))
        view.view_query = sql.runs_view(self.events)
        view.description = "etlkit: one row per run, its latest state"
        found = self._connection.make_table(view)
        if found.table_type == "TABLE":
            self._migrate(found)
            self._connection.make_table(view)
        elif found.view_query != view.view_query:
            found.view_query = view.view_query
            self._connection.update(found, ["view_query"])

    def _migrate(self, old: Any) -> None:
        """Copy a ledger of the first form, one mutable row a run, and make room for the view.

        Killed at any point, it is done again: rows that are copied are left out.
        """
        there = {field.name for field in old.schema}
        names = [column.name for column in _RUN_COLUMNS if column.name in there]
        text = sql.migrate_ledger(self.runs, self.events, names)
        self._connection.query(text, "ledger_migrate")
        self._connection.drop_work_table(self.runs)
        log.info("the ledger %s was brought into its new form", self.runs)

    def find(self, where: str, value: str) -> list[dict[str, Any]]:
        """Runs in the order in which they began, with BigQuery's time as `now`.

        Args:
            where: A condition over the view's columns and `@value`.
            value: Its value.
        """
        return self._connection.select(
            sql.find_runs(self.runs, where), [_parameter("value", "STRING", value)]
        )

    def latest(self, limit: int) -> list[dict[str, Any]]:
        """The latest runs, newest first, with BigQuery's time as `now`."""
        return self._connection.select(sql.latest_runs(self.runs, limit))

    def is_made(self) -> bool:
        """Whether the ledger is there, in its present form."""
        found = self._connection.find_table(self.runs)
        return found is not None and found.table_type != "TABLE"

    def event(self, event: str, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """An INSERT of one event, and its query parameters.

        Args:
            event: `started`, `published`, `failed` or `interrupted`.
            values: Values of the table's other columns; None = null.
        """
        kinds = {column.name: column.type for column in EVENT_COLUMNS}
        given = {"event": event, "etlkit_version": __version__, **values}
        given["variables"] = _to_json_text(values.get("variables") or {})
        if given.get("error"):
            given["error"] = str(given["error"])[:MAX_ERROR_CHARS]
        parameters = [
            _parameter(name, "STRING" if kinds[name] == "JSON" else kinds[name], value)
            for name, value in given.items()
        ]
        return sql.insert_event(self.events, list(given)), parameters


def counts_of_row(row: Mapping[str, Any]) -> dict[str, int]:
    """A run's counts in the view; null = 0."""
    return {name: row[name] or 0 for name in _COUNTS}


def _to_json_text(values: Mapping[str, Any]) -> str:
    """JSON that BigQuery parses; too much of it is left out."""
    text = json.dumps(_finite(values), ensure_ascii=False, default=str)
    if len(text) > MAX_VARIABLES_CHARS:
        text = json.dumps({"truncated": text[:MAX_VARIABLES_CHARS]}, ensure_ascii=False)
    return text


def _finite(value: Any) -> Any:
    """NaN and infinity as text: JSON has neither."""
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _parameter(name: str, kind: str, value: Any) -> Any:
    from google.cloud import bigquery

    return bigquery.ScalarQueryParameter(name, kind, value)
