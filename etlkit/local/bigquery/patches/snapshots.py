"""After a change of rows: copies of tables for time travel, and times of change.

Real BigQuery: `FOR SYSTEM_TIME AS OF` reaches back seven days and costs nothing. The emulator: each
change of a table, including each append, copied the whole table, so that time and disk space grew with
the square of its size. The time of the last change stayed that of the table's creation.

What is given up: changes of a table that has an expiration (a work table) are not copied, and appends
are copied at most once a minute. In between, time travel shows the table as of the last copy.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bqemulator.domain.events import TableDataChanged
from bqemulator.versioning.snapshots import SnapshotManager

from etlkit.local.bigquery.patches.etags import changed
from etlkit.local.bigquery.patches.table import PATCHES

if TYPE_CHECKING:
    from bqemulator.catalog.models import SnapshotMeta

APPEND_INTERVAL: Final = timedelta(seconds=60)


class SparseSnapshotManager(SnapshotManager):
    """Copies tables less often, and keeps their times of change."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._changes: dict[tuple[str, str, str], datetime] = {}

    def save_changes(self) -> None:
        """Store a new etag and time of change for each table that has changed.

        Called before each request, not at each change: writing the catalog takes about 2 ms, which is
        almost as long as an append.
        """
        while self._changes:
            name, at = self._changes.popitem()
            meta = self._catalog.get_table(*name)
            if meta is not None:
                self._catalog.update_table(changed(meta, max(at, meta.last_modified_time)))

    def record_change(self, project_id: str, dataset_id: str, table_id: str) -> SnapshotMeta | None:
        """Copy a table that a statement or a load has changed, unless it is a work table."""
        self._changes[project_id, dataset_id, table_id] = self._clock.now()
        meta = self._catalog.get_table(project_id, dataset_id, table_id)
        if meta is not None and meta.expiration_time is None:
            return super().record_change(project_id, dataset_id, table_id)
        self._events.publish(TableDataChanged(project_id, dataset_id, table_id))
        return None

    def record_append(self, project_id: str, dataset_id: str, table_id: str) -> None:
        """Copy a table after an append over the Write API, if the last copy is old enough."""
        self._changes[project_id, dataset_id, table_id] = self._clock.now()
        copies = self._catalog.list_snapshots_for_table(project_id, dataset_id, table_id)
        newest = max((copy.snapshot_time for copy in copies), default=None)
        if newest is None or self._clock.now() - newest > APPEND_INTERVAL:
            self.record_change(project_id, dataset_id, table_id)
        else:
            self._events.publish(TableDataChanged(project_id, dataset_id, table_id))

    async def run_gc_loop(self, *, interval_seconds: float) -> None:
        """Drop old copies while no request uses the connection."""
        engine: Any = self._engine
        while True:
            async with engine.connection_lock:
                self.purge_expired()
            await asyncio.sleep(interval_seconds)


def apply() -> None:
    """Build the emulator around this manager."""
    PATCHES.replace("bqemulator.server:SnapshotManager", SparseSnapshotManager)
