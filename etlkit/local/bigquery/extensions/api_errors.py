"""BigQuery's errors, and how errors of Python functions that DuckDB calls reach the client."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bqemulator.domain.errors import (
    AlreadyExistsError,
    DomainError,
    InvalidQueryError,
    NotFoundError,
)

from etlkit.local.bigquery.patches.work import current

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext

    Name = tuple[str, str, str]

_F = TypeVar("_F", bound=Callable[..., Any])

_carried: Final[list[DomainError]] = []


def invalid(message: str, location: str = "query") -> InvalidQueryError:
    """400 `invalidQuery`."""
    return InvalidQueryError(message, location=location)


def not_found(what: str, name: Name) -> NotFoundError:
    """404: `Not found: Model local:ds.m`."""
    project, dataset, table = name
    where = " was not found in location US" if what == "Table" else ""
    return NotFoundError(f"Not found: {what} {project}:{dataset}.{table}{where}")


def not_found_uri(uri: str, why: str) -> NotFoundError:
    """404 for an address in a bucket."""
    return NotFoundError(f"Not found: URI {uri}: {why}")


def already_exists(what: str, name: Name) -> AlreadyExistsError:
    """409: `Already Exists: Table local:ds.t`."""
    project, dataset, table = name
    return AlreadyExistsError(f"Already Exists: {what} {project}:{dataset}.{table}")


def require_dataset(context: StatementContext, name: Name) -> None:
    """Raise if the dataset of a name does not exist."""
    project, dataset, _ = name
    if context.ctx.catalog.get_dataset(project, dataset) is None:
        raise NotFoundError(f"Not found: Dataset {project}:{dataset} was not found in location US")


def carry(function: _F) -> _F:
    """Let an error of a function that DuckDB calls reach the client as it was raised.

    DuckDB replaces exceptions with errors of its own. Statements that call such functions run one at a
    time, so the first error that is kept here belongs to the running one.
    """

    @wraps(function)
    def carried(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except DomainError as error:
            _carried.append(error)
            raise

    return carried  # type: ignore[return-value]


def forget() -> None:
    """Forget the errors of the previous statement. Called before each statement."""
    if _may_carry():
        _carried.clear()


def carried() -> DomainError | None:
    """The first error that a `carry` function has raised since `forget`; None = there is none."""
    return _carried[0] if _carried and _may_carry() else None


def _may_carry() -> bool:
    """Whether errors that are kept belong to this request. One that only reads keeps none."""
    work = current()
    return work is None or work.is_exclusive
