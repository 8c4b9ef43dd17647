"""Names of tables in a statement, and what the catalog knows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableMeta

Name = tuple[str, str, str]


@dataclass(frozen=True)
class Names:
    """Finds the tables that a statement names.

    Attributes:
        project: The project of names that have none.
        catalog: The emulator's catalog.
    """

    project: str
    catalog: Any

    def of(self, table: exp.Expr) -> Name | None:
        """Project, dataset and name of a table; None = it names no dataset, or calls a function."""
        if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
            return None
        return in_project(".".join(part.name for part in table.parts), self.project)

    def meta(self, table: exp.Expr) -> TableMeta | None:
        """The catalog's entry of a table; None = there is none."""
        name = self.of(table)
        found: TableMeta | None = None if name is None else self.catalog.get_table(*name)
        return found


def in_project(full: str, project: str) -> Name | None:
    """Project, dataset and name of a table from its parts with dots; None = it names no dataset."""
    parts = full.rsplit(".", 2)
    if len(parts) < 2 or not all(parts):
        return None
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (project, parts[0], parts[1])
