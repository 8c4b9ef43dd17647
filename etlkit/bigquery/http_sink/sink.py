"""`HttpSink`: a web API as the target of a job."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from etlkit.api.run import new_run_id
from etlkit.api.sink import Outlook
from etlkit.bigquery.http_sink.answer import ErrorsAt, check_errors_at
from etlkit.bigquery.http_sink.body import Body, Request
from etlkit.bigquery.http_sink.bundle import Item
from etlkit.bigquery.http_sink.headers import Headers, check_headers
from etlkit.bigquery.http_sink.url import UrlTemplate
from etlkit.bigquery.names import check_table
from etlkit.bigquery.source import WORK_DATASET, work_dataset
from etlkit.calls.classify import TRANSIENT_STATUS
from etlkit.calls.limits import RateLimit, as_rate_limit
from etlkit.calls.retry import RetryPolicy
from etlkit.errors import ConfigError, SinkError, without_keys
from etlkit.rows.json_rows import row_to_json
from etlkit.variables.substitution import without_variables

if TYPE_CHECKING:
    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import Run, RunRecord, RunRequest
    from etlkit.api.sink import SinkWriter
    from etlkit.api.source import Source, SourceReader
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row
    from etlkit.variables.definitions import Value

MODE = "http"
"""The mode in the ledger."""

_METHODS = ("POST", "PUT", "PATCH", "DELETE")
_NEVER_SUCCESS = TRANSIENT_STATUS | {401, 403}


@dataclass(frozen=True)
class HttpSink:
    """A web API. Rows are sent as soon as they are transformed, each in a request or in batches.

    A row is staged before it is sent, and so is the API's answer. A run that was killed goes on with
    the rows that have no answer; those that were on their way are sent again under the same
    idempotency key. So each row reaches the API at least once, and takes effect once if the API
    honours such keys.

    Attributes:
        url: `https://host/path`. `{column}` in path or query is the row's value, quoted; only with
            `batch_size=1`.
        name: `dataset.name`, after which the table of rejected rows is named: `<name>_rejects`.
        method: `POST`, `PUT`, `PATCH` or `DELETE`.
        headers: Of every request. `${NAME}` is the value of an environment variable; values are
            never shown.
        request: The body. None = the row as a JSON object, or with `batch_size` above 1 a list of
            them, and no body for a `DELETE` of one row. A function gets the list of rows and returns
            what JSON can hold, a str, bytes, or None for no body. A template is JSON in which
            `"{column}"` is the row's value and `"{rows}"` all rows.
        batch_size: Rows in one request, at most.
        max_concurrency: Requests in flight.
        rate_limit: Requests per period, e.g. `"50/s"`, retries included; None = the job's.
        retry: How failed requests are retried; None = the job's.
        success: Statuses that mean accepted. Add 409 if a row that exists already is fine.
        errors_at: Where the answer to several rows has the error of each: a path (`"items[].error"`
            for a list with one entry a row, `"errors[index].message"` for a list of failed rows), or
            a function of answer and rows that returns one value per row: None = accepted, a text or
            an exception = refused, a `RetryableError` = sent again. None = the status is about all.
        order_by: Columns that name a thing, e.g. `"customer_id"`: rows with equal values are sent
            one request after the other, in the order in which they come from the source. None = in
            any order.
        idempotency_header: The header with the key of the request; None = no key is sent.
        responses: `dataset.table` that gets a row for each accepted row, with status and answer;
            None = answers are not kept.
        create_dataset: Create a missing dataset of `name` and `responses`.
        allow_http: Allow `http://` to another machine: rows and keys travel in plain text.
        work_dataset: Where staged rows and the ledger live, `dataset` or `project.dataset`.
    """

    url: str
    name: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    request: Request = None
    batch_size: int = 1
    max_concurrency: int = 8
    rate_limit: RateLimit | str | None = None
    retry: RetryPolicy | None = None
    success: Container[int] = range(200, 300)
    errors_at: ErrorsAt = None
    order_by: str | tuple[str, ...] | None = None
    idempotency_header: str | None = "Idempotency-Key"
    responses: str | None = None
    create_dataset: bool = False
    allow_http: bool = False
    work_dataset: str = WORK_DATASET

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without any I/O."""
        for table in (self.name, self.responses):
            if table is not None:
                check_table(without_variables(table) if isinstance(table, str) else table)
        if self.method not in _METHODS:
            raise ConfigError(f"method={self.method!r}: it is one of {', '.join(_METHODS)}")
        for option in ("batch_size", "max_concurrency"):
            number = getattr(self, option)
            if not isinstance(number, int) or number < 1:
                raise ConfigError(f"{option}={number!r}: it is a whole number, 1 or more")
        check_headers(self.headers, self.idempotency_header)
        check_errors_at(self.errors_at)
        as_rate_limit(self.rate_limit)
        self._check_success()
        template = self.url_template
        if self.is_batch and template.columns:
            raise ConfigError(
                f"HttpSink(url=…): {{{template.columns[0]}}} is the value of one row, and a request "
                f"has up to {self.batch_size} of them; use batch_size=1"
            )
        _ = self.body

    def _check_success(self) -> None:
        for status in sorted(_NEVER_SUCCESS):
            if status in self.success:
                raise ConfigError(
                    f"success: {status} cannot mean that rows are accepted"
                    + (": such an answer is tried again" if status in TRANSIENT_STATUS else "")
                )

    @property
    def is_batch(self) -> bool:
        """Whether a request may have several rows."""
        return self.batch_size > 1

    @property
    def url_template(self) -> UrlTemplate:
        """The address."""
        return UrlTemplate(without_variables(self.url), allow_http=self.allow_http)

    @property
    def body(self) -> Body:
        """What makes the bodies."""
        is_optional = self.method == "DELETE" and not self.is_batch
        return Body(self.request, is_batch=self.is_batch, is_optional=is_optional)

    @property
    def order_columns(self) -> tuple[str, ...]:
        """`order_by` as a tuple."""
        return (self.order_by,) if isinstance(self.order_by, str) else tuple(self.order_by or ())

    @property
    def target(self) -> str:
        """Method and address, without the query."""
        return f"{self.method} {self.url_template.shown}"

    def check_columns(self, columns: Sequence[Column]) -> None:
        """Raise if rows of these columns lack one that the requests need.

        Raises:
            SinkError: Says which.
        """
        there = {column.name for column in columns}
        for option, names in (
            ("url", self.url_template.columns),
            ("request", self.body.columns),
            ("order_by", self.order_columns),
        ):
            if missing := [name for name in names if name not in there]:
                raise SinkError(
                    f"HttpSink({option}=…) names {', '.join(missing)}, and the rows have only "
                    + ", ".join(column.name for column in columns),
                    stage="open",
                )

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
        from etlkit.bigquery.client import Connection, errors_as
        from etlkit.bigquery.names import label
        from etlkit.bigquery.runs.find_run import find_run
        from etlkit.bigquery.runs.finish import finish_published

        prefix = f"etlkit_find_{new_run_id(datetime.now(UTC))}"
        labels = {"etlkit_job": label(request.job_name)}
        connection = Connection(request.settings, job_prefix=prefix, labels=labels)
        try:
            dataset = work_dataset(self.work_dataset, connection.project)
            with errors_as(SinkError, "open", "reading the ledger failed"):
                record = find_run(connection, dataset, request, self.target, MODE)
                if record.published is not None:
                    finish_published(connection, dataset, record.run_id)
                return record
        finally:
            connection.close()

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
        lines = [f"one request for each {each}: {self.target}"]
        if limit is not None:
            most = math.ceil(limit / self.batch_size)
            lines = [f"at most {most:,} requests, one for each {each}: {self.target}"]
        lines += self._head(self.url_template.shown, "…")
        if callable(self.request):
            lines.append("(the function given as request makes the body; --preview shows it)")
        elif columns is not None:
            row = {column.name: f"<{column.ddl}>" for column in columns}
            lines.append(self._body_text([row]))
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
