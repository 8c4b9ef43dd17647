"""Column sources of a statement over tables that somebody else looks up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from etlkit.local.bigquery.column_sources import StatementSources
from etlkit.local.bigquery.googlesql import GoogleSqlError, engine
from etlkit.local.bigquery.sql_catalog import Catalog, Path, Table

LookUp: TypeAlias = Callable[[str], tuple[str, Iterable[Mapping[str, Any]]] | None]
"""Gives the full name of a table and its fields, as `tables.get` writes them; None = there is none."""


class _LookedUp(Catalog):
    def __init__(self, project: str, look_up: LookUp) -> None:
        super().__init__(project=project)
        self._look_up = look_up

    def find_table(self, path: Path) -> Table | None:
        """See `Catalog.find_table`."""
        found = self._look_up(".".join(path))
        return None if found is None else Table.from_schema(*found)


def sources_of(sql: str, project: str, look_up: LookUp) -> StatementSources:
    """Find which columns of tables each result column comes from, as far as that is known.

    Args:
        sql: One statement. Query parameters may have any type.
        project: Of names without one.
        look_up: Finds tables.
    """
    try:
        return engine().column_sources(sql, _LookedUp(project, look_up), None)
    except GoogleSqlError:  # a function or a model of their own, or a script
        return StatementSources()
