"""What a statement can use while it runs: project, emulator and local folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etlkit.local.bigquery.extensions.catalog_store import CatalogStore
from etlkit.local.buckets import Buckets


class Running:
    """The job that is running. Functions that DuckDB calls can only look it up here.

    Attributes:
        project: The project of the job that started last.
        job_id: Its id.
        user: The email address of the user who started it.
    """

    project = ""
    job_id = ""
    user = ""


@dataclass(frozen=True)
class StatementContext:
    """The project, the emulator and the local folders that a statement sees.

    Attributes:
        project: The project of names that have none.
        ctx: The emulator's `AppContext`: catalog, engine, clock, snapshots.
        caller: The user, for row access policies; None = not known.
    """

    project: str
    ctx: Any
    caller: Any = None

    @property
    def is_dry(self) -> bool:
        """Whether nothing may be written, and queries are only described."""
        return bool(self.ctx.engine.is_dry)

    @property
    def store(self) -> CatalogStore:
        """The entries that the emulator's catalog does not have."""
        return CatalogStore(self.ctx.engine.connection)

    @property
    def buckets(self) -> Buckets:
        """The buckets that `gs://` addresses point to."""
        return Buckets(Path(self.ctx.settings.gcs_local_root))

    @property
    def local_dir(self) -> Path:
        """The folder of all local data."""
        return Path(self.ctx.settings.data_dir).parent
