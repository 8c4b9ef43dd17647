"""The catalogs of a check that ask BigQuery, local or in a project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from etlkit.bigquery.metadata import Metadata
from etlkit.cli.options import chosen_settings
from etlkit.sql_check.known import Catalog, Known, KnownTable, read_resource, wildcard


class MetadataCatalog:
    """The tables, models and functions of a project, looked up when a statement names them.

    Args:
        metadata: Asks BigQuery.
        title: For people.
    """

    def __init__(self, metadata: Metadata, title: str) -> None:
        self._metadata = metadata
        self.title = title
        self.asks = True
        self.project: str = metadata.project

    def prepare(self, names: Iterable[str], /) -> None:
        """See `Catalog.prepare`."""
        self._metadata.prepare(name for name in names if "*" not in name and "$" not in name)

    def find(self, name: str, /) -> Known | None:
        """See `Catalog.find`."""
        if name.endswith("*"):
            resource = self._metadata.last_of(name)
            known = None if resource is None else read_resource(resource)
            return wildcard(known) if isinstance(known, KnownTable) else None
        resource = self._metadata.find(name)
        return None if resource is None else read_resource(resource)

    def missing(self, name: str, /) -> str:
        """See `Catalog.missing`."""
        return f"{name} is not in {self.title}, and no job of this check makes it"


class FilesFirst:
    """Schemas in files, and for what is not in them another catalog.

    Args:
        files: Looked at first.
        rest: For other names.
    """

    def __init__(self, files: Catalog, rest: Catalog) -> None:
        self._files, self._rest = files, rest
        self.title: str = f"{files.title}, then {rest.title}"
        self.project: str = rest.project
        self.asks: bool = rest.asks

    def prepare(self, names: Iterable[str], /) -> None:
        """See `Catalog.prepare`."""
        self._rest.prepare(name for name in names if self._files.find(name) is None)

    def find(self, name: str, /) -> Known | None:
        """See `Catalog.find`."""
        return self._files.find(name) or self._rest.find(name)

    def missing(self, name: str, /) -> str:
        """See `Catalog.missing`."""
        return self._files.missing(name)


@contextmanager
def metadata_catalog(options: dict[str, Any]) -> Iterator[MetadataCatalog]:
    """The catalog of `--project`, or the local one; a local server is started if none runs."""
    project: str | None = options["project"]
    folder: Path = options["local_dir"]
    chosen = {
        "local": project is None,
        "local_dir": folder,
        "local_location": None,
        "project": project,
        "location": None,
    }
    title = f"project {project}" if project else f"the local BigQuery in {folder}"
    with chosen_settings(chosen) as settings:
        metadata = Metadata(settings)
        try:
            yield MetadataCatalog(metadata, title)
        finally:
            metadata.close()
