"""Spans of runs and of their parts. Without a backend they cost a look at a context variable."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from etlkit.errors import without_keys
from etlkit.telemetry.backend import Backend, active, find_backend
from etlkit.telemetry.current_run import CurrentRun, in_run

Kind = Literal["internal", "client"]

_MAX_TEXT_CHARS = 500


class Span:
    """A span; does nothing where nobody watches.

    Args:
        span: OpenTelemetry's; None = nobody watches.
    """

    __slots__ = ("_span",)

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, **attributes: Any) -> None:
        """Set attributes `etlkit.<name>`; None = not known, left out. Texts are shown without keys."""
        if self._span is None:
            return
        self._span.set_attributes(prefixed(attributes))

    def fail(self, error: BaseException) -> None:
        """Say that it failed, and why."""
        if self._span is None:
            return
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("error.type", type(error).__qualname__)
        self._span.set_status(Status(StatusCode.ERROR, shown(str(error) or type(error).__name__)))


_NOBODY = Span()


def shown(text: str) -> str:
    """A text as telemetry may have it: without keys, and not too long."""
    return without_keys(text)[:_MAX_TEXT_CHARS]


def prefixed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes with our prefix, in types that OpenTelemetry takes."""
    return {
        f"etlkit.{name}": shown(value) if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None
    }


@contextmanager
def span(name: str, *, kind: Kind = "internal", **attributes: Any) -> Iterator[Span]:
    """A part of a run. An exception that leaves it makes it a failed one.

    Args:
        name: Of the span. It has no ids or values in it: these are attributes.
        kind: `client` for a request to another system.
        attributes: See `Span.set`.
    """
    backend = active.get()
    if backend is None:
        yield _NOBODY
        return
    with _started(backend, name, kind, attributes) as made:
        yield made


@contextmanager
def _started(
    backend: Backend, name: str, kind: Kind, attributes: Mapping[str, Any]
) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind

    with backend.tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT if kind == "client" else SpanKind.INTERNAL,
        attributes=prefixed(attributes),
        record_exception=False,  # its text and stack may hold values of rows
        set_status_on_exception=False,
    ) as made:
        own = Span(made)
        try:
            yield own
        except BaseException as error:
            own.fail(error)
            raise


class RunSpan:
    """The span of a run, and its metrics.

    Args:
        span: The span.
        attributes: Of its metrics.
    """

    def __init__(self, span: Span, attributes: Mapping[str, Any]) -> None:
        self._span = span
        self._attributes = dict(attributes)
        self._began = time.monotonic()

    def set(self, **attributes: Any) -> None:
        """See `Span.set`."""
        self._span.set(**attributes)

    def ended(self, state: str) -> None:
        """Count the run.

        Args:
            state: How it ended.
        """
        backend = active.get()
        if backend is not None:
            attributes = {**self._attributes, "etlkit.state": state}
            backend.instruments.runs.add(1, attributes)
            backend.instruments.run_duration.record(time.monotonic() - self._began, attributes)

    def add_cost(self, cost: float | None, currency: str) -> None:
        """Count what the calls of the run have cost.

        Args:
            cost: In `currency`; None = no price is declared.
            currency: Its code.
        """
        backend = active.get()
        if backend is not None and cost:
            backend.instruments.cost.add(cost, {**self._attributes, "etlkit.currency": currency})


@contextmanager
def run_span(kind: str, run: CurrentRun) -> Iterator[RunSpan]:
    """A run; the spans of all that it does are below it, also those of its threads.

    The run of a workflow's task is below the task, and one that a scheduler started is below the
    scheduler's span, if that gave `TRACEPARENT`.

    Args:
        kind: `transfer`, `datamart` or `workflow`.
        run: Which run.
    """
    backend = find_backend()
    token = active.set(backend)
    try:
        with in_run(run):
            if backend is None:
                yield RunSpan(_NOBODY, {})
                return
            names = {"kind": kind, "job": run.job}
            more = {"run_id": run.run_id or None, "task": run.task, "parent_run_id": run.parent}
            with _in_schedulers_trace(), _started(backend, kind, "internal", names | more) as made:
                yield RunSpan(made, prefixed(names))
    finally:
        active.reset(token)


@contextmanager
def _in_schedulers_trace() -> Iterator[None]:
    """Go on with the trace of `TRACEPARENT`, unless there is a span already.

    https://opentelemetry.io/docs/specs/otel/context/env-carriers/
    """
    from opentelemetry import context, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    given = os.environ.get("TRACEPARENT")
    if not given or trace.get_current_span().get_span_context().is_valid:
        yield
        return
    carrier = {"traceparent": given, "tracestate": os.environ.get("TRACESTATE", "")}
    token = context.attach(TraceContextTextMapPropagator().extract(carrier))
    try:
        yield
    finally:
        context.detach(token)


def trace_headers() -> dict[str, str]:
    """The W3C headers that let another service go on with the current trace; empty = there is none."""
    if active.get() is None:
        return {}
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    if trace.get_current_span().is_recording():
        TraceContextTextMapPropagator().inject(headers)
    return headers


def trace_ids() -> tuple[str, str, bool] | None:
    """Ids of the current trace and span in hexadecimal, and whether it is sampled; None = none."""
    if active.get() is None:
        return None
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return None
    return f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags.sampled
