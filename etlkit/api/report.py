"""What a run tells about itself: the report at its end, and its progress on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

from etlkit.api.outcomes import Counts

State = Literal["published", "failed", "interrupted"]

Progress: TypeAlias = Callable[[str, Counts, int | None], None]
"""Called often with the stage, the counts so far and the rows expected; None = not known."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The outcome of one run. `read = written + skipped + rejected` when `state` is `published`.

    Attributes:
        run_id: How the run is found again, in the ledger and in BigQuery's job labels.
        job: The job's name.
        state: `published`, `failed` or `interrupted`.
        target: Where the rows went.
        resumed: Source rows that an earlier attempt at this run had settled already.
        read: Source rows read, by all attempts.
        written: Source rows that became one or more target rows.
        skipped: Source rows left out.
        rejected: Source rows put aside with their error.
        rows_published: Target rows, counted after fan-out.
        row_errors: Source rows that failed, whatever the policy made of them.
        first_errors: The first few of them.
        calls: Calls that this attempt made through etlkit's retry layer, retries included.
        retries: Those among them that were repeats.
        units: Billing units of all of them.
        cost: What they cost at the job's `price_per_unit`; None = it has none.
        rows_per_s: Source rows per second of the transform stage.
        seconds: Seconds by stage.
        error: Why the run failed; None = it did not.
    """

    run_id: str
    job: str
    state: State
    target: str
    resumed: int = 0
    read: int = 0
    written: int = 0
    skipped: int = 0
    rejected: int = 0
    rows_published: int = 0
    row_errors: int = 0
    first_errors: list[str] = field(default_factory=list)
    calls: int = 0
    retries: int = 0
    units: int = 0
    cost: float | None = None
    rows_per_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the attributes."""
        return json.dumps(asdict(self), ensure_ascii=False)


DatamartState = Literal["published", "failed", "interrupted", "checked"]
StatementState = Literal["done", "failed", "not_run", "checked", "unchecked"]


@dataclass(kw_only=True)
class StatementReport:
    """One statement: the BigQuery job that ran it, and what it cost.

    Attributes:
        number: 1 = first.
        line: Where it begins in the file, 1 = first line.
        statement: Its first line.
        state: `done`, `failed`, `not_run` (one before it failed); of a dry run `checked`, or
            `unchecked`: it needs what an earlier statement makes.
        job_id: None = no job was made.
        statement_type: BigQuery's word, e.g. `SELECT`, `CREATE_TABLE`, `SCRIPT`.
        bytes_processed: None = BigQuery did not say; likewise the next ones.
        bytes_billed: At the on-demand price.
        slot_ms: Slots times milliseconds.
        rows: Rows that it changed, or gave; None for a statement without rows.
        seconds: From start to end in BigQuery.
        estimated_cost: Of a dry run, in USD.
        children: The jobs of a script's statements.
        error: BigQuery's sentence.
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
    seconds: float | None = None
    estimated_cost: float | None = None
    children: list[StatementReport] = field(default_factory=list)
    error: str | None = None


@dataclass(kw_only=True)
class DatamartReport:
    """The outcome of one run of a datamart.

    Attributes:
        run_id: How the run is found again, in the ledger and in BigQuery's job labels.
        job: The datamart's name.
        state: `published`, `failed` or `interrupted`; `checked` after a dry run.
        query_mode: `query` or `insert`.
        target: Where the rows of an insert went; empty = nowhere.
        rows_published: Rows of the query that were published; None with `query`.
        statements: In order.
        bytes_billed: Of all statements; None = BigQuery did not say.
        estimated_cost: Of a dry run, in USD; None = BigQuery did not say how many bytes.
        variables: What each custom variable was worth.
        warnings: What a person should know, e.g. a column that was left out.
        seconds: All in all.
        error: Why the run failed; None = it did not.
    """

    run_id: str
    job: str
    state: DatamartState = "failed"
    query_mode: str = "query"
    target: str = ""
    rows_published: int | None = None
    statements: list[StatementReport] = field(default_factory=list)
    bytes_billed: int | None = None
    estimated_cost: float | None = None
    variables: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the attributes."""
        return json.dumps(asdict(self), ensure_ascii=False)
