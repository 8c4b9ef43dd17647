"""The metrics of runs. Names and units stay as they are: dashboards are built on them."""

from __future__ import annotations

from typing import Any

CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bounds of the histograms of durations; those that OpenTelemetry advises for HTTP, and longer ones."""


class Instruments:
    """OpenTelemetry's instruments, made once for a meter.

    Args:
        meter: An OpenTelemetry meter.
    """

    def __init__(self, meter: Any) -> None:
        def seconds(name: str, text: str) -> Any:
            return meter.create_histogram(
                name, "s", text, explicit_bucket_boundaries_advisory=CALL_SECONDS
            )

        self.runs: Any = meter.create_counter("etlkit.runs", "{run}", "Runs, by how they ended")
        self.run_duration: Any = meter.create_histogram(
            "etlkit.run.duration", "s", "Duration of runs"
        )
        self.rows: Any = meter.create_counter("etlkit.rows", "{row}", "Source rows, by outcome")
        self.calls: Any = meter.create_counter(
            "etlkit.calls", "{call}", "Attempts at calls to services, by how they ended"
        )
        self.retries: Any = meter.create_counter(
            "etlkit.call.retries", "{call}", "Attempts that repeated an earlier one"
        )
        self.call_duration: Any = seconds("etlkit.call.duration", "Duration of attempts at calls")
        self.in_flight: Any = meter.create_up_down_counter(
            "etlkit.calls.in_flight", "{call}", "Attempts at calls under way"
        )
        self.parked: Any = meter.create_up_down_counter(
            "etlkit.rows.parked", "{row}", "Rows that wait for a retry or a service's hint"
        )
        self.units: Any = meter.create_counter(
            "etlkit.call.units", "{unit}", "Billing units of attempts at calls"
        )
        self.cost: Any = meter.create_counter(
            "etlkit.call.cost", "{currency}", "Cost of calls at the job's price per unit"
        )
        self.bytes_billed: Any = meter.create_counter(
            "etlkit.bigquery.bytes_billed", "By", "Bytes that BigQuery billed"
        )
        self.http_duration: Any = seconds(
            "http.client.request.duration", "Duration of HTTP client requests"
        )
