"""What a job says about the API that its rows go to."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from etlkit.bigquery.http_sink.answer import ErrorsAt, check_errors_at
from etlkit.bigquery.http_sink.body import Body, Request
from etlkit.bigquery.http_sink.headers import check_headers
from etlkit.bigquery.http_sink.url import PLACEHOLDER, UrlTemplate
from etlkit.bigquery.names import check_table
from etlkit.bigquery.source import WORK_DATASET
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.classify import TRANSIENT_STATUS
from etlkit.calls.limits import RateLimit, as_rate_limit
from etlkit.errors import ConfigError, SinkError
from etlkit.variables.substitution import without_variables

if TYPE_CHECKING:
    from etlkit.rows.columns import Column

MODE = "http"
"""The mode in the ledger."""

_METHODS = ("POST", "PUT", "PATCH", "DELETE")
_NEVER_SUCCESS = TRANSIENT_STATUS | {401, 403}


@dataclass(frozen=True)
class HttpOptions:
    """What a job says about its API; `HttpSink` is this, ready to be opened.

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
        idempotency_key: The key itself, e.g. `"order-{order_id}"`: the same in every run, so that an
            API that remembers keys acts once on a row however often it is sent. Only with
            `batch_size=1`. None = a key of the run and the row.
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
    idempotency_key: str | None = None
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
        if self.idempotency_key is not None:
            self._check_key(self.idempotency_key)

    def _check_key(self, template: str) -> None:
        if self.is_batch or self.idempotency_header is None:
            raise ConfigError(
                "idempotency_key is the key of one row: it goes with batch_size=1 and an "
                "idempotency_header"
            )
        if not PLACEHOLDER.search(template):
            raise ConfigError(
                f"idempotency_key={template!r} is the same for all rows: write a column as {{name}}"
            )

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
            ("idempotency_key", PLACEHOLDER.findall(self.idempotency_key or "")),
        ):
            if missing := [name for name in names if name not in there]:
                raise SinkError(
                    f"HttpSink({option}=…) names {', '.join(missing)}, and the rows have only "
                    + ", ".join(column.name for column in columns),
                    stage="open",
                )
