"""The ledger of a work dataset: events of runs, only ever added, and a view `runs` of their state.

Many runs share the ledger, so nothing in it is changed: BigQuery lets INSERTs run side by side, while
UPDATEs of one table conflict. See https://cloud.google.com/bigquery/docs/data-manipulation-language
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from etlkit._version import __version__
from etlkit.api.outcomes import Counts
from etlkit.bigquery.names import TableName
from etlkit.bigquery.schema_fields import to_schema_fields
from etlkit.bigquery.sql import ledger as ledger_sql
from etlkit.errors import RunStateError
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from google.cloud import bigquery

    from etlkit.bigquery.client import Connection

log: logging.Logger = logging.getLogger("etlkit.bigquery")

RUNS = "runs"
"""The view that people query: one row a run."""

EVENTS = "run_events"
"""The table below it: one row an event, partitioned by day, clustered by job."""

WORKFLOW = "workflow"
"""The `mode` of the runs of workflows."""

_MAX_CHANGES = 5
"""Tries to add columns, each lost to another process that changed the table at the same time."""

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
    Column("code", "STRING", description="JSON text: what the fingerprint is made of"),
    Column("revision", "STRING", description="Commit of the code; null = not known"),
    Column("variables", "JSON", description="Query parameters, variables, files"),
    Column("retry_of", "STRING", description="The run whose rejected rows this one retries"),
    Column("parent_run_id", "STRING", description="The workflow's run whose task this run is"),
    Column("task", "STRING", description="Path of the task within its workflow: load/2024-01-02"),
    Column("seconds", "FLOAT64", description="Duration of the attempt or of the task"),
    Column("bytes_billed", "INT64", description="By BigQuery; null = not known"),
    Column("cost", "FLOAT64", description="Of calls and bytes, in USD; null = not known"),
    Column("report", "JSON", description="The report of the run or of the task"),
    Column("value", "STRING", description="JSON text: what other tasks can read of a task"),
    Column("owner", "STRING", description="Token of the attempt"),
    Column("host", "STRING", description="Where the attempt ran"),
    Column("pid", "INT64", description="Its process"),
    Column("etlkit_version", "STRING"),
    Column("started_at", "TIMESTAMP", description="When the run was asked for, by its own clock"),
)

EVENT_COLUMNS = (
    Column("event_at", "TIMESTAMP", description="By BigQuery's clock"),
    Column(
        "event",
        "STRING",
        description="started, published, failed, interrupted; task_… tells of a workflow's task",
    ),
    *_RUN_COLUMNS,
)

VIEW_COLUMNS = (
    "state",
    "began_at",
    "updated_at",
    "finished_at",
    *(column.name for column in _RUN_COLUMNS if column.name != "value"),
)

ON_REQUEST = ("report", "code")
"""Columns that are given only to those who ask for them: they are most of the ledger's bytes."""

TASK_COLUMNS = tuple(
    column
    for column in EVENT_COLUMNS
    if column.name
    in {
        "event",
        "task",
        "target",
        "read",
        "written",
        "skipped",
        "rejected",
        "rows_published",
        "error",
        "seconds",
        "bytes_billed",
        "cost",
        "report",
        "value",
    }
)
"""What each task of a workflow has its own value of; the rest is the workflow's."""

