"""The Storage Write API sees a new column of an old table late."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from etlkit.local.bigquery.rules.registry import Asked, rule

if TYPE_CHECKING:
    from etlkit.local.bigquery.rules.concurrency import Name


class LateColumns:
    """When each column was added to a table that was already there.

    Args:
        late_s: For how many seconds it is not seen; 0 = for none.
    """

    def __init__(self, late_s: float) -> None:
        self._late_s = late_s
        self._added: dict[Name, dict[str, float]] = {}

    def added(self, table: Name, columns: Iterable[str]) -> None:
        """Columns were added a moment ago."""
        if self._late_s:
            now = time.monotonic()
            self._added.setdefault(table, {}).update((name.casefold(), now) for name in columns)

    def unseen(self, table: Name) -> set[str]:
        """The columns that the Write API does not see yet, in lower case."""
        now = time.monotonic()
        added = self._added.get(table, {})
        return {name for name, at in added.items() if now - at < self._late_s}


@rule(
    Asked.FIELDS,
    "The Storage Write API sees a new column of an old table some minutes late.",
    "https://github.com/googleapis/java-bigquerystorage/issues/1465",
)
def unseen_columns(late: LateColumns, table: Name) -> set[str]:
    """The columns of a table that an append cannot have yet, in lower case."""
    return late.unseen(table)
