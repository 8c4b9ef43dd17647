"""Transfers and datamarts as tasks, and what a task's `run` is wrapped in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from etlkit.api.datamart import Datamart
from etlkit.api.job import TransferJob
from etlkit.api.workflow_report import TaskKind
from etlkit.engine.transform_spec import TransformSpec
from etlkit.workflow.python_task import PythonTask
from etlkit.workflow.table_references import datamart_tables, transfer_tables
from etlkit.workflow.task_kind import Runnable, Tables, TaskContext, short_hash


@dataclass(frozen=True)
class TransferTask(Runnable):
    """A transfer as a task."""

    job: TransferJob

    kind: ClassVar[TaskKind] = "transfer"

    def run(self, context: TaskContext, /) -> None:
        """Run it, or go on with an unpublished run of it."""
        raise NotImplementedError

    def tables(self, variables: Mapping[str, Any] | None = None) -> Tables:
        """See `transfer_tables`."""
        return transfer_tables(self.job, variables or {})

    def fingerprint(self) -> str:
        """Changes with the transform's code, the query and the table."""
        code = TransformSpec(self.job).fingerprint(self.job.source)
        return short_hash(code, repr(getattr(self.job.sink, "table", "")))


@dataclass(frozen=True)
class DatamartTask(Runnable):
    """A datamart as a task. Its value is the first row of its last SELECT, in query mode."""

    job: Datamart

    kind: ClassVar[TaskKind] = "datamart"

    def run(self, context: TaskContext, /) -> None:
        """Run it."""
        raise NotImplementedError

    def tables(self, variables: Mapping[str, Any] | None = None) -> Tables:
        """See `datamart_tables`."""
        return datamart_tables(self.job, variables or {})

    def fingerprint(self) -> str:
        """Changes with the SQL and the options."""
        return short_hash(self.job.text(), repr(self.job))


def as_runnable(run: Any) -> Runnable:
    """The `run` of a task as one of the kinds.

    Raises:
        ConfigError: It is nothing that a task can run.
    """
    if isinstance(run, Runnable):
        return run
    if isinstance(run, TransferJob):
        return TransferTask(run)
    if isinstance(run, Datamart):
        return DatamartTask(run)
    return PythonTask(run)
