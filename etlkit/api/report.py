"""The reports of runs, and the progress of a run while it lasts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from etlkit.api import html
from etlkit.api.outcomes import Counts
from etlkit.api.readable_rows import ReadableRows
from etlkit.api.worker_report import WorkerReport

TIB = 2**40

State = Literal["published", "failed", "interrupted", "checked", "running", "dead"]
"""How a run ended; `checked` after a dry run. In a report that is read from the ledger also `running`,
or `dead`: its process was killed."""

PRICE_PER_TIB = 6.25
"""USD for 2^40 bytes that BigQuery bills, on demand in the region US:
https://cloud.google.com/bigquery/pricing#on_demand_pricing"""

StatementState = Literal["done", "failed", "not_run", "checked", "unchecked"]

Progress: TypeAlias = Callable[[str, Counts, int | None], None]
"""Called often with the stage, the counts so far and the rows expected; None = not known."""


class Report(Protocol):
    """What the reports of all kinds of jobs have in common."""

    @property
    def run_id(self) -> str:
        """The run's id in the ledger and in BigQuery's job labels."""

    @property
    def job(self) -> str:
        """The job's name."""

    @property
    def state(self) -> State:
        """How the run ended."""

    @property
    def total_s(self) -> float:
        """Duration of the run, in seconds."""

    @property
    def error(self) -> str | None:
        """Why the run failed; None = it did not."""

    def to_json(self) -> str:
        """The report as one line of JSON."""


def end_state(error: BaseException) -> State:
    """The state of a run that ended with this error."""
    return "failed" if isinstance(error, Exception) else "interrupted"


def error_text(error: BaseException) -> str:
    """The error as reports and the ledger show it."""
    return str(error) or type(error).__name__


