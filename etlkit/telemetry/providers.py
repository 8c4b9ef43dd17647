"""Global OpenTelemetry providers from `OTEL_*` variables, as OpenTelemetry's own autoconfiguration.

The SDK reads most of them by itself: resource, sampler, batches, intervals, endpoints, headers.
Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from etlkit.errors import ConfigError

_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"


def set_providers(environ: Mapping[str, str]) -> list[Callable[[], object]]:
    """Set a global tracer provider and meter provider where there is none.

    Returns:
        What sends the rest of each that was set.

    Raises:
        ConfigError: A variable names an exporter that is not installed.
    """
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.resources import Resource

    has_name = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = Resource.create({} if has_name else {"service.name": "etlkit"})
    flushes: list[Callable[[], object]] = []
    if type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider":
        flushes += _set_tracer_provider(environ, resource)
    if type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
        flushes += _set_meter_provider(environ, resource)
    return flushes


def _set_tracer_provider(environ: Mapping[str, str], resource: Any) -> list[Callable[[], object]]:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporters = _exporters(environ, "TRACES", "opentelemetry_traces_exporter")
    if not exporters:
        return []
    # Its own end waits up to 30 s for an exporter that hangs.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter()))
    trace.set_tracer_provider(provider)
    return [provider.force_flush]


def _set_meter_provider(environ: Mapping[str, str], resource: Any) -> list[Callable[[], object]]:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporters = _exporters(environ, "METRICS", "opentelemetry_metrics_exporter")
    if not exporters:
        return []
    readers = [PeriodicExportingMetricReader(exporter()) for exporter in exporters]
    provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return [provider.force_flush]


def _exporters(environ: Mapping[str, str], signal: str, group: str) -> list[Callable[[], Any]]:
    names = environ.get(f"OTEL_{signal}_EXPORTER", "").strip() or "otlp"
    protocol = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get(_PROTOCOL)
    found: list[Callable[[], Any]] = []
    for name in (each.strip() for each in names.split(",")):
        if name in {"", "none"}:
            continue
        wanted = _OTLP.get(protocol or "http/protobuf") if name == "otlp" else name
        entries = list(entry_points(group=group, name=wanted)) if wanted else []
        if not entries:
            raise ConfigError(
                f"OTEL_{signal}_EXPORTER={name!r}"
                + (f" with protocol {protocol!r}" if protocol else "")
                + ": no such exporter is installed"
            )
        found.append(entries[0].load())
    return found
