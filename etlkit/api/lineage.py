"""Lineage of rows: what leads from a target row to its source row, its run and its calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from etlkit.api.source import ROW_ID
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    from etlkit.api.source import Source

RUN_ID = "_etlkit_run_id"
"""STRING: the run that published a target row."""

LINEAGE_COLUMNS = (
    Column(RUN_ID, "STRING", description="etlkit: the run that published the row"),
    Column(ROW_ID, "STRING", description="etlkit: its source row, within that run"),
)
"""What `lineage=True` adds to a target."""

LINEAGE_NAMES = frozenset(column.name for column in LINEAGE_COLUMNS)


def without_lineage(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns that a transform decides about."""
    return tuple(column for column in columns if column.name not in LINEAGE_NAMES)


@dataclass(frozen=True, slots=True)
class RowCalls:
    """Calls through etlkit's retry layer that one source row took, or a few rows together.

    Attributes:
        row_ids: The rows. Several = one call of `transform_batch` or `transform_arrow` had them all.
        calls: How many, retries included.
        units: Billing units of all of them.
    """

    row_ids: Sequence[str]
    calls: int
    units: int


@runtime_checkable
class KeepsLineage(Protocol):
    """A sink that can keep the lineage of rows."""

    def check_lineage(self, source: Source, /) -> None:
        """Find what is in the way without any I/O.

        Raises:
            ConfigError: Lineage cannot be kept for rows of this source, or with this sink's mode.
        """


@runtime_checkable
class RecordsCalls(Protocol):
    """A writer of a sink that keeps lineage."""

    def record_calls(self, calls: Sequence[RowCalls], /) -> None:
        """Stage the calls of rows. May be told of the same row again, in a later attempt."""
