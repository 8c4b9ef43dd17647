"""What to do next, after the message of an error."""

from __future__ import annotations

from etlkit.errors import ApiError, EtlkitError, RetryableError, RowError, WorkflowError

_LEAVE_OUT = 'on_row_error="skip" or "reject" in the job, or --on-row-error with --script'

_CONTINUE = "continue with --resume, after a change of the code with --resume --allow-code-change"

_OF_REHEARSALS = (
    "a rehearsal is not resumed: its table is dropped, the target was not touched, and no results are "
    "kept of it"
)


def next_step(error: EtlkitError) -> str:
    """Lines to follow the error's message: what became of the rows, and what to do; may be empty."""
    lines = [_what_to_do(error), what_is_kept(error, error.message)]
    return "".join(f"\n{line}" for line in lines if line)


def interruption(error: BaseException) -> str:
    """What to say of a run that was asked to stop."""
    report = getattr(error, "report", None)
    if report is None:
        return "interrupted"
    if hasattr(report, "projection"):
        return f"interrupted; {_OF_REHEARSALS}"
    if hasattr(report, "tasks"):
        return "interrupted; finished tasks and rows are kept. Continue with --resume"
    if hasattr(report, "statements"):
        return "interrupted; the current statement was cancelled, later ones did not run"
    if not report.kept:
        return "interrupted; nothing was published"
    return f"interrupted; nothing was published, {_rows(report.kept)}. Continue with --resume"


def _what_to_do(error: EtlkitError) -> str:
    if isinstance(error, RowError):
        return f"Look at rows with --preview. To leave such rows out: {_LEAVE_OUT}"
    if isinstance(error, ApiError) and error.row_number is not None and _is_refusal(error):
        return (
            "If it refuses every row: correct the key, the permission or the request. If it is this "
            f"row alone: make it a row's error, and choose {_LEAVE_OUT}. HttpClient does so with "
            f"errors_as_row={{{error.status}}}, your own code by raising etlkit.RowError"
        )
    if isinstance(error, WorkflowError):
        return f"Finished tasks and rows are kept: {_CONTINUE}"
    return ""


def _is_refusal(error: ApiError) -> bool:
    return error.status is not None and 400 <= error.status < 500


def what_is_kept(error: BaseException, message: str) -> str:
    """What became of the rows of a run that failed, and how to go on; empty = nothing to say.

    Args:
        error: What ended it.
        message: What is said before.
    """
    report = getattr(error, "report", None)
    if hasattr(report, "projection"):
        return _OF_REHEARSALS
    kept = getattr(report, "kept", None)
    is_told = kept is None or "nothing was published" in message
    published = "" if is_told else "Nothing was published. "
    if not kept:
        if isinstance(error, RetryableError):
            return f"{published}When the service is back, run it again"
        return published.rstrip()
    rows = _rows(kept)
    rows = rows[0].upper() + rows[1:]
    if "--resume" in message:
        return f"{published}{rows}"
    if isinstance(error, RetryableError):
        return f"{published}{rows}: when the service is back, continue with --resume"
    return f"{published}{rows}: {_CONTINUE}"


def _rows(kept: int) -> str:
    return (
        "1 row has its result, which is kept"
        if kept == 1
        else f"{kept:,} rows have their results, which are kept"
    )
