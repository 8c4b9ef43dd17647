"""The few requests to Google's APIs that `etlkit doctor` makes, each of which changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from etlkit.calls.connections import HttpPool
from etlkit.errors import RetryableError

_TIMEOUT_S: Final = 15.0
_MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class Hosts:
    """Where the APIs are; tests have others."""

    bigquery: str = "https://bigquery.googleapis.com"
    service_usage: str = "https://serviceusage.googleapis.com"
    resource_manager: str = "https://cloudresourcemanager.googleapis.com"


@dataclass(frozen=True)
class ApiAnswer:
    """What an API said.

    Attributes:
        status: The HTTP status; 0 = there was no answer, and `message` says why.
        body: The JSON of the answer; empty if it is none.
        skew_s: How many seconds this machine's clock is ahead; None = not known.
    """

    status: int
    body: Mapping[str, Any]
    skew_s: float | None = None

    @property
    def message(self) -> str:
        """The reason of an error."""
        error = self.body.get("error")
        return str(error.get("message", "")) if isinstance(error, Mapping) else ""

    @property
    def is_disabled(self) -> bool:
        """Whether the API is not enabled in the project.

        Source: https://cloud.google.com/apis/design/errors#error_info
        """
        text = str(self.body.get("error", ""))
        return "SERVICE_DISABLED" in text or "accessNotConfigured" in text


class GoogleApis:
    """Asks Google's APIs in the name of the account.

    Args:
        headers: Authorization of the account.
        hosts: Where the APIs are.
    """

    def __init__(self, headers: Mapping[str, str], hosts: Hosts) -> None:
        self._headers = {**headers, "User-Agent": "etlkit"}
        self._hosts = hosts

    def datasets(self, project: str) -> ApiAnswer:
        """One dataset of a project, which shows that BigQuery answers.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets/list
        """
        return self._ask(
            self._hosts.bigquery, "GET", f"/bigquery/v2/projects/{project}/datasets?maxResults=1"
        )

    def dataset(self, project: str, name: str) -> ApiAnswer:
        """A dataset.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets/get
        """
        path = f"/bigquery/v2/projects/{project}/datasets/{name}"
        return self._ask(self._hosts.bigquery, "GET", path)

    def services(self, project: str, names: Sequence[str]) -> ApiAnswer:
        """Whether APIs are enabled.

        https://cloud.google.com/service-usage/docs/reference/rest/v1/services/batchGet
        """
        query = "&".join(f"names=projects/{project}/services/{name}" for name in names)
        path = f"/v1/projects/{project}/services:batchGet?{query}"
        return self._ask(self._hosts.service_usage, "GET", path)

    def quotas(self, project: str, service: str) -> ApiAnswer:
        """The quotas of an API.

        https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services.consumerQuotaMetrics/list
        """
        path = f"/v1beta1/projects/{project}/services/{service}/consumerQuotaMetrics?view=BASIC"
        return self._ask(self._hosts.service_usage, "GET", path)

    def granted(self, project: str, permissions: Sequence[str]) -> ApiAnswer:
        """Which permissions the account has on the project.

        https://cloud.google.com/resource-manager/reference/rest/v1/projects/testIamPermissions
        """
        body = json.dumps({"permissions": list(permissions)}).encode()
        path = f"/v1/projects/{project}:testIamPermissions"
        return self._ask(self._hosts.resource_manager, "POST", path, body)

    def _ask(self, host: str, method: str, path: str, body: bytes | None = None) -> ApiAnswer:
        pool = HttpPool(host, service=host.partition("://")[2], max_idle=1)
        headers = {**self._headers, **({"Content-Type": "application/json"} if body else {})}
        try:
            status, answered, content = pool.send(
                method, path, headers, body, timeout_s=_TIMEOUT_S, max_bytes=_MAX_BYTES
            )
        except RetryableError as error:
            return ApiAnswer(0, {"error": {"message": error.message}})
        finally:
            pool.close()
        try:
            parsed = json.loads(content)
        except ValueError:
            parsed = {}
        return ApiAnswer(status, parsed if isinstance(parsed, dict) else {}, _skew_s(answered))


def _skew_s(headers: Mapping[str, str]) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None
