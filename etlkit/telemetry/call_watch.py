"""Spans and metrics of calls to services. Every call is counted; few of them have a span.

A million rows would make a million spans. So the first calls of a run to a service have one, then one
a second; of calls that failed or were repeated, ten a second.
"""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar, Token
from typing import Any

from etlkit.telemetry.backend import Backend, active
from etlkit.telemetry.current_run import current_run
from etlkit.telemetry.spans import shown

FIRST_CALLS = 100
"""Calls of a run to a service that have a span, before they are thinned out."""

CALLS_PER_S = 1.0
PROBLEMS_PER_S = 10.0


class _Allowance:
    """How many spans may still be made: some at once, then a number a second."""

    def __init__(self, at_once: int, per_s: float) -> None:
        self._rest = float(at_once)
        self._most = max(1.0, per_s)
        self._per_s = per_s
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether one more may be made."""
        with self._lock:
            now = time.monotonic()
            if self._rest < self._most:
                self._rest = min(self._most, self._rest + (now - self._at) * self._per_s)
            self._at = now
            if self._rest < 1:
                return False
            self._rest -= 1
            return True


class CallSpans:
    """Which calls of one run to one service have spans. All threads share it."""

    def __init__(self) -> None:
        self.calls: _Allowance = _Allowance(FIRST_CALLS, CALLS_PER_S)
        self.problems: _Allowance = _Allowance(FIRST_CALLS, PROBLEMS_PER_S)


class CallWatch:
    """Watches one call over all its attempts.

    Args:
        backend: Where spans and metrics go.
        service: The service's name.
        spans: Decides whether the call has a span.
    """

    def __init__(self, backend: Backend, service: str, spans: CallSpans) -> None:
        self._backend = backend
        self._spans = spans
        run = current_run()
        self._metric = {"etlkit.service": service} | (
            {} if run is None else {"etlkit.job": run.job}
        )
        self._attributes: dict[str, Any] = {"etlkit.service": service}
        self._events: list[tuple[str, dict[str, Any], int]] = []
        self._began_ns = time.time_ns()
        self._attempt_at = 0.0
        self._num_attempts = 0
        self._name = service
        self._span = self._start() if spans.calls.take() else None
        self._token: Any = None
        if self._span is not None:
            from opentelemetry import context, trace

            self._token = context.attach(trace.set_span_in_context(self._span))

    def _start(self) -> Any:
        from opentelemetry.trace import SpanKind

        return self._backend.tracer.start_span(
            self._name, kind=SpanKind.CLIENT, start_time=self._began_ns
        )

    def begin_attempt(self, units: int) -> None:
        """An attempt is made.

        Args:
            units: Its billing units.
        """
        instruments = self._backend.instruments
        self._num_attempts += 1
        self._attempt_at = time.monotonic()
        instruments.in_flight.add(1, self._metric)
        if self._num_attempts > 1:
            instruments.retries.add(1, self._metric)
        if units:
            instruments.units.add(units, self._metric)

    def end_attempt(self, error: BaseException | None) -> None:
        """The attempt is over.

        Args:
            error: Why it failed; None = it did not.
        """
        instruments = self._backend.instruments
        attributes: dict[str, Any] = dict(self._metric)
        if error is not None:
            attributes["error.type"] = _kind(error)
            self._event("attempt failed", error)
        instruments.in_flight.add(-1, self._metric)
        instruments.calls.add(1, attributes)
        instruments.call_duration.record(time.monotonic() - self._attempt_at, attributes)

    def park(self, change: int) -> None:
        """A row is parked (1), or no longer (-1)."""
        self._backend.instruments.parked.add(change, self._metric)

    def _event(self, name: str, error: BaseException) -> None:
        attributes = {
            "etlkit.attempt": self._num_attempts,
            "error.type": _kind(error),
            "etlkit.message": shown(str(error)),
        }
        self._events.append((name, attributes, time.time_ns()))

    def http(
        self, method: str, url: str, server: tuple[str, int], status: int | None, seconds: float
    ) -> None:
        """What an HTTP request of the call was, by OpenTelemetry's conventions.

        https://opentelemetry.io/docs/specs/semconv/http/http-spans/

        Args:
            method: E.g. `POST`.
            url: Without keys.
            server: Host and port.
            status: Of the answer; None = there was none.
            seconds: Duration.
        """
        where: dict[str, Any] = {
            "http.request.method": method,
            "server.address": server[0],
            "server.port": server[1],
        }
        if status is not None:
            where["http.response.status_code"] = status
        self._name = f"{method} {self._attributes['etlkit.service']}"
        self._attributes |= {**where, "url.full": url}
        if self._num_attempts > 1:
            self._attributes["http.request.resend_count"] = self._num_attempts - 1
        self._backend.instruments.http_duration.record(seconds, where)

    def end(self, error: BaseException | None) -> None:
        """The call is over.

        Args:
            error: Why it failed; None = it did not.
        """
        if self._token is not None:
            from opentelemetry import context

            context.detach(self._token)
        is_problem = error is not None or bool(self._events)
        if self._span is None and is_problem and self._spans.problems.take():
            self._span = self._start()
        if self._span is None:
            return
        made = self._span
        made.update_name(self._name)
        made.set_attributes({**self._attributes, "etlkit.attempts": self._num_attempts})
        for name, attributes, at in self._events:
            made.add_event(name, attributes, at)
        if error is not None:
            from opentelemetry.trace import Status, StatusCode

            made.set_attribute("error.type", _kind(error))
            made.set_status(Status(StatusCode.ERROR, shown(str(error))))
        made.end()


def _kind(error: BaseException) -> str:
    status = getattr(error, "status", None)
    return type(error).__qualname__ if status is None else str(status)


_current: ContextVar[CallWatch | None] = ContextVar("etlkit_call", default=None)


def watch_call(service: str, spans: CallSpans) -> tuple[CallWatch, Token[CallWatch | None]] | None:
    """Begin to watch a call; None = nobody watches."""
    backend = active.get()
    if backend is None:
        return None
    watch = CallWatch(backend, service, spans)
    return watch, _current.set(watch)


def end_watch(
    watched: tuple[CallWatch, Token[CallWatch | None]], error: BaseException | None
) -> None:
    """End what `watch_call` began, in the same thread or task."""
    watch, token = watched
    _current.reset(token)
    watch.end(error)


def current_call() -> CallWatch | None:
    """The call that is watched in this thread or task; None = none is."""
    return _current.get()
