"""`scd_type_2` as a mode: every version of a row is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from etlkit.bigquery.datamart import sql
from etlkit.bigquery.modes import ExistingTable, Mode, Rows, TargetOptions

if TYPE_CHECKING:
    from datetime import datetime

    from etlkit.api.datamart import ValidityColumns


@dataclass(frozen=True)
class Versions(Mode):
    """Ends the versions that have a newer one and adds the new ones, in one transaction.

    Attributes:
        row_keys: Columns that name a row.
        incremental_column: Tells which of two versions is newer.
        validity: Names of the validity columns.
        at: When the old versions end and the new ones begin.
    """

    row_keys: tuple[str, ...]
    incremental_column: str
    validity: ValidityColumns
    at: datetime

    def keys(self, options: TargetOptions) -> tuple[str, ...]:
        """See `Mode.keys`."""
        del options
        return self.row_keys

    def statements(self, options: TargetOptions, table: ExistingTable, rows: Rows) -> list[str]:
        """See `Mode.statements`."""
        del options
        by = table.partition_filter
        close = sql.close_versions(
            table.name,
            rows.select,
            self.row_keys,
            self.incremental_column,
            self.validity,
            self.at,
            by,
        )
        add = sql.insert_versions(
            table.name, rows.columns, rows.select, self.row_keys, self.validity, by
        )
        return [close, add]