def _to_json(report: Any) -> str:
    return json.dumps(asdict(report), ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class RunReport(ReadableRows):
    """The outcome of one run of a transfer.

    When `state` is `published`, `read = written + skipped + rejected`.

    Attributes:
        run_id: The run's id in the ledger and in BigQuery's job labels.
        job: The job's name.
        state: `published`, `failed` or `interrupted`.
        target: Where the rows went.
        resumed: Source rows that had a result from an earlier attempt of this run.
        reused: Source rows that are known: their result is that of an earlier run.
        read: Source rows with a result, by all attempts, those included.
        written: Source rows that became one or more target rows.
        skipped: Source rows left out.
        rejected: Source rows rejected with their error.
        rows_published: Target rows, counted after fan-out.
        kept: Source rows whose result `--resume` takes over; 0 = the run is published, or its sink
            keeps none.
        row_errors: Source rows that failed, whatever `on_row_error` did with them.
        first_errors: The first few of them.
        error_classes: How many of them failed with which class of error.
        calls: Calls that this attempt made through etlkit's retry layer, retries included.
        retries: How many of them were retries.
        units: Billing units of all of them.
        cost: Their cost at the job's `price_per_unit`; None = it has none.
        currency: That of `cost`.
        rows_per_s: Source rows per second of the transform stage.
        seconds: Seconds by stage.
        task: Which task of a scheduler this is, e.g. `2/3`. The task that publishes reports the rows of
            the whole run, every other one its own rows and no `rows_published`. Calls are always its
            own. None = the run is not shared among tasks.
        workers: The workers that shared a published run, of all attempts; empty = one process alone
            ran it.
        error: Why the run failed; None = it did not.
    """

    run_id: str
    job: str
    state: State
    target: str
    resumed: int = 0
    reused: int = 0
    read: int = 0
    written: int = 0
    skipped: int = 0
    rejected: int = 0
    rows_published: int = 0
    kept: int = 0
    row_errors: int = 0
    first_errors: list[str] = field(default_factory=list)
    error_classes: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    retries: int = 0
    units: int = 0
    cost: float | None = None
    currency: str = "USD"
    rows_per_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    task: str | None = None
    workers: list[WorkerReport] = field(default_factory=list)
    error: str | None = None

    @property
    def total_s(self) -> float:
        """Duration of the run, in seconds: the sum of its stages."""
        return sum(self.seconds.values())

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the attributes."""
        return _to_json(self)

    def _repr_html_(self) -> str:
        """The report for a notebook."""
        counts = ("read", "written", "skipped", "rejected", "rows_published", "resumed", "reused")
        more = ("calls", "retries", "units")
        rows = [(name, value) for name in (*counts, *more) if (value := getattr(self, name))]
        if self.cost is not None:
            rows.append(("cost", f"{self.cost:g} {self.currency}"))
        rows.append(("duration", f"{self.total_s:.1f} s"))
        rows.append(("run", self.run_id))
        errors = [(text,) for text in self.first_errors]
        return html.page_of(
            html.headline(html.text(self.job), html.state(self.state), html.text(self.target)),
            html.error(self.error),
            html.table(("", ""), rows),
            html.table((f"{self.row_errors:,} row errors",), errors) if errors else "",
        )


@dataclass(frozen=True, kw_only=True)
class DryRunReport:
    """What a run of a transfer would do. Nothing was written, and no row was read.

    Attributes:
        job: The job's name.
        target: Where the rows would go.
        source_columns: Columns of the source, each as `name TYPE`.
        columns: Columns that the rows would have; None = only the rows tell.
        passing: Source columns that pass through: rows do not have their values as Python objects.
        changes: What would change in the target beside its rows, one sentence each.
        calls: Number, duration and price of the transform's calls, as far as they are known.
        known: Source rows of which results are kept that would count; None = the job keeps none.
        reuse: The columns that say whether a row is known; empty likewise.
        bytes_processed: Bytes that BigQuery would bill for the source query; None = not known.
        estimated_cost: Their cost on demand, in USD; None = not known.
        seconds: Duration of the dry run.
        run_id: Empty: there is no run.
        state: Always `checked`.
        error: Always None.
    """

    job: str
    target: str
    source_columns: list[str]
    columns: list[str] | None
    changes: list[str]
    calls: str
    known: int | None = None
    reuse: list[str] = field(default_factory=list)
    passing: list[str] = field(default_factory=list)
    bytes_processed: int | None = None
    estimated_cost: float | None = None
    seconds: float = 0.0
    run_id: str = ""
    state: State = "checked"
    error: str | None = None

    @property
    def total_s(self) -> float:
        """Duration of the dry run, in seconds."""
        return self.seconds

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the attributes."""
        return _to_json(self)

    def _repr_html_(self) -> str:
        """The report for a notebook."""
        rows = [("calls", self.calls)]
        if self.bytes_processed is not None:
            rows.append(("bytes of the query", f"{self.bytes_processed:,}"))
        if self.estimated_cost is not None:
            rows.append(("cost of the query", f"{self.estimated_cost:.6f} USD"))
        changes = [(text,) for text in self.changes]
        columns = [(text,) for text in self.columns or ()]
        return html.page_of(
            html.headline(html.text(self.job), html.state(self.state), html.text(self.target)),
            html.table(("", ""), rows),
            html.table(("would change",), changes) if changes else "",
            html.table(("columns",), columns) if columns else "",
        )


@dataclass(kw_only=True)
class StatementReport:
    """One statement: the BigQuery job that ran it, and its cost.

    Attributes:
        number: 1 = first.
        line: Where it begins in the file, 1 = first line.
        statement: Its first line.
        state: `done`, `failed`, `not_run` (an earlier one failed); after a dry run `checked`, or
            `unchecked`: it needs the result of an earlier statement.
        job_id: None = no job was made.
        statement_type: BigQuery's name, e.g. `SELECT`, `CREATE_TABLE`, `SCRIPT`.
        bytes_processed: None = BigQuery did not say; the same for the next ones.
        bytes_billed: Bytes billed on demand.
        slot_ms: Slots times milliseconds.
        rows: Rows that it changed or returned; None for a statement without rows.
        result_table: Where BigQuery keeps the rows of a SELECT for 24 hours,
            `project.dataset.table`; None = there is no such table.
        seconds: Duration in BigQuery.
        estimated_cost: Cost that a dry run estimates, in USD.
        children: The jobs of a script, one for each of its statements.
        error: BigQuery's message; None = it did not fail.
    """

    number: int
    line: int
    statement: str
    state: StatementState = "not_run"
    job_id: str | None = None
    statement_type: str | None = None
    bytes_processed: int | None = None
    bytes_billed: int | None = None
    slot_ms: int | None = None
    rows: int | None = None
    result_table: str | None = None
    seconds: float | None = None
    estimated_cost: float | None = None
    children: list[StatementReport] = field(default_factory=list)
    error: str | None = None


@dataclass(kw_only=True)
class DatamartReport(ReadableRows):
    """The outcome of one run of a datamart.

    Attributes:
        run_id: The run's id in the ledger and in BigQuery's job labels.
        job: The datamart's name.
        state: `published`, `failed` or `interrupted`; `checked` after a dry run.
        query_mode: `query` or `insert`.
        target: Where the rows of an insert went; empty in query mode.
        rows_published: Rows of the query that were published; None in query mode.
        statements: In order.
        bytes_billed: Bytes billed for all statements; None = BigQuery did not say.
        estimated_cost: Cost that a dry run estimates, in USD; None = BigQuery did not say.
        variables: The value of each custom variable, as text.
        warnings: E.g. a column that was left out.
        first_row: The first row of the last SELECT in query mode, as JSON values, for other tasks of a
            workflow; None = there is none, or nobody wants it.
        seconds: Duration of the whole run.
        error: Why the run failed; None = it did not.
    """

    run_id: str
    job: str
    state: State = "failed"
    query_mode: str = "query"
    target: str = ""
    rows_published: int | None = None
    statements: list[StatementReport] = field(default_factory=list)
    bytes_billed: int | None = None
    estimated_cost: float | None = None
    variables: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    first_row: dict[str, Any] | None = None
    seconds: float = 0.0
    error: str | None = None

    @property
    def total_s(self) -> float:
        """Duration of the run, in seconds."""
        return self.seconds

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the attributes."""
        return _to_json(self)

    def _repr_html_(self) -> str:
        """The report for a notebook."""
        names = ("", "line", "statement", "state", "rows", "bytes billed", "seconds")
        rows = [
            (
                each.number,
                each.line,
                each.statement,
                html.Html(html.state(each.state)),
                each.rows,
                each.bytes_billed,
                each.seconds,
            )
            for each in self.statements
        ]
        return html.page_of(
            html.headline(html.text(self.job), html.state(self.state), html.text(self.target)),
            html.error(self.error),
            html.table(names, rows),
            html.headline(html.text(f"run {self.run_id}, {self.seconds:.1f} s")),
        )
