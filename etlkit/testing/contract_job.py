"""The job that the contracts give to the sources and sinks they open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etlkit.api.job import TransferJob
from etlkit.api.transform import EtlBase
from etlkit.testing.memory import MemorySink, MemorySource

if TYPE_CHECKING:
    from etlkit.api.sink import Sink
    from etlkit.api.source import Source
    from etlkit.rows.row import Row


class _PassThrough(EtlBase):
    def transform_row(self, row: Row) -> Row:
        return row


def contract_job(
    *, source: Source | None = None, sink: Sink | None = None, **options: Any
) -> TransferJob:
    """Make a job that passes rows through unchanged.

    Args:
        source: Where rows come from; None = no rows, in memory.
        sink: Where rows go; None = memory.
        options: Of `TransferJob`.
    """
    return TransferJob(
        source=source or MemorySource([]),
        transform=_PassThrough,
        sink=sink or MemorySink(),
        **options,
    )
