"""Where data and jobs are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bqemulator.domain.errors import NotFoundError
from sqlglot import exp

from etlkit.local.bigquery.patches.work import current
from etlkit.local.bigquery.rules.registry import Asked, rule

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext

_FOUND_WITHOUT: Final = {"us", "eu"}


@rule(
    Asked.STATEMENT,
    "All datasets that a job names are in one location, which is the job's.",
    "locations#location-considerations",
)
def one_location(tree: exp.Expr, context: StatementContext) -> None:
    """Refuse a dataset elsewhere. The first dataset gives its location to a job that has none yet."""
    for table in tree.find_all(exp.Table):
        if not table.db:
            continue
        project, dataset = table.catalog or context.project, table.db
        meta = context.ctx.catalog.get_dataset(project, dataset)
        if meta is not None:
            in_location_of_job(project, dataset, meta.location)


def canonical(location: str) -> str:
    """A location as BigQuery writes it: multi-regions in capitals, regions in small letters."""
    return location.upper() if location.casefold() in _FOUND_WITHOUT else location.lower()


def in_location_of_job(project: str, dataset: str, location: str) -> None:
    """Refuse a dataset that is not where the job is."""
    work = current()
    if work is None:
        return
    work.location = work.location or location
    if work.location.casefold() != location.casefold():
        raise NotFoundError(
            f"Not found: Dataset {project}:{dataset} was not found in location {work.location}"
        )


@rule(
    Asked.RESOURCE,
    "A job outside of US and EU is found and cancelled with its location only.",
    "locations#specify_locations",
)
def job_location(name: str, wanted: str | None, actual: str) -> None:
    """Refuse a request for a job that does not say where it is.

    Args:
        name: Project, colon, then the id of the job.
        wanted: The location that the request says; None = it says none.
        actual: Where the job is.
    """
    is_found = (
        actual.casefold() in _FOUND_WITHOUT
        if wanted is None
        else wanted.casefold() == actual.casefold()
    )
    if not is_found:
        project, _, job_id = name.partition(":")
        raise NotFoundError(f"Not found: Job {project}:{wanted or 'US'}.{job_id}")
