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
    from etlkit.base import EtlBase, Row
    from etlkit.bigquery import BigQuerySink, BigQuerySource
    from etlkit.errors import (
        ApiError,
        ConfigError,
        CountMismatchError,
        EtlkitError,
        ImageError,
        JobError,
        RetryableError,
        RowError,
        RowSchemaError,
        SinkError,
        SourceError,
        TransformError,
    )
    from etlkit.job import TransferJob
    from etlkit.report import RunReport

_HOMES = {
    "ApiError": "etlkit.errors",
    "BigQuerySink": "etlkit.bigquery",
    "BigQuerySource": "etlkit.bigquery",
    "ConfigError": "etlkit.errors",
    "CountMismatchError": "etlkit.errors",
    "EtlBase": "etlkit.base",
    "EtlkitError": "etlkit.errors",
    "ImageError": "etlkit.errors",
    "JobError": "etlkit.errors",
    "RetryableError": "etlkit.errors",
    "Row": "etlkit.base",
    "RowError": "etlkit.errors",
    "RowSchemaError": "etlkit.errors",
    "RunReport": "etlkit.report",
    "SinkError": "etlkit.errors",
    "SourceError": "etlkit.errors",
    "TransferJob": "etlkit.job",
    "TransformError": "etlkit.errors",
}

__all__ = [
    "ApiError",
    "BigQuerySink",
    "BigQuerySource",
    "ConfigError",
    "CountMismatchError",
    "EtlBase",
    "EtlkitError",
    "ImageError",
    "JobError",
    "RetryableError",
    "Row",
    "RowError",
    "RowSchemaError",
    "RunReport",
    "SinkError",
    "SourceError",
    "TransferJob",
    "TransformError",
    "__version__",
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