_TOLD = [column.name for column in EVENT_COLUMNS if column.name not in {"variables", "code"}]

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
        self._names: Sequence[str] = VIEW_COLUMNS
        self.runs: TableName = TableName(*dataset, RUNS)
        self.events: TableName = TableName(*dataset, EVENTS)

    def no_run(self, run_id: str) -> RunStateError:
        """What to raise where somebody has asked for a run that is not there."""
        return RunStateError(
            f"there is no run {run_id} in {self.runs}. To list the runs: etlkit runs, with the same "
            "--local or --project"
        )

    def make(self) -> None:
        """Create what is missing, and bring an earlier form up to date. Usually two requests."""
        from google.cloud import bigquery

        self._connection.make_dataset(self.events.dataset_id)
        fields = to_schema_fields(EVENT_COLUMNS)
        wanted = bigquery.Table(str(self.events), schema=fields)
        wanted.description = "etlkit: what happened to each run; see the view runs"
        wanted.time_partitioning = bigquery.TimePartitioning(field="event_at")
        wanted.clustering_fields = ["job", "run_id"]
        table = self._connection.find_or_make_table(wanted)
        if table.expires is not None:
            self._keep(table)
        self._add_columns(table, fields)
        self._make_view()

    def _add_columns(self, table: bigquery.Table, fields: Sequence[bigquery.SchemaField]) -> None:
        from google.api_core.exceptions import PreconditionFailed

        for number in range(1, _MAX_CHANGES + 1):
            there = {field.name for field in table.schema}
            missing = [field for field in fields if field.name not in there]
            if not missing:
                return
            table.schema = [*table.schema, *missing]
            try:
                self._connection.update(table, ["schema"])
            except PreconditionFailed:  # another run of this version has just done it
                if number == _MAX_CHANGES:
                    raise
                table = self._connection.find_table(self.events) or table

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
        from google.api_core.exceptions import PreconditionFailed
        from google.cloud import bigquery

        view = bigquery.Table(str(self.runs))
        view.view_query = ledger_sql.runs_view(self.events)
        view.description = "etlkit: one row per run, its latest state"
        found = self._connection.find_or_make_table(view)
        if found.table_type == "TABLE":
            self._migrate(found)
            self._connection.make_table(view)
        elif found.view_query != view.view_query:
            found.view_query = view.view_query
            with suppress(PreconditionFailed):  # another run of this version has just done it
                self._connection.update(found, ["view_query"])

    def _migrate(self, old: Any) -> None:
        """Copy a ledger of the first form, one mutable row a run, and make room for the view.

        Killed at any point, it is done again: rows that are copied are left out.
        """
        there = {field.name for field in old.schema}
        names = [column.name for column in _RUN_COLUMNS if column.name in there]
        text = ledger_sql.migrate_ledger(self.runs, self.events, names)
        self._connection.query(text, "ledger_migrate")
        self._connection.drop_work_table(self.runs)
        log.info("the ledger %s was brought into its new form", self.runs)

    def find(
        self,
        where: str,
        value: Any = None,
        *,
        latest: int | None = None,
        reports: bool = False,
        code: bool = False,
    ) -> list[dict[str, Any]]:
        """Runs in the order in which they began, with BigQuery's time as `now`.

        Args:
            where: A condition over the view's columns and `@value`.
            value: Its value, a text or a list of texts; None = none is needed.
            latest: Give at most this many, the newest first; None = all, the oldest first.
            reports: Whether to give reports too, as JSON text.
            code: Whether to give what fingerprints are made of.
        """
        left_out = {
            name for name, given in zip(ON_REQUEST, (reports, code), strict=True) if not given
        }
        names = [name for name in self._names if name not in left_out]
        parameters = [] if value is None else [_text_parameter("value", value)]
        text = ledger_sql.find_runs(self.runs, names, where, latest=latest)
        rows = self._connection.select(text, parameters)
        return [dict.fromkeys(VIEW_COLUMNS) | row for row in rows]

    def is_made(self) -> bool:
        """Whether the ledger is there, in a form that can be read. It may lack the latest columns."""
        found = self._connection.find_table(self.runs)
        if found is None or found.table_type == "TABLE":
            return False
        self._names = VIEW_COLUMNS
        if found.view_query != ledger_sql.runs_view(self.events):  # of an earlier version of etlkit
            there = {field.name for field in found.schema}
            self._names = [name for name in VIEW_COLUMNS if name in there]
        return True

    @property
    def has_tasks(self) -> bool:
        """Whether it can tell which runs are those of a workflow's tasks; known after `is_made`."""
        return "parent_run_id" in self._names

    def event(self, event: str, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """An INSERT of one event, and its query parameters.

        Args:
            event: `started`, `published`, `failed` or `interrupted`.
            values: Values of the table's other columns; None = null.
        """
        given = {"event": event, "etlkit_version": __version__, **values}
        given["variables"] = _to_json_text(values.get("variables") or {})
        if given.get("report") is not None:
            given["report"] = json.dumps(_finite(given["report"]), ensure_ascii=False, default=str)
        if given.get("error"):
            given["error"] = str(given["error"])[:MAX_ERROR_CHARS]
        return ledger_sql.insert_event(self.events, list(given)), _parameters(given)

    def task_events(
        self, values: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]
    ) -> tuple[str, list[Any]]:
        """An INSERT of the ends of tasks, each once for an attempt, and its query parameters.

        Args:
            values: Values of the workflow's run, for the columns that are not `TASK_COLUMNS`.
            tasks: Values of `TASK_COLUMNS` for each task.
        """
        own = {column.name for column in TASK_COLUMNS}
        common = {name: value for name, value in values.items() if name not in {*own, "variables"}}
        common["etlkit_version"] = __version__
        text = json.dumps(_finite(tasks), ensure_ascii=False, default=str)
        parameters = [*_parameters(common), *_parameters({"tasks": text})]
        return ledger_sql.insert_task_events(self.events, list(common), TASK_COLUMNS), parameters

    def workflow_events(
        self, run_ids: Sequence[str], since: datetime, *, values: bool = True
    ) -> list[dict[str, Any]]:
        """All that happened to runs of workflows and to the runs of their tasks, in order.

        Args:
            run_ids: The workflows' runs.
            since: A time before they began; nothing earlier is read.
            values: Whether to give the values of tasks too, which may be large.
        """
        names = [name for name in _TOLD if values or name != "value"]
        parameters = [_text_parameter("run_ids", run_ids), _parameter("since", "TIMESTAMP", since)]
        rows = self._connection.select(ledger_sql.workflow_events(self.events, names), parameters)
        return [{"value": None, **row} for row in rows]


def counts_of_row(row: Mapping[str, Any]) -> dict[str, int]:
    """A run's counts in the view; null = 0."""
    return {name: row[name] or 0 for name in _COUNTS}


def published_counts(row: Mapping[str, Any]) -> Counts:
    """How the rows of a published run ended, from its row in the view."""
    numbers = counts_of_row(row)
    return Counts(
        read=numbers["read"],
        written=numbers["written"],
        skipped=numbers["skipped"],
        rejected=numbers["rejected"],
        parts=numbers["rows_published"],
    )


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


def _parameters(values: Mapping[str, Any]) -> list[Any]:
    kinds = {column.name: column.type for column in EVENT_COLUMNS}
    return [
        _parameter(name, kinds.get(name, "STRING").replace("JSON", "STRING"), value)
        for name, value in values.items()
    ]


def _text_parameter(name: str, value: Any) -> Any:
    from google.cloud import bigquery

    if isinstance(value, str):
        return _parameter(name, "STRING", value)
    return bigquery.ArrayQueryParameter(name, "STRING", list(value))


def _parameter(name: str, kind: str, value: Any) -> Any:
    from google.cloud import bigquery

    return bigquery.ScalarQueryParameter(name, kind, value)
