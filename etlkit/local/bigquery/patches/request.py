"""A request to the REST API, before the emulator sees it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qs

_PATIENCE_S: Final = 10.0
_JOB: Final = re.compile(r"/(?:jobs|queries)/([^/]+)(/cancel)?$")


@dataclass(frozen=True)
class Request:
    """Method, path and body of a request.

    Attributes:
        method: GET, POST, ….
        path: From `/bigquery/v2/` on.
        body: The whole body; b"" for uploads, which are read while they run.
        parameters: What follows `?` in its address.
    """

    method: str
    path: str
    body: bytes = b""
    parameters: bytes = b""

    @property
    def project(self) -> str:
        """The project of its path."""
        return self.path.split("/projects/", maxsplit=1)[-1].split("/", maxsplit=1)[0]

    @cached_property
    def content(self) -> dict[str, Any]:
        """Its body; {} = it is not a JSON object, and the emulator says what is wrong with it."""
        try:
            content = json.loads(self.body)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def query(self) -> dict[str, Any] | None:
        """The configuration of the query that it runs, with `dryRun`; None = it runs none."""
        if self.method != "POST" or not self.path.endswith(("/queries", "/jobs")):
            return None
        if self.path.endswith("/queries"):
            return self.content if isinstance(self.content.get("query"), str) else None
        job = self.content.get("configuration")
        query = job.get("query") if isinstance(job, dict) else None
        if not isinstance(job, dict) or not isinstance(query, dict):
            return None
        return {**query, "dryRun": job.get("dryRun")}

    @cached_property
    def job(self) -> str | None:
        """What names the job that it starts, awaits or cancels; None = none, or it has no name yet.

        `jobs.query` has no job id of the client's; its request id names it.
        """
        if found := _JOB.search(self.path):
            return found[1]
        if self.method != "POST":
            return None
        if self.path.endswith("/queries"):
            request_id = self.content.get("requestId")
            return f"request {request_id}" if request_id else None
        reference = self.content.get("jobReference")
        job_id = reference.get("jobId") if isinstance(reference, dict) else None
        return job_id if isinstance(job_id, str) and self.path.endswith("/jobs") else None

    @property
    def is_cancel(self) -> bool:
        """Whether it is `jobs.cancel`."""
        found = _JOB.search(self.path)
        return self.method == "POST" and found is not None and found[2] is not None

    @property
    def is_look(self) -> bool:
        """Whether it is `jobs.get`, which does not wait for the job."""
        return self.method == "GET" and self.job is not None and "/jobs/" in self.path

    @property
    def patience_s(self) -> float | None:
        """How long `jobs.getQueryResults` waits for the job; None = it is another request.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults
        """
        if self.method != "GET" or "/queries/" not in self.path:
            return None
        given = parse_qs(self.parameters.decode("latin-1")).get("timeoutMs", [""])[0]
        return int(given) / 1000 if given.isdecimal() else _PATIENCE_S

    @property
    def may_read(self) -> bool:
        """Whether it is worth a look whether it only reads."""
        return self.method == "GET" or self.is_cancel or self.query is not None

    @property
    def starts_job(self) -> bool:
        """Whether it starts a job."""
        return self.method == "POST" and self.path.endswith(("/queries", "/jobs"))
