"""The tables that a task reads and writes, for `depends="auto"` and for writers without an order."""

from __future__ import annotations

from typing import Any

from etlkit.api.datamart import Datamart
from etlkit.api.job import TransferJob
from etlkit.workflow.task_kind import Runnable, Tables


def task_tables(run: Any) -> Tables:
    """The tables that the `run` of a task reads and writes, as far as they are known. No I/O.

    Args:
        run: As in `Task`.
    """
    if isinstance(run, Runnable):
        return run.tables()
    if isinstance(run, TransferJob):
        table = getattr(run.sink, "table", None)
        return Tables(writes=frozenset({table} if isinstance(table, str) else ()))
    if isinstance(run, Datamart) and run.destination is not None:
        return Tables(writes=frozenset({run.destination}))
    return Tables()
