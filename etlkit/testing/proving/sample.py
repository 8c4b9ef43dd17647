"""The rows that a job is proved with, read once from its own source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.run import Settings
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row


@dataclass(frozen=True)
class Sample:
    """Rows and their columns.

    Attributes:
        columns: Of the rows.
        rows: Native values.
    """

    columns: Sequence[Column]
    rows: Sequence[Row]


def read_sample(
    job: TransferJob,
    settings: Settings,
    num_rows: int,
    *,
    variables: Mapping[str, Any],
    queued_at: datetime,
    fake_seed: int | None,
) -> Sample:
    """Read the first rows of a job's source, or make rows with its columns.

    Args:
        job: With its variables as they are.
        settings: Where the source is.
        num_rows: At most.
        variables: Values of custom variables.
        queued_at: Time for `Timestamp` variables.
        fake_seed: Makes the rows instead of reading them, see `fake_rows`; None = they are read.

    Raises:
        ConfigError: There are no rows.
        SourceError: The source cannot be read.
    """
    from etlkit.api.run import Run, RunRequest
    from etlkit.engine.expansion import expand_transfer
    from etlkit.rows.batches import RowDecoder
    from etlkit.testing.row_fakes import fake_rows_of

    job, _ = expand_transfer(
        job, given=variables, queued_at=queued_at, started_at=datetime.now(UTC)
    )
    job = replace(job, reuse=None)
    with Run(RunRequest(job.name or "etlkit_prove", settings, limit=num_rows)) as run:
        reader = job.source.open(job, run)
        try:
            columns = reader.columns
            if fake_seed is not None:
                return Sample(columns, fake_rows_of(columns, num_rows, seed=fake_seed))
            decoder = RowDecoder(columns)
            rows = [row for batch in reader.batches() for row in decoder.decode(batch).rows]
        finally:
            reader.close(succeeded=True)
    if not rows:
        raise ConfigError(
            "the source has no rows, so there is nothing to prove. Put rows into its table, or make "
            "some with --fake-rows"
        )
    return Sample(columns, rows)
