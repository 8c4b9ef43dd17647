"""Where a statement runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etlkit.local.bigquery.extensions.catalog_store import CatalogStore
from etlkit.local.buckets import Buckets


class Running:
    """The job that has the turn: functions that DuckDB calls have no other way to know.

    Attributes:
        project: Of the last job that began.
        job_id: Its id.
        user: The email of who began it.
    """

    project = ""
    job_id = ""
    user = ""


@dataclass(frozen=True)
class StatementContext:
    """The project, the emulator and the local folders that a statement sees.

    Attributes:
        project: Of names that have none.
        ctx: The emulator's `AppContext`: catalog, engine, clock, snapshots.
        caller: Who asks, for row access policies; None = nobody in particular.
    """

    project: str
    ctx: Any
    caller: Any = None

    @property
    def is_dry(self) -> bool:
        """Whether nothing may be written, and queries are described alone."""
        return bool(self.ctx.engine.is_dry)

    @property
    def store(self) -> CatalogStore:
        """What we know beyond the emulator's catalog."""
        return CatalogStore(self.ctx.engine.connection)

    @property
    def buckets(self) -> Buckets:
        """What `gs://` means."""
        return Buckets(Path(self.ctx.settings.gcs_local_root))

    @property
    def local_dir(self) -> Path:
        """The folder of all local data."""
        return Path(self.ctx.settings.data_dir).parent
