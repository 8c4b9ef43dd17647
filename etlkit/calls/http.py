"""`HttpClient`: an API over HTTP, with a deadline for every attempt and no secrets in messages."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final, Protocol, Self, TypedDict, Unpack

from etlkit.calls.address import BaseAddress, shown
from etlkit.calls.classify import TRANSIENT_STATUS
from etlkit.calls.connections import HttpPool
from etlkit.calls.exchange import (
    MAX_ERROR_BYTES,
    NOT_JSON,
    Authorization,
    Exchange,
    HttpAnswer,
    Request,
)
from etlkit.calls.form import FORM, File, form_body, multipart_body
from etlkit.calls.paging import Page, Paging
from etlkit.calls.request_headers import merged, read_headers
from etlkit.calls.retry import RetryPolicy
from etlkit.calls.secret import Secret
from etlkit.errors import ConfigError, RetryableError, RowError

__all__ = ["Auth", "Authorization", "CallOptions", "HttpAnswer", "HttpClient"]

_MAX_IDLE: Final = 64
_JSON: Final = "application/json"
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


class HttpClient:
    """One connection pool to one service. Threads may share it.

    Every call goes through the run's retry layer for the service, see `etlkit.calls.retry.caller`, so
    it may reach the service more than once: an answer may get lost. Redirects are not followed and
    cookies are not kept. Proxies and certificate authorities are those of the environment, see
    `etlkit.calls.proxies` and `etlkit.calls.tls`. All methods that make a call take `CallOptions` and
    raise the same errors.

    Args:
        base_url: `https://host`; a path in it is put before every call's.
        service: The service's name, for messages; callers of one name share limits and health.
        headers: Sent with every call; keys belong here, never into a URL. A `Secret` is read from the
            environment.
        params: Query parameters of every call.
        auth: Who calls, see `etlkit.calls.auth`; None = the headers say it, or nothing does.
        errors_as_row: Statuses, e.g. `{404, 422}`, that are the error of the row whose call it is, a
            `RequestRefusedError`. All others that are refused end the run.
        retry: How often and how long to try, unless the job says so; None = the defaults.

    Raises:
        ConfigError: An argument is wrong, or the environment lacks a secret. Shows no secret.
        ApiError: (Calls) the service refused the call, or its answer cannot be read.
        RequestRefusedError: (Calls) it refused the call with one of `errors_as_row`.
        CallFailedError: (Calls) the call kept failing, and the service is well.
        OutageError: (Calls) the service was down for too long.
    """

    def __init__(
        self,
        base_url: str,
        *,
        service: str,
        headers: Mapping[str, str | Secret] | None = None,
        params: Mapping[str, Any] | None = None,
        auth: Auth | None = None,
        errors_as_row: Collection[int] = (),
        retry: RetryPolicy | None = None,
    ) -> None:
        self._address = BaseAddress.of(base_url)
        self._service = service
        self._headers = merged({"User-Agent": "etlkit"}, read_headers(headers or {}, ConfigError))
        self._params = dict(params or {})
        self._as_row = _statuses(errors_as_row)
        authorization = None if auth is None else auth.authorize(self._address.origin)
        pool = HttpPool(self._address.origin, service=service, max_idle=_MAX_IDLE)
        self._exchange = Exchange(pool, service, retry, authorization)

    def get_json(self, path: str, **options: Unpack[CallOptions]) -> Any:
        """GET the JSON at a path that starts with `/`; None = the service has no content there."""
        return self._exchange.call(self._made("GET", path, None, None, options), self._json)

    def post_json(self, path: str, body: Any, **options: Unpack[CallOptions]) -> Any:
        """POST a JSON document and return the JSON of the answer; None = it has no content.

        Args:
            path: Starts with `/`.
            body: Anything JSON can hold.
            options: See `CallOptions`.
        """
        return self._exchange.call(
            self._made("POST", path, _json_body(body), _JSON, options), self._json
        )

    def put(self, path: str, body: Any, **options: Unpack[CallOptions]) -> Any:
        """PUT a JSON document and return the JSON of the answer; None = it is empty."""
        return self._exchange.call(
            self._made("PUT", path, _json_body(body), _JSON, options), self._json_if
        )

    def patch(self, path: str, body: Any, **options: Unpack[CallOptions]) -> Any:
        """PATCH with a JSON document and return the JSON of the answer; None = it is empty."""
        return self._exchange.call(
            self._made("PATCH", path, _json_body(body), _JSON, options), self._json_if
        )

    def delete(self, path: str, **options: Unpack[CallOptions]) -> Any:
        """DELETE what is at a path and return the JSON of the answer; None = it is empty."""
        return self._exchange.call(self._made("DELETE", path, None, None, options), self._json_if)

    def post_form(
        self, path: str, fields: Mapping[str, Any], **options: Unpack[CallOptions]
    ) -> Any:
        """POST a form, as browsers do, and return the JSON of the answer.

        Args:
            path: Starts with `/`.
            fields: As query parameters.
            options: See `CallOptions`.
        """
        return self._exchange.call(
            self._made("POST", path, form_body(fields), FORM, options), self._json
        )

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
        return self._exchange.call(self._made("POST", path, body, kind, options), self._json)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        expect_status: Collection[int] | None = None,
        **options: Unpack[CallOptions],
    ) -> HttpAnswer:
        """Make any request and return the answer as it is.

        Args:
            method: E.g. `PUT`.
            path: Starts with `/`.
            body: None = no body.
            expect_status: Statuses that are returned; all others are errors. None = every 2xx.
            options: See `CallOptions`.
        """
        made = self._made(method, path, body, None, options, success=expect_status)
        return self._exchange.call(made, lambda answer: answer)

    def get_bytes(self, path: str, *, max_bytes: int, **options: Unpack[CallOptions]) -> bytes:
        """Fetch something into memory.

        Args:
            path: Starts with `/`.
            max_bytes: The largest body; more is not read.
            options: See `CallOptions`.

        Raises:
            RowError: It has more than `max_bytes`.
        """
        most = max(max_bytes, MAX_ERROR_BYTES)
        made = self._made("GET", path, None, None, options, max_bytes=most)
        body = self._exchange.call(made, lambda answer: answer.body)
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body

    def stream(
        self, path: str, *, max_bytes: int | None = None, **options: Unpack[CallOptions]
    ) -> Generator[bytes, None, None]:
        """Fetch something of any size piece by piece; memory does not grow with it.

        A broken connection goes on where it broke, which is another call with the same units, if the
        body is still the same.

        Args:
            path: Starts with `/`.
            max_bytes: More is not read; None = no limit.
            options: See `CallOptions`.

        Yields:
            Pieces of about 64 KiB. Each has the deadline of an attempt.

        Raises:
            RowError: It has more than `max_bytes`, or it changed after a break.
        """
        made = self._made("GET", path, None, None, options)
        num_bytes = 0
        for piece in self._exchange.pieces(made):
            num_bytes += len(piece)
            if max_bytes is not None and num_bytes > max_bytes:
                raise _too_large(max_bytes)
            yield piece

    def download(
        self,
        path: str,
        to: str | Path | IO[bytes],
        *,
        max_bytes: int | None = None,
        **options: Unpack[CallOptions],
    ) -> int:
        """Fetch something of any size into a file, as `stream` does, and return the number of bytes.

        Args:
            path: Starts with `/`.
            to: A path, where the file appears when it is whole; or an open binary file.
            max_bytes: More is not read; None = no limit.
            options: See `CallOptions`.
        """
        pieces = self.stream(path, max_bytes=max_bytes, **options)
        if not isinstance(to, (str, Path)):
            return sum(to.write(piece) for piece in pieces)
        part = Path(f"{to}.part")
        try:
            with part.open("wb") as file:
                num_bytes = sum(file.write(piece) for piece in pieces)
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)
        return num_bytes

    def pages(
        self,
        path: str,
        paging: Paging,
        *,
        max_pages: int | None = None,
        **options: Unpack[CallOptions],
    ) -> Generator[Any, None, None]:
        """GET all pages of a list, one after the other. Each is a call with its own retries.

        Args:
            path: Of the first page; starts with `/`.
            paging: How pages follow each other, see `etlkit.calls.paging`.
            max_pages: A list with more pages is an error; None = no limit.
            options: See `CallOptions`.

        Yields:
            The JSON of each page.

        Raises:
            RowError: There are more than `max_pages`.
            ApiError: A page leads to one that was read already, or to another host.
        """
        params = dict(options.pop("params", {})) | dict(paging.first())
        made = self._made("GET", path, None, None, {**options, "params": params})
        seen: set[int] = set()
        while True:
            seen.add(hash(made.target))
            page = self._exchange.call(
                made, lambda answer: Page(self._json(answer), answer.headers, len(seen))
            )
            yield page.json
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
                raise self._exchange.refused(f"{self._service}: {what} was read already", 200)
            if max_pages is not None and len(seen) >= max_pages:
                raise RowError(
                    f"{self._service} has more than max_pages={max_pages} pages of {shown(path)}"
                )
            made = replace(made, target=target)

    def close(self) -> None:
        """Close the pool."""
        self._exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        if not options.keys() <= _OPTIONS:
            unknown = ", ".join(sorted(options.keys() - _OPTIONS))
            known = ", ".join(sorted(_OPTIONS))
            raise TypeError(f"HttpClient: unknown option {unknown}; there are {known}")
        headers = self._headers if kind is None else merged(self._headers, {"Content-Type": kind})
        as_row = options.get("errors_as_row")
        return Request(
            method,
            self._address.target(path, {**self._params, **options.get("params", {})}),
            merged(headers, read_headers(options.get("headers", {}), RowError)),
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
            return json.loads(answer.body)
        except (ValueError, RecursionError):
            raise RetryableError(
                f"{self._service} answered {answer.status} with something that is not JSON",
                status=answer.status,
                code=NOT_JSON,
            ) from None

    def _json_if(self, answer: HttpAnswer) -> Any:
        """The JSON of an answer; None = it has no content."""
        return self._json(answer) if answer.body else None


def _json_body(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _too_large(max_bytes: int) -> RowError:
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
