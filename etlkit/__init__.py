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
    from etlkit.api.misspellings import MisspelledWarning
    from etlkit.api.rehearsal_report import RehearsalReport
    from etlkit.api.report import DatamartReport, DryRunReport, Report, RunReport, StatementReport
    from etlkit.api.run import Settings
    from etlkit.api.scheduler_task import SchedulerTask
    from etlkit.api.sink import Sink, SinkWriter
    from etlkit.api.source import Source, SourceReader
    from etlkit.api.transform import EtlBase
    from etlkit.api.worker_report import WorkerReport
    from etlkit.api.workflow_report import TaskReport, WorkflowReport
    from etlkit.bigquery import (
        BigQuerySink,
        BigQuerySource,
        Definition,
        HttpSink,
        RangePartitioning,
        TimePartitioning,
    )
    from etlkit.calls.async_http import AsyncHttpClient
    from etlkit.calls.backoff import RetryPolicy
    from etlkit.calls.limits import RateLimit
    from etlkit.calls.secret import Secret
    from etlkit.cli.pages.results import ResultsReport, write_results
    from etlkit.cli.pages.run_page import write_html
    from etlkit.engine.preview import Preview
    from etlkit.errors import (
        AlreadyPublishedError,
        ApiError,
        CallFailedError,
        CapReachedError,
        CheckFailedError,
        ConfigError,
        CountMismatchError,
        DataCheckFailedError,
        EtlkitError,
        ImageError,
        JobError,
        OutageError,
        ReadExpiredError,
        RequestRefusedError,
        RetryableError,
        RowError,
        RowSchemaError,
        RowTimeoutError,
        RunStateError,
        RunTakenOverError,
        SinkError,
        SourceError,
        StatementError,
        TaskTimeoutError,
        TooManyRejectedError,
        TransformCodeError,
        TransformError,
        WorkflowError,
    )
    from etlkit.files import CsvSource, JsonlSource, ParquetSource
    from etlkit.rows.row import Row
    from etlkit.runner import (
        check_datamart,
        dry_run_job,
        dry_run_workflow,
        local_world,
        preview_job,
        rehearse_job,
        run_datamart,
        run_datamarts,
        run_job,
        run_workflow,
    )
    from etlkit.serving.http_function import remote_function
    from etlkit.variables.definitions import String, Timestamp, TimestampRuntime
    from etlkit.workflow.conditions import Condition, IfElse, all_of, any_of
    from etlkit.workflow.data_check import DataCheck
    from etlkit.workflow.dbt.build import DbtBuild
    from etlkit.workflow.definition import Workflow
    from etlkit.workflow.http_request import HttpRequest, Webhook
    from etlkit.workflow.loop import Loop, Period
    from etlkit.workflow.notifications import Alert
    from etlkit.workflow.task import Task
    from etlkit.workflow.task_kind import Runnable, TaskContext
    from etlkit.workflow.values import CurrentTime, TaskValue, VariableValue

