"""Exchanges with one service: a request goes out, with retries, and its answer is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeVar

from etlkit.calls.address import shown
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.caller import Caller
from etlkit.calls.classify import from_http
from etlkit.calls.connections import HttpPool, HttpStream
from etlkit.calls.continued_body import ContinuedBody, decompressed
from etlkit.calls.http_watch import told, traced
from etlkit.calls.recording import Recording, request_key
from etlkit.calls.request_headers import hide, merged, secrets_in
from etlkit.calls.run_calls import caller, running_caller
from etlkit.errors import ApiError, EtlkitError, RequestRefusedError, RetryableError, RowError

T = TypeVar("T")

MAX_ERROR_BYTES: Final = 64 * 1024
"""Of the body of an error; more is not read."""

NOT_JSON: Final = "not_json"
_GARBLED: Final = frozenset({NOT_JSON, "bad_encoding"})
_MAX_GARBLED: Final = 3
"""A success that cannot be read comes from a proxy or a portal on the way: those come and go."""

_UNAUTHORIZED: Final = 401


class Authorization(Protocol):
    """The headers that show a service who calls. Threads share it."""

    def headers(self) -> Mapping[str, str]:
        """The headers of the next request. It may ask a server for a token first."""
        ...

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Forget headers that the service refused with 401; False = there are no others."""
        ...


@dataclass(frozen=True)
class HttpAnswer:
    """A whole answer.

    Attributes:
        status: The HTTP status.
        headers: The answer's headers.
        body: Its body, decoded as `Content-Encoding` says.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Request(NamedTuple):
    """What is sent, and what may come back.

    Attributes:
        method: E.g. `GET`.
        target: Path and query.
        headers: Without those of the authorization.
        body: None = no body.
        as_row: Statuses that are the error of a row.
        units: Billing units of each attempt.
        success: Statuses that are a success; None = every 2xx.
        max_bytes: Of the answer's body; None = no limit. See `HttpPool.send`.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    as_row: Collection[int]
    units: int
    success: Collection[int] | None = None
    max_bytes: int | None = None

    def is_success(self, status: int) -> bool:
        """Whether a status is one."""
        return 200 <= status < 300 if self.success is None else status in self.success


class ExchangeRules:
    """What exchanges have in common, be they awaited or not.

    Args:
        service: Its name, for messages and for its `Caller`.
        retry: How often and how long to try, unless the job says so; None = the defaults.
        authorization: Who calls; None = the headers of the requests say it, or nothing does.
        origin: `https://host`, with the path that is put before those of all requests.
    """

    def __init__(
        self,
        service: str,
        retry: RetryPolicy | None,
        authorization: Authorization | None,
        origin: str,
    ) -> None:
        self._service = service
        self._origin = origin
        self._retry = retry
        self._authorization = authorization
        self._caller = running_caller(service, retry)

    def refused(self, message: str, status: int | None) -> ApiError:
        """The error for a service that cannot be worked with."""
        return ApiError(message, service=self._service, status=status)

    def _authorization_of(self, request: Request) -> Authorization | None:
        """Who calls; None = the request says it itself, or nothing does."""
        if self._authorization is None:
            return None
        has_own = any(name.lower() == "authorization" for name in request.headers)
        return None if has_own else self._authorization

    def _refusal(
        self,
        request: Request,
        headers: Mapping[str, str],
        status: int,
        answered: Mapping[str, str],
        body: bytes,
        made: int,
    ) -> EtlkitError:
        secrets = secrets_in(headers)
        what = shown(request.target)
        error = from_http(
            status, answered, body, self._service, what, hide=lambda text: hide(text, secrets)
        )
        if isinstance(error, ApiError) and status in request.as_row:
            return RequestRefusedError(error.message, code=str(status), attempts=made)
        return error

    def _garbled(self, error: RetryableError, num_before: int) -> int:
        """How many answers of a call could not be read, this error's included.

        Raises:
            ApiError: They are too many.
        """
        if error.code not in _GARBLED:
            return num_before
        if num_before + 1 < _MAX_GARBLED:
            return num_before + 1
        raise self.refused(error.message, error.status) from None

    def _calls(self) -> Caller:
        return self._caller or caller(self._service, self._retry)

    def _recorded(self, recording: Recording, request: Request) -> HttpAnswer | None:
        """The answer that another run got to an equal request; None = there is none."""
        found = recording.find(self._key(request))
        return None if found is None else HttpAnswer(found[0][0], found[0][1], found[1])

    def _record(self, recording: Recording, request: Request, answer: HttpAnswer) -> None:
        """Keep an answer that could be read."""
        about = [answer.status, dict(answer.headers)]
        recording.keep(self._key(request), about, answer.body)

    def _key(self, request: Request) -> str:
        return request_key(
            self._origin, request.method, request.target, request.headers, request.body
        )


