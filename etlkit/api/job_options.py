"""What a transfer job says beside its source, transform and sink. Frozen; no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from etlkit.api.checks import Check
from etlkit.api.labels import check_labels
from etlkit.api.policies import OnRowError, OnSchemaChange
from etlkit.api.reuse import Keys, parse_keys
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.limits import RateLimit, as_rate_limit
from etlkit.errors import ConfigError
from etlkit.variables.definitions import VariableDefinition
from etlkit.variables.values import check_definitions


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The options of a `TransferJob`; this is what sources and sinks get of a job.

    Attributes:
        name: The job's name in reports, labels and the ledger; None = the module's name.
        on_row_error: `fail` ends the run at the first row that fails; `skip` leaves such rows
            out, counts and reports them; `reject` writes them to `<target>_rejects`.
        max_rejected: How many rows may fail under `skip` or `reject`: a count, or a share of the
            rows read (a float below 1). One more ends the run and nothing is published. While rows
            come, a share must be exceeded by more than three standard deviations. `default` = 5 %,
            taken of at least 100 rows. None = no limit.
        allow_empty: Publish although every row was skipped or rejected and the mode replaces rows
            that are there. Without it such a run is refused: the transform is more likely wrong
            than the data.
        on_schema_change: What to do with a new key in the rows, or a column that the target lacks:
            `fail` ends the run, `add_columns` adds the column, `drop_columns` leaves it out. A type
            that differs from the target's always ends the run.
        checks: SQL over the staged rows, which must hold before anything is published.
        max_concurrency: Calls in flight; None = what the transform declares.
        rate_limit: Calls or billing units per period, e.g. `"1800/min"`, for each service that the
            transform calls through etlkit, and for an API as the sink unless that has its own. Shared
            by all workers, retries included. None =
            unlimited; slows down when the service answers 429 often.
        row_timeout_s: The run ends when one call of `transform_row` or `transform_batch` takes longer,
            in seconds; waits that etlkit makes for a service do not count. None = no limit.
        max_calls: The run ends before it makes more calls, retries included. None = no limit.
        max_cost: The run ends before its calls cost more; needs `price_per_unit`. None = no limit.
        price_per_unit: Price of a billing unit, for `max_cost`, the estimate and the report.
        currency: Currency of the two, for messages.
        retry: How failed calls are retried; None = `RetryPolicy()`, or the policy of the
            transform's client.
        variables: Custom variables `$name$` in the source's query and the sink's table: name to
            `String`, `Timestamp`, `TimestampRuntime` or a plain value.
        is_runnable_concurrently: Whether two runs of this job may be in progress at once.
        labels: Labels for every BigQuery job of the run, beside `etlkit_job` and `etlkit_run`.
        journal: Folder for the journals of unpublished runs: results that took a call and are not
            staged yet, so that a resume on the same disk need not pay for them again. `off` = none.
            None = `ETLKIT_JOURNAL`, else `etlkit/journal` in the user's folder for state. Its files
            hold rows, are readable by the user alone, and go when the run is published.
        reuse: Source columns that say whether a row is known, e.g. `"uri, generation"`: a row for which
            a published run of this job, with the same code and parameters, has kept a result for the
            same values gets that result, without a call. True = all columns that the transform reads.
            None = results are not kept.
        reuse_days: For how many days results are kept.
        workers: Processes that share each run, every one with `max_concurrency` calls in flight. None =
            the process that runs the job is the only one.
        lineage: Give each target row two more columns, `_etlkit_run_id` and `_etlkit_row_id`, and keep
            in the work dataset what they lead to: the source row, attempts, calls and their cost.
            Whoever may read the work dataset can read these source rows. Needs a `BigQuerySink`.
    """

    name: str | None = None
    on_row_error: OnRowError = "fail"
    max_rejected: float | Literal["default"] | None = "default"
    allow_empty: bool = False
    on_schema_change: OnSchemaChange = "add_columns"
    checks: Sequence[Check | str] = ()
    max_concurrency: int | None = None
    rate_limit: RateLimit | str | None = None
    row_timeout_s: float | None = None
    max_calls: int | None = None
    max_cost: float | None = None
    price_per_unit: float | None = None
    currency: str = "USD"
    retry: RetryPolicy | None = None
    variables: Mapping[str, VariableDefinition] = field(default_factory=dict)
    is_runnable_concurrently: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    journal: str | None = None
    reuse: Keys = None
    reuse_days: int = 90
    workers: int | None = None
    lineage: bool = False

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        for name, allowed in (("on_row_error", OnRowError), ("on_schema_change", OnSchemaChange)):
            if getattr(self, name) not in get_args(allowed):
                raise ConfigError(
                    f"{name}={getattr(self, name)!r}: it is one of "
                    + ", ".join(repr(value) for value in get_args(allowed))
                )
        self._check_max_rejected()
        parse_keys(self.reuse)
        for name in ("max_concurrency", "max_calls", "reuse_days", "workers"):
            _check_count(name, getattr(self, name))
        if self.row_timeout_s is not None and not (
            _is_number(self.row_timeout_s) and self.row_timeout_s > 0
        ):
            raise ConfigError(f"row_timeout_s={self.row_timeout_s!r}: it is above 0, or None")
        if self.journal is not None and not (isinstance(self.journal, str) and self.journal):
            raise ConfigError(f"journal={self.journal!r}: it is the path of a folder, or 'off'")
        check_definitions(self.variables)
        check_labels(self.labels, "TransferJob(labels=…)")
        self._check_limits()

    def _check_max_rejected(self) -> None:
        if isinstance(self.max_rejected, str):
            if self.max_rejected != "default":
                raise ConfigError(
                    f"max_rejected={self.max_rejected!r}: it is a count, a share, None or 'default'"
                )
        elif self.max_rejected is not None and (
            not _is_number(self.max_rejected)
            or self.max_rejected < 0
            or (isinstance(self.max_rejected, float) and self.max_rejected >= 1)
        ):
            raise ConfigError(
                f"max_rejected={self.max_rejected!r}: it is a count (int), a share (float, 0.0 or "
                "more and below 1.0), or None for any number"
            )

    def _check_limits(self) -> None:
        if self.rate_limit is not None and not isinstance(self.rate_limit, (str, RateLimit)):
            raise ConfigError(
                f"rate_limit got {describe(self.rate_limit)}: write a text such as '1800/min', or "
                "RateLimit(…)"
            )
        as_rate_limit(self.rate_limit)
        if self.retry is not None and not isinstance(self.retry, RetryPolicy):
            raise ConfigError(f"retry got {describe(self.retry)}: it needs a RetryPolicy(…)")
        for name in ("max_cost", "price_per_unit"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value >= 0):
                raise ConfigError(f"{name}={value!r}: it is 0 or more")
        if self.max_cost is not None and self.price_per_unit is None:
            raise ConfigError(
                f"max_cost={self.max_cost} needs price_per_unit: the price of one unit"
            )


def _check_count(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name}={value!r}: it is a whole number, 1 or more")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def describe(thing: Any) -> str:
    """What a user gave instead of something else, for messages."""
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return f"an object of type {type(thing).__name__}"
