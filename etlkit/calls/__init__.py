"""What makes calls safe: time and how waits end, deadlines, hints, kinds of failure, health.

`etlkit.retry` and `etlkit.limits` are what users see of it.
"""
