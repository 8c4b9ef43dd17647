"""How much a project may use of what runs need: bytes of queries, and calls of Vision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from etlkit.cli.doctor_checks.finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from etlkit.cli.doctor_checks.google_apis import ApiAnswer, GoogleApis

_PER: Final = {"min": "a minute", "d": "a day", "100s": "in 100 s", "h": "an hour"}
"""Times in the unit of a limit, e.g. `1/min/{project}`.
Source: https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services.consumerQuotaMetrics.limits"""

_UNLIMITED: Final = frozenset({-1, 2**63 - 1})


@dataclass(frozen=True)
class _Quotas:
    """What is looked at of an API.

    Attributes:
        service: Its name.
        metrics: Names of its metrics; empty = all that are counted by time.
        is_needed: Whether every run needs it.
    """

    service: str
    metrics: tuple[str, ...]
    is_needed: bool


_LOOKED_AT: Final = (
    # https://cloud.google.com/bigquery/docs/custom-quotas
    _Quotas(
        "bigquery.googleapis.com", ("bigquery.googleapis.com/quota/query/usage",), is_needed=True
    ),
    # https://cloud.google.com/vision/quotas
    _Quotas("vision.googleapis.com", (), is_needed=False),
)


@dataclass(frozen=True)
class _Limit:
    """A limit of a project.

    Attributes:
        name: Of what is limited, for people.
        value: How much; None = without limit.
        what: The unit of the value; empty = it is a number of things.
        per: The time, e.g. `a minute`.
    """

    name: str
    value: int | None
    what: str
    per: str

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: no limit"
        unit = f" {self.what}" if self.what else ""
        return f"{self.name}: {self.value:,}{unit} {self.per}"


def check_quotas(apis: GoogleApis, project: str, enabled: Sequence[str]) -> Iterator[Finding]:
    """Look at the quotas of the APIs that runs call.

    Args:
        apis: Where to ask.
        project: Whose quotas.
        enabled: APIs that are enabled; others have none.
    """
    for looked_at in _LOOKED_AT:
        if looked_at.service not in enabled:
            continue
        answer = apis.quotas(project, looked_at.service)
        if answer.status != 200:
            reason = answer.message or f"status {answer.status}"
            yield warning("quotas", f"{looked_at.service}: they cannot be seen: {reason}")
            continue
        yield from _findings(looked_at, project, list(_limits(answer, looked_at.metrics)))


def _findings(looked_at: _Quotas, project: str, limits: Sequence[_Limit]) -> Iterator[Finding]:
    none_left = [limit for limit in limits if limit.value == 0]
    page = f"https://console.cloud.google.com/iam-admin/quotas?project={project}"
    for limit in none_left:
        said = problem if looked_at.is_needed else warning
        text = f"{looked_at.service}: {limit}: every call is refused. Raise it on {page}"
        yield said("quotas", text)
    shown = "; ".join(str(limit) for limit in limits if limit not in none_left)
    if shown:
        yield ok("quotas", f"{looked_at.service}: {shown}")


def _limits(answer: ApiAnswer, metrics: Sequence[str]) -> Iterator[_Limit]:
    """The limits of a project as a whole, not those of one user or region."""
    for metric in answer.body.get("metrics", []):
        if metrics and metric.get("metric") not in metrics:
            continue
        for limit in metric.get("consumerQuotaLimits", []):
            per = _time_of(str(limit.get("unit", "")))
            value = _whole(limit)
            if per is not None and value is not None:
                what = str(metric.get("unit", "")).replace("1", "", 1)
                name = str(metric.get("displayName") or metric.get("metric"))
                yield _Limit(name, None if value in _UNLIMITED else value, what, per)


def _time_of(unit: str) -> str | None:
    """The time of a unit like `1/min/{project}`; None = it is no rate of the whole project."""
    parts = unit.split("/")
    return _PER.get(parts[1]) if len(parts) == 3 and parts[2] == "{project}" else None


def _whole(limit: Mapping[str, Any]) -> int | None:
    """The effective limit without dimensions; None = there is none."""
    for bucket in limit.get("quotaBuckets", []):
        if not bucket.get("dimensions"):
            return int(bucket.get("effectiveLimit", 0))
    return None
