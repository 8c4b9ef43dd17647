"""What runs tell those who watch them: spans, metrics, and which run a log line belongs to.

Nothing of OpenTelemetry is imported before somebody asks for it: see `etlkit.telemetry.backend`.
"""
