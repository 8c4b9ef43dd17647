"""Updates of resources that another client has changed in the meantime."""

from __future__ import annotations

from bqemulator.domain.errors import DomainError, ErrorDetail

from etlkit.local.bigquery.rules.registry import Asked, rule


class ConditionNotMetError(DomainError):
    """412: the resource has changed since the client read it."""

    http_status = 412
    bq_reason = "conditionNotMet"
    grpc_status_name = "FAILED_PRECONDITION"


@rule(
    Asked.RESOURCE,
    "An update of a table or dataset with the etag of an older version is refused with 412.",
    "reference/rest/v2/tables/patch",
)
def stale_etag(wanted: str | None, etag: str | None, name: str) -> None:
    """Refuse an update of a resource that is not as its client has seen it.

    Args:
        wanted: The header `If-Match`; None = the request has none.
        etag: Of the resource; None = it is not there.
        name: Of the resource, for the message.
    """
    if etag is None or wanted in {None, "*", etag}:
        return
    message = f"Resource {name} did not meet condition IF_MATCH"
    detail = ErrorDetail(
        reason=ConditionNotMetError.bq_reason,
        message=message,
        location="If-Match",
        location_type="header",
    )
    raise ConditionNotMetError(message, details=[detail])