def is_unauthorized(error: ApiError) -> bool:
    """Whether another token may help."""
    return error.status == _UNAUTHORIZED


class Exchange(ExchangeRules):
    """Requests to one service. Threads share it.

    Args:
        pool: Connections to it.
        service: Its name, for messages and for its `Caller`.
        retry: How often and how long to try, unless the job says so; None = the defaults.
        authorization: Who calls; None = the headers of the requests say it, or nothing does.
        origin: See `ExchangeRules`.
    """

    def __init__(
        self,
        pool: HttpPool,
        service: str,
        retry: RetryPolicy | None,
        authorization: Authorization | None,
        origin: str,
    ) -> None:
        super().__init__(service, retry, authorization, origin)
        self._pool = pool

    def call(self, request: Request, read: Callable[[HttpAnswer], T]) -> T:
        """Send a request until it is answered, and read the answer.

        Args:
            request: What to send.
            read: Reads a success. It raises `RetryableError` with the code `not_json` for an answer
                that another attempt may make better.

        Raises:
            ApiError: The service refused the call, or its answer cannot be read.
            RequestRefusedError: It refused the call with one of `as_row`.
            CallFailedError: The call kept failing, and the service is well.
            OutageError: The service was down for too long.
        """
        calls = self._calls()
        recording = calls.recording
        if recording is not None and (recorded := self._recorded(recording, request)) is not None:
            return read(recorded)

        def sent(headers: Mapping[str, str]) -> T:
            made = garbled = 0

            def attempt(timeout_s: float) -> T:
                nonlocal made, garbled
                made += 1
                try:
                    answer = self._answer(request, headers, timeout_s, made)
                    result = read(answer)
                except RetryableError as error:
                    garbled = self._garbled(error, garbled)
                    raise
                if recording is not None:
                    self._record(recording, request, answer)
                return result

            return calls.call(attempt, units=request.units)

        return self._authorized(request, sent)

    def pieces(self, request: Request) -> Generator[bytes, None, None]:
        """The body of an answer piece by piece, over as many requests as it takes.

        Raises:
            RowError: The body changed while it was read.
            EtlkitError: As `call`.
        """
        sent = request.headers
        what = shown(request.target)

        def ask(more: Mapping[str, str], timeout_s: float) -> HttpStream:
            headers = merged(sent, {"Accept-Encoding": "identity", **more})
            return self._pool.open(request.target, traced(headers), timeout_s=timeout_s)

        def refusal(stream: HttpStream, timeout_s: float) -> Exception:
            answered = stream.read(MAX_ERROR_BYTES, timeout_s)
            return self._refusal(request, sent, stream.status, stream.headers, answered, 1)

        def changed() -> Exception:
            return RowError(f"{self._service}: {what} changed while it was read")

        def first(headers: Mapping[str, str]) -> bytes:
            nonlocal sent
            sent = headers
            return calls.call(body.next_piece, units=request.units)

        calls, body = self._calls(), ContinuedBody(ask, refusal, changed)

        def raw() -> Generator[bytes, None, None]:
            piece: bytes | None = None
            while piece != b"":
                piece = None
                if body.is_open:
                    with suppress(RetryableError):
                        piece = body.next_piece(calls.policy.attempt_timeout_s)
                # Where it broke, the rest is another request, which is counted like the first one.
                piece = self._authorized(request, first) if piece is None else piece
                yield piece

        try:
            yield from decompressed(raw(), lambda: body.headers, self._bad_encoding(what))
        finally:
            body.close()

    def close(self) -> None:
        """Close the connections that are idle."""
        self._pool.close()

    def _answer(
        self, request: Request, headers: Mapping[str, str], timeout_s: float, made: int
    ) -> HttpAnswer:
        with told(request.method, request.target, self._pool.origin) as tell:
            status, answered, body = self._pool.send(
                request.method,
                request.target,
                traced(headers),
                request.body,
                timeout_s=timeout_s,
                max_bytes=request.max_bytes,
            )
            tell(status)
        if not request.is_success(status):
            raise self._refusal(request, headers, status, answered, body, made)
        return HttpAnswer(status, answered, body)

    def _authorized(self, request: Request, make: Callable[[Mapping[str, str]], T]) -> T:
        """Make a call, and once more with another token if the service refuses the one it got."""
        authorization = self._authorization_of(request)
        if authorization is None:
            return make(request.headers)
        shows = authorization.headers()
        try:
            return make(merged(shows, request.headers))
        except ApiError as error:
            if not is_unauthorized(error) or not authorization.renew(shows):
                raise
        return make(merged(authorization.headers(), request.headers))

    def _bad_encoding(self, what: str) -> ApiError:
        return self.refused(
            f"{self._service}: the body of {what} is not encoded as its Content-Encoding says", 200
        )
