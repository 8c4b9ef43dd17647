"""What makes calls safe: time and how waits end, deadlines, hints, kinds of failure, health.

`etlkit.calls.retry` and `etlkit.calls.limits` are what users see of it.
"""
