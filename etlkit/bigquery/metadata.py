"""What BigQuery says of tables, models and routines: requests for metadata, which are free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from etlkit.api.run import Settings
from etlkit.bigquery.client import REQUEST_S, Connection
from etlkit.bigquery.google_errors import errors_as
from etlkit.errors import SourceError

_REQUESTS_AT_ONCE = 8


class Metadata:
    """Resources as the REST API describes them, each asked for once.

    Args:
        settings: Project, location and environment.

    Raises:
        ConfigError: There are no credentials, or no project.
    """

    def __init__(self, settings: Settings) -> None:
        self._connection = Connection(settings, job_prefix="etlkit_check")
        self._found: dict[str, Mapping[str, Any] | None] = {}

    @property
    def project(self) -> str:
        """The project of names without one."""
        return self._connection.project

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def prepare(self, names: Iterable[str]) -> None:
        """Ask for several at once, so that a check does not wait for each of them."""
        wanted = [name for name in dict.fromkeys(map(self._full, names)) if name not in self._found]
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
            self._found |= zip(wanted, threads.map(self._ask, wanted), strict=True)

    def find(self, name: str) -> Mapping[str, Any] | None:
        """The resource of `dataset.name` or `project.dataset.name`; None = there is none.

        Raises:
            SourceError: BigQuery did not answer, or may not be asked.
        """
        full = self._full(name)
        if full not in self._found:
            self._found[full] = self._ask(full)
        return self._found[full]

    def _full(self, name: str) -> str:
        name = name.replace("`", "")
        return name if name.count(".") > 1 else f"{self.project}.{name}"

    def last_of(self, pattern: str) -> Mapping[str, Any] | None:
        """The table whose name comes last of those that `project.dataset.prefix*` stands for."""
        from google.api_core.exceptions import NotFound

        dataset, _, prefix = self._full(pattern).rstrip("*").rpartition(".")
        client = self._connection.client
        with errors_as(SourceError, "open", f"looking for {pattern} failed"):
            try:
                listed: Any = client.list_tables(
                    dataset, retry=self._connection.retry(), timeout=REQUEST_S
                )
                names = [each.table_id for each in listed if each.table_id.startswith(prefix)]
            except NotFound:
                names = []
        return self.find(f"{dataset}.{max(names)}") if names else None

    def _ask(self, full: str) -> Mapping[str, Any] | None:
        from google.api_core.exceptions import BadRequest, NotFound

        client = self._connection.client
        retry = self._connection.retry()
        with errors_as(SourceError, "open", f"looking for {full} failed"):
            for get in (client.get_table, client.get_model, client.get_routine):
                try:
                    answer: Any = get(full, retry=retry, timeout=REQUEST_S)
                    return dict(answer.to_api_repr())
                except NotFound:
                    continue
                except BadRequest:  # of a name that such a thing cannot have
                    continue
        return None
