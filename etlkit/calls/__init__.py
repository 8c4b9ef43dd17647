"""Calls to services: retries, rate limits, breaker, deadlines, and HTTP.

Users import from `etlkit.calls.retry`, `etlkit.calls.limits` and `etlkit.calls.http`.
"""
