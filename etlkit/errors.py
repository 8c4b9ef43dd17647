"""The whole error tree, grouped by what happens next.

```
EtlkitError
 +- ConfigError                  exit 2: job, options or variables are wrong, found before any I/O
 +- RetryableError               exit 1: a call failed in a way that may pass (429, 5xx, timeout)
 |   +- OutageError              a service was down for longer than the job waits
 +- RowError                     one row failed: on_row_error decides
 |   +- TransformError           the user's code raised
 |   +- RowSchemaError           unknown key, wrong type, null in a required column
 |   +- ImageError               a service refused this image
 |   +- CallFailedError          the calls for this row keep failing, those for others do not
 |   +- RequestRefusedError      an API refused the row, or what was asked for it
 +- JobError                     exit 1: the run ends, nothing is published
     +- ApiError                 a service refused a call as a whole (400, 401, 403)
     +- TooManyRejectedError     max_rejected was exceeded
     +- TransformCodeError       the code of the transform is wrong, whatever the row
     +- RowTimeoutError          the transform did not return within row_timeout_s
     +- CapReachedError          max_calls or max_cost would be exceeded
     +- RunStateError            the run is in progress elsewhere, or cannot be resumed
     |   +- AlreadyPublishedError    the run to resume is published; the engine returns its report
     |   +- RunTakenOverError    another process took this run over; this one stops
     +- SourceError              the query or its rows could not be read
     |   +- ReadExpiredError     the read session expired; the engine opens another
     +- SinkError                staging, publishing or the ledger failed
     |   +- CountMismatchError   read != written + skipped + rejected
     |   +- CheckFailedError     a check of the job does not hold for the staged rows
     +- StatementError           a statement of a datamart failed; later ones did not run
     +- DataCheckFailedError     a DataCheck of a workflow does not hold
     +- TaskTimeoutError         a task or a workflow ran out of time and was stopped
     +- WorkflowError            tasks of a workflow failed; see its report
```

A `JobError` raised inside a transform is never turned into a row error: an outage must not become a
million rejected rows. Messages name the row, the column, the job id, the stage and the next step.
They never contain keys, tokens or whole bodies.
"""

from __future__ import annotations

from typing import Any, ClassVar

from etlkit.redaction import without_keys

__all__ = [
    "AlreadyPublishedError",
    "ApiError",
    "CallFailedError",
    "CapReachedError",
    "CheckFailedError",
    "ConfigError",
    "CountMismatchError",
    "DataCheckFailedError",
    "EtlkitError",
    "ImageError",
    "JobError",
    "OutageError",
    "ReadExpiredError",
    "RequestRefusedError",
    "RetryableError",
    "RowError",
    "RowSchemaError",
    "RowTimeoutError",
    "RunStateError",
    "RunTakenOverError",
    "SinkError",
    "SourceError",
    "StatementError",
    "TaskTimeoutError",
    "TooManyRejectedError",
    "TransformCodeError",
    "TransformError",
    "WorkflowError",
    "missing_packages",
    "without_keys",
]


class EtlkitError(Exception):
    """Base of everything etlkit raises on purpose.

    Attributes:
        message: What happened and what to do next, without keys (`etlkit.redaction`).
        exit_code: The exit status of the command line.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, **values: Any) -> None:
        message = without_keys(message)
        super().__init__(message)
        self.message = message
        self._values = values
        for name, value in values.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the keyword values when the error is pickled; plain exceptions lose them."""
        return _rebuild, (type(self), self.message, self._values)

    def __str__(self) -> str:
        return self.message


def _rebuild(cls: type[EtlkitError], message: str, values: dict[str, Any]) -> EtlkitError:
    return cls(message, **values)


