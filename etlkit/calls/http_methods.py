"""What `HttpClient` and `AsyncHttpClient` have in common: options, requests, reading of answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Mapping
from typing import Any, Final, Protocol, TypedDict, Unpack

from etlkit.calls.address import BaseAddress, shown
from etlkit.calls.classify import TRANSIENT_STATUS
from etlkit.calls.exchange import (
    MAX_ERROR_BYTES,
    NOT_JSON,
    Authorization,
    ExchangeRules,
    HttpAnswer,
    Request,
)
from etlkit.calls.form import FORM, File, form_body, multipart_body
from etlkit.calls.paging import Page, Paging
from etlkit.calls.request_headers import merged, read_headers
from etlkit.calls.secret import Secret
from etlkit.errors import ConfigError, RetryableError, RowError
from etlkit.rows.json_encoder import made_once

_JSON: Final = "application/json"
_AS_JSON: Final = made_once(json.JSONEncoder(ensure_ascii=False, allow_nan=False))
_DECODER: Final = json.JSONDecoder()
_NEVER_A_ROW: Final = TRANSIENT_STATUS | {401, 407}
_MAY_BE_EMPTY: Final = frozenset({201, 202, 204, 205})
"""Successes that may have no content. A 200 says that there is some.
Source: https://www.rfc-editor.org/rfc/rfc9110#name-successful-2xx"""


class Auth(Protocol):
    """A way to show who calls; see `etlkit.calls.auth`."""

    def authorize(self, base_url: str, /) -> Authorization:
        """Begin with the calls to a service.

        Args:
            base_url: Its `https://host`, without a path.

        Raises:
            ConfigError: Something is missing in the environment.
        """
        ...


class CallOptions(TypedDict, total=False):
    """What each method of `HttpClient` that makes a call takes, by keyword.

    Attributes:
        params: Query parameters, beside the client's: name to text, number, truth value or date; a
            list repeats the name, and None leaves the parameter out.
        headers: Beside the client's, or instead of them; None = without that header.
        errors_as_row: Statuses that are this row's error, instead of the client's.
        units: Billing units of the call, 1 by default; 0 = it is not billed and not rate-limited.
    """

    params: Mapping[str, Any]
    headers: Mapping[str, str | Secret | None]
    errors_as_row: Collection[int]
    units: int


_OPTIONS: Final = frozenset(CallOptions.__annotations__)


