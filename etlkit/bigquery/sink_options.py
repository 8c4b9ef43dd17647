"""What a job says about its target table, and which of it goes together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from etlkit.bigquery.names import check_table
from etlkit.bigquery.source import WORK_DATASET
from etlkit.bigquery.table_definition import Definition
from etlkit.errors import ConfigError

Mode = Literal["append", "append_direct", "replace", "delete_in_advance", "merge"]


@dataclass(frozen=True)
class SinkOptions:
    """What a job says about its target; `BigQuerySink` is this, ready to be opened.

    Attributes:
        table: `dataset.table` or `project.dataset.table`; created when it is missing.
        mode: `append` adds the rows. `replace` makes them the table's only rows: descriptions,
            policy tags and partitioning stay while the columns do. `merge` updates rows that are
            there by `merge_keys` and adds the others. `delete_in_advance` makes the table anew with
            the job's definition, in one statement. `append_direct` writes straight into the table:
            at least once, visible at once, no checks, no resume.
        merge_keys: Columns that name a row; nulls are equal to each other.
        merge_update_columns: Columns that `merge` updates; None = all but the keys.
        before_load: DML that runs in the same transaction before the rows, if the table exists.
        definition: Partitioning, clustering, description, labels and column descriptions; used
            when the table is made, and compared with a table that is there already.
        create_dataset: Create the target's dataset when it is missing.
        work_dataset: Where staged rows and the ledger live, `dataset` or `project.dataset`; made
            if missing, in the same location as the target.
    """

    table: str
    mode: Mode = "append"
    merge_keys: tuple[str, ...] = ()
    merge_update_columns: tuple[str, ...] | None = None
    before_load: str | None = None
    definition: Definition = field(default_factory=Definition)
    create_dataset: bool = False
    work_dataset: str = WORK_DATASET

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without any I/O."""
        check_table(self.table)
        if self.mode not in get_args(Mode):
            raise ConfigError(
                f"mode={self.mode!r}: it is one of "
                + ", ".join(repr(value) for value in get_args(Mode))
            )
        if isinstance(self.merge_keys, str):
            raise ConfigError(f"merge_keys is a str; write ({self.merge_keys!r},)")
        if (self.mode == "merge") != bool(self.merge_keys):
            raise ConfigError("mode='merge' needs merge_keys, and no other mode takes them")
        if self.merge_update_columns is not None and self.mode != "merge":
            raise ConfigError("merge_update_columns goes with mode='merge'")
        if self.before_load is not None and self.mode in {"append_direct", "delete_in_advance"}:
            raise ConfigError(f"before_load does not go with mode={self.mode!r}")
