"""`HttpSink`: a web API as the target of a job."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etlkit.api.sink import Outlook
from etlkit.bigquery.http_sink.bundle import Item
from etlkit.bigquery.http_sink.headers import Headers
from etlkit.bigquery.http_sink.options import MODE, HttpOptions
from etlkit.errors import ConfigError, without_keys
from etlkit.rows.json_rows import row_to_json

if TYPE_CHECKING:
    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import Run, RunRecord, RunRequest
    from etlkit.api.sink import SinkWriter
    from etlkit.api.source import Source, SourceReader
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row
    from etlkit.variables.definitions import Value


@dataclass(frozen=True)
class HttpSink(HttpOptions):
    """A web API. Rows are sent as soon as they are transformed, each in a request or in batches.

    A row is staged before it is sent, and so is the API's answer. A run that was killed goes on with
    the rows that have no answer; those that were on their way are sent again under the same
    idempotency key. So each row reaches the API at least once, and takes effect once if the API
    honours such keys.

    Its attributes are those of `HttpOptions`: `url`, `name`, `method`, `headers`, `request`,
    `batch_size`, `max_concurrency`, `rate_limit`, `retry`, `success`, `errors_at`, `order_by`,
    `idempotency_header`, `idempotency_key`, `responses`, `create_dataset`, `allow_http`,
    `work_dataset`.
    """

    def expand(self, values: Mapping[str, Value]) -> tuple[HttpSink, frozenset[str]]:
        """Expand custom variables in `url`, `name` and `responses`.

        Returns:
            The sink, and the variables that stood there.

        Raises:
            ConfigError: An unknown variable, or a value that cannot be part of a table's name.
        """
        from etlkit.variables.substitution import expand_address, expand_name

        url, used = expand_address(self.url, values)
        name, in_name = expand_name(self.name, values)
        used |= in_name
        responses = self.responses
        if responses is not None:
            responses, in_responses = expand_name(responses, values)
            used |= in_responses
        return replace(self, url=url, name=name, responses=responses), used

    def find_run(self, request: RunRequest) -> RunRecord:
        """See `etlkit.api.sink.Sink.find_run`. Finishes the clean-up of a run that is published."""
        from etlkit.bigquery.runs.find_run import recorded_run

        return recorded_run(request, self.work_dataset, lambda _: self.target, MODE)

    def check(
        self,
        job: JobOptions,
        run: Run,
        reader: SourceReader,  # noqa: ARG002 - the columns of the source say nothing of the rows
        columns: tuple[Column, ...] | None,
    ) -> Outlook:
        """See `etlkit.api.sink.Sink.check`. Nothing is sent."""
        from etlkit.bigquery.client import connect
        from etlkit.bigquery.http_sink.tables import check_tables

        if job.checks:
            raise ConfigError(
                "checks look at rows before anybody sees them, and an API sees each row at once: put "
                "them into the source query, or into a data check before this job"
            )
        Headers(self.headers, run.settings.environ)
        if columns is not None:
            self.check_columns(columns)
        check_tables(self, connect(run))
        return Outlook(self.target, self._outlook(run.limit, columns))

    def _outlook(self, limit: int | None, columns: tuple[Column, ...] | None) -> list[str]:
        each = "row" if not self.is_batch else f"{self.batch_size:,} rows"
        number = "one request"
        if limit is not None:
            number = f"at most {math.ceil(limit / self.batch_size):,} requests, one"
        request, *headers = self._head(self.url_template.shown, "…")
        body = "is known with the first rows; --preview shows it"
        if columns is not None and not callable(self.request):
            row = {column.name: f"<{column.ddl}>" for column in columns}
            body = self._body_text([row])
        lines = [f"{number} for each {each}: {request}", f"headers: {', '.join(headers)}"]
        lines.append(f"body: {body}")
        if self.responses is not None:
            lines.append(f"answers go to {self.responses}")
        return lines

    def _head(self, address: str, key: str) -> list[str]:
        """Request line and headers as people may see them."""
        shown = Headers.shown_of(self.headers)
        if self.idempotency_header is not None:
            shown[self.idempotency_header] = key
        return [
            f"{self.method} {without_keys(address)}",
            *(f"{name}: {value}" for name, value in shown.items()),
        ]

    def _body_text(self, rows: Sequence[Row]) -> str:
        items = [Item(str(n), 0, 1, 1, n, _text(row)) for n, row in enumerate(rows)]
        body = self.body.bytes_of(items, ())
        return "(no body)" if body is None else body.decode("utf-8", "replace")

    def first_request(self, rows: Sequence[Row], /) -> str:
        """See `etlkit.api.sink.SendsRequests.first_request`."""
        sent = list(rows[: self.batch_size])
        if callable(self.request):
            body = self.body.made_of(sent)
            text = "(no body)" if body is None else body.decode("utf-8", "replace")
        else:
            text = self._body_text(sent)
        address = self.url_template.origin + self.url_template.path(row_to_json(sent[0]))
        return "\n".join([*self._head(address, "…"), "", text])

    def open(self, job: JobOptions, run: Run, reader: SourceReader) -> SinkWriter:
        """See `etlkit.api.sink.Sink.open`."""
        from etlkit.bigquery.client import connect
        from etlkit.bigquery.http_sink.writer import HttpWriter

        return HttpWriter(self, job, run, connect(run), reader.details)

    def rejected_rows(self, source: Source, run_id: str, only: str | None) -> Source:
        """See `etlkit.api.sink.Sink.rejected_rows`."""
        from etlkit.bigquery.rejects_source import RejectsSource

        return RejectsSource(source, self.name, self.work_dataset, run_id, only)


def _text(row: Row) -> str:
    return json.dumps(row_to_json(row), ensure_ascii=False, separators=(",", ":"))