class HttpMethods:
    """Requests to one service and how their answers are read. How they are sent, subclasses say.

    Args:
        base_url: See `HttpClient`; likewise all others.
    """

    _rules: ExchangeRules

    def __init__(
        self,
        base_url: str,
        *,
        service: str,
        headers: Mapping[str, str | Secret] | None,
        params: Mapping[str, Any] | None,
        errors_as_row: Collection[int],
    ) -> None:
        self._address = BaseAddress.of(base_url)
        self._service = service
        self._headers = merged({"User-Agent": "etlkit"}, read_headers(headers or {}, ConfigError))
        self._params = dict(params or {})
        self._of_json = merged(self._headers, {"Content-Type": _JSON})
        self._as_row = _statuses(errors_as_row)

    def _call(self, request: Request, read: Callable[[HttpAnswer], Any]) -> Any:
        """Send a request and read its answer; or something to await, which does."""
        raise NotImplementedError

    def get_json(self, path: str, **options: Unpack[CallOptions]) -> Any:
        """GET the JSON at a path that starts with `/`; None = the service has no content there."""
        return self._call(self._made("GET", path, None, None, options), self._json)

    def post_json(self, path: str, body: Any, **options: Unpack[CallOptions]) -> Any:
        """POST a JSON document and return the JSON of the answer; None = it has no content.

        Args:
            path: Starts with `/`.
            body: Anything JSON can hold.
            options: See `CallOptions`.
        """
        return self._call(self._made("POST", path, _json_body(body), _JSON, options), self._json)

    def put(self, path: str, body: Any, **options: Unpack[CallOptions]) -> Any:
        """PUT a JSON document and return the JSON of the answer; None = it is empty."""
        return self._call(self._made("PUT", path, _json_body(body), _JSON, options), self._json_if)

    def patch(self, path: str, body: Any, **options: Unpack[CallOptions]) -> Any:
        """PATCH with a JSON document and return the JSON of the answer; None = it is empty."""
        return self._call(
            self._made("PATCH", path, _json_body(body), _JSON, options), self._json_if
        )

    def delete(self, path: str, **options: Unpack[CallOptions]) -> Any:
        """DELETE what is at a path and return the JSON of the answer; None = it is empty."""
        return self._call(self._made("DELETE", path, None, None, options), self._json_if)

    def post_form(
        self, path: str, fields: Mapping[str, Any], **options: Unpack[CallOptions]
    ) -> Any:
        """POST a form, as browsers do, and return the JSON of the answer.

        Args:
            path: Starts with `/`.
            fields: As query parameters.
            options: See `CallOptions`.
        """
        return self._call(self._made("POST", path, form_body(fields), FORM, options), self._json)

    def post_files(
        self,
        path: str,
        files: Mapping[str, File],
        fields: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """POST files in a form (multipart), and return the JSON of the answer.

        Args:
            path: Starts with `/`.
            files: Name of the field to bytes, a `pathlib.Path`, `(file name, bytes)` or `(file name,
                bytes, content type)`. They are held in memory.
            fields: The other fields of the form, as query parameters; None = none.
            options: See `CallOptions`.
        """
        body, kind = multipart_body(fields or {}, files)
        return self._call(self._made("POST", path, body, kind, options), self._json)

    def _authorization(self, auth: Auth | None) -> Authorization | None:
        return None if auth is None else auth.authorize(self._address.origin)

    def _bytes_of(self, path: str, max_bytes: int, options: CallOptions) -> Request:
        most = max(max_bytes, MAX_ERROR_BYTES)
        return self._made("GET", path, None, None, options, max_bytes=most)

    def _page_steps(
        self, path: str, paging: Paging, max_pages: int | None, options: CallOptions
    ) -> Generator[tuple[Request, int], Page, None]:
        """The request of each page and its number, sent the page that came; see `HttpClient.pages`."""
        params = dict(options.pop("params", {})) | dict(paging.first())
        made = self._made("GET", path, None, None, {**options, "params": params})
        seen: set[int] = set()
        while True:
            seen.add(hash(made.target))
            page = yield made, len(seen)
            upcoming = paging.after(page)
            if upcoming is None:
                return
            if upcoming.link is not None:
                target = self._address.target_of_link(upcoming.link, made.target, self._service)
            else:
                params = {**params, **(upcoming.params or {})}
                target = self._address.target(path, {**self._params, **params})
            if hash(target) in seen:
                what = f"the page after page {len(seen)} of {shown(path)}"
                raise self._rules.refused(f"{self._service}: {what} was read already", 200)
            if max_pages is not None and len(seen) >= max_pages:
                raise RowError(
                    f"{self._service} has more than max_pages={max_pages} pages of {shown(path)}"
                )
            made = made._replace(target=target)

    def _made(
        self,
        method: str,
        path: str,
        body: bytes | None,
        kind: str | None,
        options: CallOptions,
        *,
        success: Collection[int] | None = None,
        max_bytes: int | None = None,
    ) -> Request:
        if options and not options.keys() <= _OPTIONS:
            unknown = ", ".join(sorted(options.keys() - _OPTIONS))
            known = ", ".join(sorted(_OPTIONS))
            raise TypeError(f"HttpClient: unknown option {unknown}; there are {known}")
        headers = self._headers_with(kind)
        if more := options.get("headers"):
            headers = merged(headers, read_headers(more, RowError))
        as_row = options.get("errors_as_row")
        params = self._params
        if own := options.get("params"):
            params = {**params, **own}
        return Request(
            method,
            self._address.target(path, params),
            headers,
            body,
            self._as_row if as_row is None else _statuses(as_row),
            options.get("units", 1),
            success,
            max_bytes,
        )

    def _json(self, answer: HttpAnswer) -> Any:
        """The JSON of an answer; None = it has no content, and its status says so."""
        if not answer.body and answer.status in _MAY_BE_EMPTY:
            return None
        try:
            return _json_of(answer.body)
        except (ValueError, RecursionError):
            raise RetryableError(
                f"{self._service} answered {answer.status} with something that is not JSON",
                status=answer.status,
                code=NOT_JSON,
            ) from None

    def _json_if(self, answer: HttpAnswer) -> Any:
        """The JSON of an answer; None = it has no content."""
        return self._json(answer) if answer.body else None

    def _headers_with(self, kind: str | None) -> Mapping[str, str]:
        if kind == _JSON:
            return self._of_json
        return self._headers if kind is None else merged(self._headers, {"Content-Type": kind})

    def _page(self, answer: HttpAnswer, number: int) -> Page:
        return Page(self._json(answer), answer.headers, number)


def _json_of(body: bytes) -> Any:
    """As `json.loads`, which takes much longer to begin.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        text = body.decode()
        value, end = _DECODER.raw_decode(text)
    except ValueError:  # UTF-16, a byte order mark, space before it
        return json.loads(body)
    return value if end == len(text) else json.loads(body)


def _json_body(value: Any) -> bytes:
    return _AS_JSON(value).encode()


def too_large(max_bytes: int) -> RowError:
    """The error for a body with more bytes than a row may have."""
    return RowError(f"the file is larger than {max_bytes:,} bytes")


def _statuses(given: Collection[int]) -> frozenset[int]:
    """Raise if a status cannot be the error of one row."""
    for status in given:
        if not isinstance(status, int) or not 400 <= status < 600 or status in _NEVER_A_ROW:
            raise ConfigError(
                f"errors_as_row: {status!r} cannot be the error of one row; give statuses from 400 on "
                "that the service will repeat for the row, such as 400, 404, 413 or 422"
            )
    return frozenset(given)


def within(body: bytes, max_bytes: int) -> bytes:
    """A body, if it is not larger.

    Raises:
        RowError: It is.
    """
    if len(body) > max_bytes:
        raise too_large(max_bytes)
    return body