class RowError(EtlkitError):
    """One row failed. The job's `on_row_error` says what happens to it.

    Attributes:
        row_number: Position among the rows read in this run, 1 = first; None = unknown so far.
        row_id: The row's id in the snapshot; None = unknown so far.
        column: The column that is wrong; None = the row as a whole.
    """

    def __init__(
        self,
        message: str,
        *,
        row_number: int | None = None,
        row_id: str | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(message, row_number=row_number, row_id=row_id, column=column)
        self.row_number = row_number
        self.row_id = row_id
        self.column = column

    def at_row(self, row_number: int | None, row_id: str) -> RowError:
        """Set the row that failed, unless it is known already; a number of None is not known."""
        if self.row_number is None:
            self.row_number = self._values["row_number"] = row_number
        if self.row_id is None:
            self.row_id = self._values["row_id"] = row_id
        return self

    def of_no_row(self) -> RowError:
        """The same error for another row: an exception object may be raised for several of them."""
        made = type(self).__new__(type(self), *self.args)  # classes may have own constructors
        vars(made).update(vars(self))
        made.row_number = made.row_id = None
        made._values = {**self._values, "row_number": None, "row_id": None}  # noqa: SLF001
        made.__cause__ = self.__cause__
        return made.with_traceback(self.__traceback__)

    def __str__(self) -> str:
        """`row 7 (id …), column 'uri': message`."""
        where = []
        if self.row_number is not None:
            where.append(f"row {self.row_number}" + (f" (id {self.row_id})" if self.row_id else ""))
        elif self.row_id is not None:
            where.append(f"row with id {self.row_id}")
        if self.column is not None:
            where.append(f"column {self.column!r}")
        return f"{', '.join(where)}: {self.message}" if where else self.message


class JobError(EtlkitError):
    """The run ends and nothing is published.

    Attributes:
        stage: Where it happened (`snapshot`, `read`, `transform`, `stage`, `audit`, `publish`); None
            = not in a stage of a run.
        row_number: Position of the row that ended the run among those read, 1 = first; None = no
            single row did.
        row_id: That row's id in the snapshot; None likewise.
        num_rows: More than 1 = it was one of this many rows, which the transform got together.
    """

    row_number: int | None = None
    row_id: str | None = None
    num_rows: int = 1

    def __init__(self, message: str, *, stage: str | None = None, **values: Any) -> None:
        super().__init__(message, stage=stage, **values)
        self.stage = stage

    def at_row(self, row_number: int, row_id: str, num_rows: int = 1) -> JobError:
        """Set the row at which the run ended, or the first of the rows of one `transform_batch`."""
        self.row_number, self.row_id, self.num_rows = row_number, row_id, num_rows
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """See `EtlkitError`; the row is no argument of the constructors."""
        where = {
            name: vars(self)[name]
            for name in ("row_number", "row_id", "num_rows")
            if name in vars(self)
        }
        return *super().__reduce__(), where

    def __str__(self) -> str:
        """`row 7 (id …): message`; of a batch `one of rows 7 to 22: message`."""
        if self.row_number is None:
            return self.message
        if self.num_rows > 1:
            last = self.row_number + self.num_rows - 1
            return f"one of rows {self.row_number} to {last}: {self.message}"
        return f"row {self.row_number} (id {self.row_id}): {self.message}"


class ConfigError(EtlkitError):
    """The job, an option or a variable is wrong. Found before any I/O. Lists what is allowed."""

    exit_code = 2


def missing_packages(what: str, extra: str) -> ConfigError:
    """The error where packages of an extra are not installed.

    No name of a distribution stands in it: on the package index `etlkit` is another project.

    Args:
        what: What is missing, as the first sentence without its full stop.
        extra: The extra of `pyproject.toml` that has it.
    """
    return ConfigError(
        f"{what}. It comes with the extra `{extra}`. In a checkout of etlkit: "
        f"pip install -e '.[{extra}]'"
    )


class RetryableError(EtlkitError):
    """A call failed in a way that is known to be transient.

    Attributes:
        retry_after_s: Seconds that the server asked to wait; None = it did not say.
        status: HTTP status, or the equivalent of a gRPC code; None = no answer.
        code: A gRPC code, `timeout`, `unreachable`, `unknown_host`, `reset` or `truncated`; None =
            the status says it.
        attempts: Calls made for the row.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        status: int | None = None,
        code: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(
            message, retry_after_s=retry_after_s, status=status, code=code, attempts=attempts
        )
        self.retry_after_s = retry_after_s
        self.status = status
        self.code = code
        self.attempts = attempts


class OutageError(RetryableError):
    """A service was down for longer than `RetryPolicy.max_outage_s`; the run can be resumed."""


class TransformError(RowError):
    """The user's transform raised on this row; the original is `__cause__`."""


class RowSchemaError(RowError):
    """A key without a column, a value of the wrong type, or a null in a required column.

    Attributes:
        index: Position among the rows that were encoded together, 0 = first.
    """

    index: int = 0


class ImageError(RowError):
    """A service refused one image and answered the others.

    Attributes:
        code: The service's status code (google.rpc.Code); None = not given.
    """

    def __init__(self, message: str, *, code: int | None = None, **where: Any) -> None:
        super().__init__(message, **where)
        self._values["code"] = code
        self.code = code


class CallFailedError(RowError):
    """The calls for one row kept failing while others succeed; `__cause__` is the last failure.

    Attributes:
        code: Failure of the last attempt: an HTTP status, a gRPC code or a word such as `timeout`.
        attempts: Calls made for the row.
    """

    def __init__(
        self, message: str, *, code: str | None = None, attempts: int = 1, **where: Any
    ) -> None:
        super().__init__(message, **where)
        self._values |= {"code": code, "attempts": attempts}
        self.code = code
        self.attempts = attempts


class RequestRefusedError(RowError):
    """An API refused one row, or what was asked for it, and will refuse it again.

    Attributes:
        code: The HTTP status, or the API's own code for the row.
        attempts: Requests made with the row.
    """

    def __init__(
        self, message: str, *, code: str | None = None, attempts: int = 1, **where: Any
    ) -> None:
        super().__init__(message, **where)
        self._values |= {"code": code, "attempts": attempts}
        self.code = code
        self.attempts = attempts


class ApiError(JobError):
    """A service refused a call as a whole; the same call would be refused again.

    Attributes:
        service: The service, e.g. `vision`.
        status: HTTP status or gRPC code; None = no answer.
        reason: The service's own short reason, without keys; never the body.
    """

    def __init__(
        self,
        message: str,
        *,
        service: str,
        status: int | None = None,
        reason: str | None = None,
        stage: str | None = None,
    ) -> None:
        reason = None if reason is None else without_keys(reason)
        super().__init__(message, stage=stage, service=service, status=status, reason=reason)
        self.service = service
        self.status = status
        self.reason = reason


class SourceError(JobError):
    """The source query or its rows could not be read.

    Attributes:
        job_id: The BigQuery job; None = there is none.
    """

    def __init__(
        self, message: str, *, job_id: str | None = None, stage: str | None = "snapshot"
    ) -> None:
        super().__init__(message, stage=stage, job_id=job_id)
        self.job_id = job_id


class ReadExpiredError(SourceError):
    """The read session expired (BigQuery's last 6 hours); the rows can still be read."""


class TooManyRejectedError(JobError):
    """More rows were rejected than `max_rejected` allows."""


class TransformCodeError(JobError):
    """The transform's code is wrong, such as a name that is not defined; the cause is `__cause__`."""

    def __init__(self, message: str) -> None:
        super().__init__(message, stage="transform")
        self._values = {}


class RowTimeoutError(JobError):
    """The transform did not return within the job's `row_timeout_s`.

    Its thread cannot be stopped, so it is no row error: the run ends. Rows with a result are kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, stage="transform")
        self._values = {}


class CapReachedError(JobError):
    """The next call would exceed the job's `max_calls` or `max_cost`, so it was not made.

    Finished rows are staged: a resume continues with the whole cap again.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, stage="transform")
        self._values = {}


