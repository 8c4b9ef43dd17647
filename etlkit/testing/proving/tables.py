"""The tables of a proof in its throw-away local BigQuery: the sample, the target, its rejected rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from etlkit.testing.proving.attempt import SAMPLE, SHUFFLED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row
    from etlkit.testing.proving.comparison import Rows

_REJECTED = ("source_row", "error_class")
"""What a rejected row is known by; its message may have a time in it."""


class ProofTables:
    """Makes, keeps, resets and reads the tables.

    Args:
        connection: To the throw-away local BigQuery.
        target: Where the job writes.
    """

    def __init__(self, connection: Connection, target: TableName) -> None:
        from etlkit.bigquery.names import TableName

        self._connection = connection
        self._number = 0
        rejects = TableName(target.project, target.dataset, f"{target.table}_rejects")
        self._names = (target, rejects)
        self._kept = {
            name: TableName(connection.project, "etlkit_prove", f"kept_{number}")
            for number, name in enumerate(self._names)
        }

    def fill_samples(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Make the sample, and the same rows in the opposite order."""
        from etlkit.testing.made_tables import make_table

        for name, ordered in ((SAMPLE, rows), (SHUFFLED, rows[::-1])):
            make_table(self._connection, name, columns, ordered)

    def keep(self) -> None:
        """Keep the target and its rejected rows as they are now, as what every run begins with."""
        for name, kept in self._kept.items():
            if self._exists(name):
                self._run(f"CREATE OR REPLACE TABLE {kept.sql} COPY {name.sql}")

    def reset(self) -> None:
        """Let the target be what was kept."""
        for name, kept in self._kept.items():
            self._run(f"DROP TABLE IF EXISTS {name.sql}")
            if self._exists(kept):
                self._run(f"CREATE TABLE {name.sql} COPY {kept.sql}")

    def target_rows(self) -> Rows:
        """All rows of the target."""
        return self._rows(self._names[0])

    def rejected_rows(self) -> Rows:
        """All rejected rows, with what they are known by."""
        return [{n: row.get(n) for n in _REJECTED} for row in self._rows(self._names[1])]

    def _rows(self, name: TableName) -> Rows:
        if not self._exists(name):
            return []
        client: Any = self._connection.client
        return [dict(row) for row in client.list_rows(client.get_table(str(name)))]

    def _exists(self, name: TableName) -> bool:
        return self._connection.find_table(name) is not None

    def _run(self, sql: str) -> None:
        self._number += 1
        self._connection.query(sql, f"prove_{self._number}")


@contextmanager
def throw_away_connection() -> Iterator[Connection]:
    """A connection to the local BigQuery that the environment names."""
    from etlkit.api.run import Run, RunRequest
    from etlkit.bigquery.client import connect
    from etlkit.runner import environment

    with Run(RunRequest("etlkit_prove", environment())) as run:
        yield connect(run)
