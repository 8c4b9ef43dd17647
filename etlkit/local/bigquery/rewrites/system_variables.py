"""System variables: `@@project_id`, `@@row_count`, `@@script.job_id` and others.

Real BigQuery: a statement may read them, and a script may set some. The emulator: they were errors.

What remains: `@@time_zone` is always UTC, and `@@script.slot_ms` and the like are NULL.

https://cloud.google.com/bigquery/docs/reference/system-variables
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from etlkit.local.bigquery.rewrites.names import Names

_INTEGERS: Final = ("row_count", "script.bytes_billed", "script.bytes_processed", "script.slot_ms")
_STRINGS: Final = (
    "current_job_id",
    "dataset_id",
    "dataset_project_id",
    "last_job_id",
    "location",
    "project_id",
    "query_label",
    "reservation",
    "script.creation_time",
    "script.job_id",
    "script.project_id",
    "session_id",
    "time_zone",
    "user",
)
_MAY_BE_SET: Final = ("dataset_id", "dataset_project_id", "query_label", "reservation", "time_zone")

_NULLS: Final[dict[str, Any]] = dict.fromkeys((*_INTEGERS, *_STRINGS))
_values: ContextVar[dict[str, Any]] = ContextVar("_values", default=_NULLS)


def values() -> dict[str, Any]:
    """The value of each for the running job; None = NULL."""
    return _values.get()


def begin_job(project: str, job_id: str, session_id: str | None) -> None:
    """Set the variables for a job."""
    _values.set(
        {
            **_NULLS,
            "session_id": session_id,
            "project_id": project,
            "dataset_project_id": project,
            "script.project_id": project,
            "script.job_id": job_id,
            "current_job_id": job_id,
            "location": "US",
            "time_zone": "UTC",
        }
    )


def assign(name: str, value: Any) -> None:
    """Set a variable.

    Raises:
        InvalidQueryError: There is none of this name, or it cannot be set.
    """
    if name not in _NULLS:
        raise InvalidQueryError(f"Unrecognized name: @@{name}", location="query")
    if name not in _MAY_BE_SET:
        raise InvalidQueryError(f"Cannot assign to system variable @@{name}", location="query")
    if name == "time_zone" and value != "UTC":
        raise InvalidQueryError("The local BigQuery has no time zone but UTC", location="query")
    values()[name] = value


def rewrite(tree: exp.Expr, names: Names) -> bool:
    """Replace each variable by its value.

    Raises:
        InvalidQueryError: There is none of this name.
    """
    del names
    found = [node for node in tree.find_all(exp.Parameter) if isinstance(node.this, exp.Parameter)]
    for node in found:
        name, path = node.this.name.lower(), node
        if name == "error":
            continue  # the interpreter replaces it
        if isinstance(node.parent, exp.Dot):
            path = node.parent  # type: ignore[assignment]
            name = f"{name}.{path.name.lower()}"
        if name not in _NULLS:
            raise InvalidQueryError(f"Unrecognized name: @@{name}", location="query")
        path.replace(_literal(name))
    return bool(found)


def _literal(name: str) -> exp.Expr:
    value = values()[name]
    if name in _INTEGERS:
        number = exp.Null() if value is None else exp.Literal.number(value)
        return exp.cast(number, exp.DType.BIGINT)
    text = exp.Null() if value is None else exp.Literal.string(value)
    return exp.cast(text, exp.DType.TEXT)