_HOMES = {
    "Alert": "etlkit.workflow.notifications",
    "AlreadyPublishedError": "etlkit.errors",
    "ApiError": "etlkit.errors",
    "AsyncHttpClient": "etlkit.calls.async_http",
    "BigQuerySink": "etlkit.bigquery",
    "BigQuerySource": "etlkit.bigquery",
    "CallFailedError": "etlkit.errors",
    "CapReachedError": "etlkit.errors",
    "Check": "etlkit.api.checks",
    "CheckFailedError": "etlkit.errors",
    "Condition": "etlkit.workflow.conditions",
    "ConfigError": "etlkit.errors",
    "CountMismatchError": "etlkit.errors",
    "CsvSource": "etlkit.files",
    "CurrentTime": "etlkit.workflow.values",
    "DataCheck": "etlkit.workflow.data_check",
    "DataCheckFailedError": "etlkit.errors",
    "Datamart": "etlkit.api.datamart",
    "DatamartReport": "etlkit.api.report",
    "DbtBuild": "etlkit.workflow.dbt.build",
    "Definition": "etlkit.bigquery",
    "DryRunReport": "etlkit.api.report",
    "EtlBase": "etlkit.api.transform",
    "EtlkitError": "etlkit.errors",
    "HttpRequest": "etlkit.workflow.http_request",
    "HttpSink": "etlkit.bigquery",
    "IfElse": "etlkit.workflow.conditions",
    "ImageError": "etlkit.errors",
    "JobError": "etlkit.errors",
    "JsonlSource": "etlkit.files",
    "Lookback": "etlkit.api.datamart",
    "Loop": "etlkit.workflow.loop",
    "MisspelledWarning": "etlkit.api.misspellings",
    "OutageError": "etlkit.errors",
    "ParquetSource": "etlkit.files",
    "Period": "etlkit.workflow.loop",
    "Preview": "etlkit.engine.preview",
    "RehearsalReport": "etlkit.api.rehearsal_report",
    "RangePartitioning": "etlkit.bigquery",
    "RateLimit": "etlkit.calls.limits",
    "ReadExpiredError": "etlkit.errors",
    "Report": "etlkit.api.report",
    "RequestRefusedError": "etlkit.errors",
    "ResultsReport": "etlkit.cli.pages.results",
    "RetryPolicy": "etlkit.calls.retry",
    "RetryableError": "etlkit.errors",
    "Row": "etlkit.rows.row",
    "RowError": "etlkit.errors",
    "RowSchemaError": "etlkit.errors",
    "RowTimeoutError": "etlkit.errors",
    "RunReport": "etlkit.api.report",
    "RunStateError": "etlkit.errors",
    "RunTakenOverError": "etlkit.errors",
    "Runnable": "etlkit.workflow.task_kind",
    "SchedulerTask": "etlkit.api.scheduler_task",
    "Secret": "etlkit.calls.secret",  # the name of a module
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
    "Task": "etlkit.workflow.task",
    "TaskContext": "etlkit.workflow.task_kind",
    "TaskReport": "etlkit.api.workflow_report",
    "TaskTimeoutError": "etlkit.errors",
    "TaskValue": "etlkit.workflow.values",
    "TimePartitioning": "etlkit.bigquery",
    "Timestamp": "etlkit.variables.definitions",
    "TimestampRuntime": "etlkit.variables.definitions",
    "TooManyRejectedError": "etlkit.errors",
    "TransferJob": "etlkit.api.job",
    "TransformCodeError": "etlkit.errors",
    "TransformError": "etlkit.errors",
    "ValidityColumns": "etlkit.api.datamart",
    "VariableValue": "etlkit.workflow.values",
    "Webhook": "etlkit.workflow.http_request",
    "WorkerReport": "etlkit.api.worker_report",
    "Workflow": "etlkit.workflow.definition",
    "WorkflowError": "etlkit.errors",
    "WorkflowReport": "etlkit.api.workflow_report",
    "all_of": "etlkit.workflow.conditions",
    "any_of": "etlkit.workflow.conditions",
    "check_datamart": "etlkit.runner",
    "dry_run_job": "etlkit.runner",
    "dry_run_workflow": "etlkit.runner",
    "local_world": "etlkit.runner",
    "preview_job": "etlkit.runner",
    "rehearse_job": "etlkit.runner",
    "remote_function": "etlkit.serving.http_function",
    "run_datamart": "etlkit.runner",
    "run_datamarts": "etlkit.runner",
    "run_job": "etlkit.runner",
    "run_workflow": "etlkit.runner",
    "write_html": "etlkit.cli.pages.run_page",
    "write_results": "etlkit.cli.pages.results",
}
"""The module of each public name."""

__all__ = [
    "Alert",
    "AlreadyPublishedError",
    "ApiError",
    "AsyncHttpClient",
    "BigQuerySink",
    "BigQuerySource",
    "CallFailedError",
    "CapReachedError",
    "Check",
    "CheckFailedError",
    "Condition",
    "ConfigError",
    "CountMismatchError",
    "CsvSource",
    "CurrentTime",
    "DataCheck",
    "DataCheckFailedError",
    "Datamart",
    "DatamartReport",
    "DbtBuild",
    "Definition",
    "DryRunReport",
    "EtlBase",
    "EtlkitError",
    "HttpRequest",
    "HttpSink",
    "IfElse",
    "ImageError",
    "JobError",
    "JsonlSource",
    "Lookback",
    "Loop",
    "MisspelledWarning",
    "OutageError",
    "ParquetSource",
    "Period",
    "Preview",
    "RangePartitioning",
    "RateLimit",
    "ReadExpiredError",
    "RehearsalReport",
    "Report",
    "RequestRefusedError",
    "ResultsReport",
    "RetryPolicy",
    "RetryableError",
    "Row",
    "RowError",
    "RowSchemaError",
    "RowTimeoutError",
    "RunReport",
    "RunStateError",
    "RunTakenOverError",
    "Runnable",
    "SchedulerTask",
    "Secret",
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
    "Task",
    "TaskContext",
    "TaskReport",
    "TaskTimeoutError",
    "TaskValue",
    "TimePartitioning",
    "Timestamp",
    "TimestampRuntime",
    "TooManyRejectedError",
    "TransferJob",
    "TransformCodeError",
    "TransformError",
    "ValidityColumns",
    "VariableValue",
    "Webhook",
    "WorkerReport",
    "Workflow",
    "WorkflowError",
    "WorkflowReport",
    "__version__",
    "all_of",
    "any_of",
    "check_datamart",
    "dry_run_job",
    "dry_run_workflow",
    "local_world",
    "preview_job",
    "rehearse_job",
    "remote_function",
    "run_datamart",
    "run_datamarts",
    "run_job",
    "run_workflow",
    "write_html",
    "write_results",
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
