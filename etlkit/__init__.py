"""Write `transform_row` once; every source row ends up written, skipped or rejected, exactly once.

```python
from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob
```

Importing this package imports neither Google's clients nor pyarrow nor requests: names are loaded
when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from etlkit._version import __version__

if TYPE_CHECKING:
    from etlkit.api.checks import Check
    from etlkit.api.datamart import Datamart, Lookback, ValidityColumns
    from etlkit.api.job import TransferJob
    from etlkit.api.report import DatamartReport, DryRunReport, Report, RunReport, StatementReport
    from etlkit.api.run import Settings
    from etlkit.api.sink import Sink, SinkWriter
    from etlkit.api.source import Source, SourceReader
    from etlkit.api.transform import EtlBase
    from etlkit.bigquery import (
        BigQuerySink,
        BigQuerySource,
        Definition,
        RangePartitioning,
        TimePartitioning,
    )
    from etlkit.calls.limits import RateLimit
    from etlkit.calls.retry import RetryPolicy
    from etlkit.engine.preview import Preview
    from etlkit.errors import (
        AlreadyPublishedError,
        ApiError,
        CallFailedError,
        CapReachedError,
        CheckFailedError,
        ConfigError,
        CountMismatchError,
        EtlkitError,
        ImageError,
        JobError,
        OutageError,
        ReadExpiredError,
        RetryableError,
        RowError,
        RowSchemaError,
        RunStateError,
        RunTakenOverError,
        SinkError,
        SourceError,
        StatementError,
        TooManyRejectedError,
        TransformCodeError,
        TransformError,
    )
    from etlkit.files import CsvSource, JsonlSource, ParquetSource
    from etlkit.rows.row import Row
    from etlkit.runner import (
        check_datamart,
        dry_run_job,
        local_world,
        preview_job,
        run_datamart,
        run_datamarts,
        run_job,
    )
    from etlkit.variables.definitions import String, Timestamp, TimestampRuntime

_HOMES = {
    "AlreadyPublishedError": "etlkit.errors",
    "ApiError": "etlkit.errors",
    "BigQuerySink": "etlkit.bigquery",
    "BigQuerySource": "etlkit.bigquery",
    "CallFailedError": "etlkit.errors",
    "CapReachedError": "etlkit.errors",
    "Check": "etlkit.api.checks",
    "CheckFailedError": "etlkit.errors",
    "ConfigError": "etlkit.errors",
    "CountMismatchError": "etlkit.errors",
    "CsvSource": "etlkit.files",
    "Datamart": "etlkit.api.datamart",
    "DatamartReport": "etlkit.api.report",
    "Definition": "etlkit.bigquery",
    "DryRunReport": "etlkit.api.report",
    "EtlBase": "etlkit.api.transform",
    "EtlkitError": "etlkit.errors",
    "ImageError": "etlkit.errors",
    "JobError": "etlkit.errors",
    "JsonlSource": "etlkit.files",
    "Lookback": "etlkit.api.datamart",
    "OutageError": "etlkit.errors",
    "ParquetSource": "etlkit.files",
    "Preview": "etlkit.engine.preview",
    "RangePartitioning": "etlkit.bigquery",
    "RateLimit": "etlkit.calls.limits",
    "ReadExpiredError": "etlkit.errors",
    "Report": "etlkit.api.report",
    "RetryPolicy": "etlkit.calls.retry",
    "RetryableError": "etlkit.errors",
    "Row": "etlkit.rows.row",
    "RowError": "etlkit.errors",
    "RowSchemaError": "etlkit.errors",
    "RunReport": "etlkit.api.report",
    "RunStateError": "etlkit.errors",
    "RunTakenOverError": "etlkit.errors",
    "Settings": "etlkit.api.run",
    "Sink": "etlkit.api.sink",
    "SinkError": "etlkit.errors",
    "SinkWriter": "etlkit.api.sink",
    "Source": "etlkit.api.source",
    "SourceError": "etlkit.errors",
    "SourceReader": "etlkit.api.source",
    "StatementError": "etlkit.errors",
    "StatementReport": "etlkit.api.report",
    "String": "etlkit.variables.definitions",
    "TimePartitioning": "etlkit.bigquery",
    "Timestamp": "etlkit.variables.definitions",
    "TimestampRuntime": "etlkit.variables.definitions",
    "TooManyRejectedError": "etlkit.errors",
    "TransferJob": "etlkit.api.job",
    "TransformCodeError": "etlkit.errors",
    "TransformError": "etlkit.errors",
    "ValidityColumns": "etlkit.api.datamart",
    "check_datamart": "etlkit.runner",
    "dry_run_job": "etlkit.runner",
    "local_world": "etlkit.runner",
    "preview_job": "etlkit.runner",
    "run_datamart": "etlkit.runner",
    "run_datamarts": "etlkit.runner",
    "run_job": "etlkit.runner",
}
"""The module of each public name."""

__all__ = [
    "AlreadyPublishedError",
    "ApiError",
    "BigQuerySink",
    "BigQuerySource",
    "CallFailedError",
    "CapReachedError",
    "Check",
    "CheckFailedError",
    "ConfigError",
    "CountMismatchError",
    "CsvSource",
    "Datamart",
    "DatamartReport",
    "Definition",
    "DryRunReport",
    "EtlBase",
    "EtlkitError",
    "ImageError",
    "JobError",
    "JsonlSource",
    "Lookback",
    "OutageError",
    "ParquetSource",
    "Preview",
    "RangePartitioning",
    "RateLimit",
    "ReadExpiredError",
    "Report",
    "RetryPolicy",
    "RetryableError",
    "Row",
    "RowError",
    "RowSchemaError",
    "RunReport",
    "RunStateError",
    "RunTakenOverError",
    "Settings",
    "Sink",
    "SinkError",
    "SinkWriter",
    "Source",
    "SourceError",
    "SourceReader",
    "StatementError",
    "StatementReport",
    "String",
    "TimePartitioning",
    "Timestamp",
    "TimestampRuntime",
    "TooManyRejectedError",
    "TransferJob",
    "TransformCodeError",
    "TransformError",
    "ValidityColumns",
    "__version__",
    "check_datamart",
    "dry_run_job",
    "local_world",
    "preview_job",
    "run_datamart",
    "run_datamarts",
    "run_job",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'etlkit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