class RunStateError(JobError):
    """The run cannot continue as asked: in progress elsewhere, published, or not found."""


class AlreadyPublishedError(RunStateError):
    """The run to resume is published. The engine returns its report.

    Attributes:
        run_id: The run.
        counts: How its rows ended, an `etlkit.api.outcomes.Counts`.
        target: Where its rows are.
    """

    def __init__(self, message: str, *, run_id: str, counts: Any, target: str) -> None:
        super().__init__(message)
        self._values = {"run_id": run_id, "counts": counts, "target": target}
        self.run_id = run_id
        self.counts = counts
        self.target = target


class RunTakenOverError(RunStateError):
    """Another process has taken this run over. This one stops, and has published nothing."""


class SinkError(JobError):
    """Staging, publishing or the ledger failed.

    Attributes:
        job_id: The BigQuery job; None = there is none.
    """

    def __init__(
        self,
        message: str,
        *,
        job_id: str | None = None,
        stage: str | None = "publish",
        **values: Any,
    ) -> None:
        super().__init__(message, stage=stage, job_id=job_id, **values)
        self.job_id = job_id


class CountMismatchError(SinkError):
    """The audit failed: the staged rows are not the rows that were read. The target is unchanged.

    Attributes:
        read: Rows read from the source.
        staged: Rows found in the staging tables.
    """

    def __init__(self, message: str, *, read: int, staged: int) -> None:
        super().__init__(message, stage="audit")
        self._values = {"read": read, "staged": staged}
        self.read = read
        self.staged = staged


class CheckFailedError(SinkError):
    """A check of the job does not hold for the staged rows. The target is unchanged."""

    def __init__(self, message: str) -> None:
        super().__init__(message, stage="audit")
        self._values = {}


class StatementError(JobError):
    """A statement of a datamart failed; later ones did not run.

    Attributes:
        number: Which one, 1 = first.
        line: Where it begins in the SQL, 1 = first line.
        job_id: The BigQuery job; None = there is none.
    """

    number: int
    line: int
    job_id: str | None = None


class DataCheckFailedError(JobError):
    """A `DataCheck` does not hold: the data is not as the workflow needs it."""


class TaskTimeoutError(JobError):
    """A task or a workflow took longer than its `timeout_s`, and was stopped."""


class WorkflowError(JobError):
    """Tasks of a workflow failed. `--resume` goes on with them.

    Attributes:
        failed: Their names; those inside a child workflow as `child/name`.
    """

    failed: tuple[str, ...] = ()
