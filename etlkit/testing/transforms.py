"""A transform on fake rows, run by the real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from etlkit.api.job import TransferJob
from etlkit.api.policies import OnRowError
from etlkit.api.run import RunRequest
from etlkit.api.transform import EtlBase
from etlkit.engine.transfer import run_transfer
from etlkit.testing.arguments import given_rows
from etlkit.testing.memory import MemorySink, MemorySource

if TYPE_CHECKING:
    from etlkit.rows.row import Row


def run_transform(
    etl: EtlBase | type[EtlBase] | Callable[[], EtlBase],
    rows: Iterable[Row],
    *,
    schema: Mapping[str, str] | None = None,
    on_row_error: OnRowError = "fail",
) -> list[Row]:
    """Run rows through a transform as a job would: hooks, types, fan-out, skips.

    Args:
        etl: The class, or an instance, e.g. with fakes in it, which is then the only worker.
        rows: Source rows in native Python values.
        schema: Their columns, e.g. `{"uri": "STRING"}`; None = inferred from `rows`.
        on_row_error: As in `TransferJob`.

    Returns:
        The rows the target would hold, in order; a column that a row lacks is None.

    Raises:
        ConfigError: The rows are no dicts, or the columns are wrong.
        EtlkitError: The error that would end the run.
    """
    rows = given_rows("run_transform", rows)
    sink = MemorySink("replace")
    job = TransferJob(
        source=MemorySource(rows, schema),
        transform=(lambda: etl) if isinstance(etl, EtlBase) else etl,
        sink=sink,
        on_row_error=on_row_error,
        max_concurrency=1 if isinstance(etl, EtlBase) else None,
    )
    run_transfer(job, RunRequest("run_transform"))
    return sink.rows
