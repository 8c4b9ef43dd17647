"""OpenTelemetry, where it is wanted: the user's own providers, or those of the environment.

It is wanted if somebody has set a global provider, or if an `OTEL_*` variable says where to send to.
Else nothing of it is imported.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from etlkit._version import __version__
from etlkit.telemetry.instruments import Instruments

log: logging.Logger = logging.getLogger("etlkit")

_ASKED_BY = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
)
"""https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/"""

_FLUSH_S = 5.0
"""How long the end of the process waits for an exporter that does not answer."""

_PROXIES = ("ProxyTracerProvider", "_ProxyMeterProvider", "NoOpTracerProvider", "NoOpMeterProvider")


@dataclass(frozen=True, slots=True)
class Backend:
    """Where spans and metrics go.

    Attributes:
        tracer: An OpenTelemetry tracer.
        instruments: The metrics.
    """

    tracer: Any
    instruments: Instruments


active: ContextVar[Backend | None] = ContextVar("etlkit_telemetry", default=None)
"""The backend of the run that this thread or task works for; None = nobody watches."""

_lock = threading.Lock()
_instruments: dict[int, tuple[Any, Instruments]] = {}
"""By the identity of the meter provider, which stays alive with them."""

_has_set_up = False


def find_backend(environ: Mapping[str, str] | None = None) -> Backend | None:
    """Where the spans and metrics of a run that begins now go; None = nobody wants them.

    Args:
        environ: The environment variables; None = those of the process.
    """
    environ = os.environ if environ is None else environ
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    is_asked = any(environ.get(name, "").strip() for name in _ASKED_BY)
    if not is_asked and "opentelemetry" not in sys.modules:
        return None
    try:
        from opentelemetry import metrics, trace
    except ImportError:
        _tell_once("OTEL_* variables are set, but opentelemetry is not installed: extra otel")
        return None
    with _lock:
        if is_asked:
            _set_up(environ)
        providers = trace.get_tracer_provider(), metrics.get_meter_provider()
        if all(type(each).__name__ in _PROXIES for each in providers):
            return None
        key = id(providers[1])
        if key not in _instruments:
            made = Instruments(providers[1].get_meter("etlkit", __version__))
            _instruments[key] = providers[1], made
    return Backend(providers[0].get_tracer("etlkit", __version__), _instruments[key][1])


_told: set[str] = set()


def _tell_once(text: str) -> None:
    if text not in _told:
        _told.add(text)
        log.warning("%s", text)


def _set_up(environ: Mapping[str, str]) -> None:
    """Set global providers as the environment says, where the user has set none."""
    global _has_set_up  # noqa: PLW0603 - providers are global, too
    if _has_set_up:
        return
    _has_set_up = True
    try:
        from etlkit.telemetry.providers import set_providers

        flushes = set_providers(environ)
    except Exception as error:
        _tell_once(f"OpenTelemetry could not be set up, so there are no traces: {error}")
        return
    if flushes:
        _report_export_errors()
        atexit.register(_flush, flushes)


def _flush(flushes: list[Callable[[], object]]) -> None:
    """Send what is left. An exporter that hangs does not hang the process."""

    def flush_all() -> None:
        for flush in flushes:
            flush()

    thread = threading.Thread(target=flush_all, name="etlkit-telemetry", daemon=True)
    thread.start()
    thread.join(_FLUSH_S)
    if thread.is_alive():
        _tell_once(
            f"telemetry: the exporter has not answered for {_FLUSH_S:.0f} s; spans may be missing"
        )


class _OneWarning(logging.Handler):
    """Says once that an exporter fails, instead of a line for each try."""

    def emit(self, record: logging.LogRecord) -> None:
        _tell_once_about_export(record.getMessage().splitlines()[0])


_has_told_export = False


def _tell_once_about_export(text: str) -> None:
    global _has_told_export  # noqa: PLW0603 - one warning a process
    if not _has_told_export:
        _has_told_export = True
        log.warning("telemetry cannot be sent, and the run goes on without: %s", text)


def _report_export_errors() -> None:
    logger = logging.getLogger("opentelemetry")
    if logger.handlers or logging.getLogger().handlers:
        return  # the user looks after it
    logger.addHandler(_OneWarning(logging.WARNING))
    logger.propagate = False
