"""`ResultsTable`: the results of a job's published runs, and what a run takes from them and adds."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.bigquery.names import TableName
from etlkit.bigquery.results import sql as results_sql
from etlkit.bigquery.sql.staging import STAGING_COLUMNS, Staged
from etlkit.bigquery.table_definition import plain_table, work_table
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    from google.cloud import bigquery

    from etlkit.api.reuse import Reuse
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.rows.row import Row

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_DAY_MS = 24 * 3600 * 1000
_MAX_NAME_CHARS = 100
_MAX_CHANGES = 5
"""Tries to change the table, each lost to another process that changed it at the same time."""


def results_name(dataset: tuple[str, str], job_name: str) -> TableName:
    """Where a job's results are: `results_<job>`, with a digest if that is no name of a table."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", job_name)[:_MAX_NAME_CHARS]
    if name != job_name:
        name += "_" + hashlib.sha256(job_name.encode()).hexdigest()[:8]
    return TableName(*dataset, f"results_{name}")


class ResultsTable:
    """The results of one job, for one run of it.

    The table is only added to, by the transaction that publishes a run: a result counts when its run's
    audit and checks have held. It is partitioned by day, so BigQuery deletes what is too old by itself,
    and clustered by key.

    Args:
        connection: The run's connection.
        run: The attempt.
        dataset: Project and dataset of the work tables.
        reuse: What counts.

    Attributes:
        name: The table.
        says_who_made: Whether what was taken says which run has made it.
    """

    def __init__(
        self, connection: Connection, run: Run, dataset: tuple[str, str], reuse: Reuse
    ) -> None:
        self._connection = connection
        self._run = run
        self._reuse = reuse
        self._passing = {column.name for column in reuse.passing}
        self._has_results = False
        self.says_who_made: bool = False
        self.name: TableName = results_name(dataset, reuse.job)

    def count(self) -> int:
        """How many source rows have results that count."""
        if self._connection.find_table(self.name) is None:
            return 0
        return self._count(self._reuse) or self._tell_of_other_code()

    def _count(self, reuse: Reuse) -> int:
        return int(self._connection.select(results_sql.count(self.name, reuse))[0]["n"])

    def _tell_of_other_code(self) -> int:
        """Say that there are results of other code, where none count; 0 = these."""
        others = (
            0 if self._reuse.across_code else self._count(replace(self._reuse, across_code=True))
        )
        if others:
            log.info(
                "note: results of %s rows were made by other code; --reuse-across-code takes them",
                f"{others:,}",
            )
        return 0

    def unknown(self, rows: str) -> str:
        """What is true of rows without results that count, as SQL; empty = there are no results.

        Args:
            rows: Alias of a table of source rows.
        """
        if self._connection.find_table(self.name) is None:
            return ""
        return results_sql.unknown(rows, self.name, self._reuse)

    def count_known(self, frozen: TableName) -> int:
        """How many frozen rows have results that count."""
        if self._connection.find_table(self.name) is None:
            return 0
        text = results_sql.count_known(frozen, self.name, self._reuse)
        return int(self._connection.select(text)[0]["n"])

    def read(self, frozen: TableName) -> tuple[tuple[Column, ...], dict[str, list[Row]]]:
        """What is known of frozen rows: the columns, and by row id the target rows; none = skipped."""
        from etlkit.rows.batches import RowDecoder
        from etlkit.rows.casts import conform

        results = self._connection.find_table(self.name)
        if results is None:
            return (), {}
        made = self._made(_columns(results))
        columns = (*made, *self._reuse.passing)
        text = results_sql.known(frozen, self.name, made, self._reuse)
        job = self._connection.query(f"{text}\nORDER BY {PART}", "known_rows")
        decoder = RowDecoder(columns)
        found: dict[str, list[Row]] = {}
        for batch in job.result().to_arrow(create_bqstorage_client=False).to_batches():
            ids, parts = batch.column(ROW_ID).to_pylist(), batch.column(PARTS).to_pylist()
            rows = decoder.decode(conform(batch, columns)).rows
            for row_id, num_parts, row in zip(ids, parts, rows, strict=True):
                found.setdefault(row_id, []).extend([row] if num_parts else [])
        return columns, found

    def take(
        self, frozen: TableName, into: TableName, target: Sequence[Column]
    ) -> tuple[int, tuple[Column, ...]]:
        """Stage what is known, unless an earlier attempt has done so.

        Args:
            frozen: The frozen source rows.
            into: The staging table to make.
            target: The target's columns; rows that break their demands are left out.

        Returns:
            How many source rows were known, and the columns of the staging table.
        """
        from etlkit.bigquery.schema_fields import staged_columns

        table = self._connection.find_table(into) if self._run.attempt > 1 else None
        if table is None:
            self._make(frozen, into, {column.name: column for column in target})
            table = self._connection.find_table(into)
        if table is None or not table.num_rows:
            return (self._tell_of_other_code() if self._has_results else 0), ()
        count = self._connection.select(results_sql.count_rows(into))[0]["n"]
        self.says_who_made = results_sql.MADE_BY_RUN in {field.name for field in table.schema}
        return int(count), staged_columns(table)

    def _make(self, frozen: TableName, into: TableName, target: dict[str, Column]) -> None:
        if self._reuse.is_fresh:  # a resume finds it, and takes nothing either
            self._connection.make_table(work_table(into, STAGING_COLUMNS))
            return
        results = self._connection.find_table(self.name)
        if results is None:
            return

        def demanded(columns: Sequence[Column]) -> tuple[Column, ...]:
            return tuple(column.limited_by(target.get(column.name, column)) for column in columns)

        reuse = replace(self._reuse, passing=demanded(self._reuse.passing))
        made = demanded(self._made(_columns(results)))
        text = results_sql.take(into, frozen, self.name, made, reuse)
        self._connection.query(text, "take_results")
        self._has_results = True

    def _made(self, columns: Sequence[Column]) -> tuple[Column, ...]:
        return tuple(_plain(column) for column in columns if column.name not in self._passing)

    def keep(
        self, frozen: TableName, staged: Staged, taken: TableName, columns: Sequence[Column]
    ) -> list[str]:
        """DML that adds the run's own results, for the transaction that publishes it.

        Args:
            frozen: The frozen source rows.
            staged: The work tables.
            taken: The staging table of results that were taken.
            columns: Of the rows.
        """
        made = self._made(columns)
        own = tuple((name, has) for name, has in staged.tables if name != taken)
        if not own:
            return []
        if self._prepare(made):
            own = staged.tables  # the table is new: what was taken goes back into it
        kept = Staged(own, staged.rejects)
        run_id = self._run.run_id
        return [results_sql.keep(self.name, frozen, kept, made, self._reuse, run_id)]

    def _prepare(self, made: tuple[Column, ...]) -> bool:
        """Make sure that the table has these columns.

        Returns:
            Whether it was made anew, because a column has another type now.
        """
        from google.api_core.exceptions import PreconditionFailed

        table = self._connection.make_table(self._definition(made))
        for number in range(1, _MAX_CHANGES + 1):
            there = {column.name: column for column in _columns(table)}
            if any(each.ddl != there.get(each.name, each).ddl for each in made):
                self._connection.drop_work_table(self.name)
                self._connection.make_table(self._definition(made))
                log.info("%s was made anew: a column has another type now", self.name)
                return True
            if not (changed := self._changes(table, [c for c in made if c.name not in there])):
                return False
            try:
                self._connection.update(table, changed)
            except PreconditionFailed:  # another run has just done it
                if number == _MAX_CHANGES:
                    raise
                table = self._connection.make_table(self._definition(made))
        return False

    def _changes(self, table: bigquery.Table, missing: Sequence[Column]) -> list[str]:
        from etlkit.bigquery.schema_fields import to_schema_fields

        changed = []
        if missing:
            table.schema = [*table.schema, *to_schema_fields(missing)]
            changed.append("schema")
        by_day = table.time_partitioning
        if by_day is not None and int(by_day.expiration_ms or 0) != self._reuse.days * _DAY_MS:
            by_day.expiration_ms = self._reuse.days * _DAY_MS
            table.time_partitioning = by_day
            changed.append("time_partitioning")
        return changed

    def _definition(self, made: tuple[Column, ...]) -> bigquery.Table:
        from google.cloud import bigquery

        table = plain_table(self.name, (*results_sql.RESULT_COLUMNS, *made))
        table.description = f"etlkit: results of job {self._reuse.job}, for its later runs"
        table.time_partitioning = bigquery.TimePartitioning(
            field=results_sql.MADE_AT, expiration_ms=self._reuse.days * _DAY_MS
        )
        table.clustering_fields = [results_sql.KEY]
        return table


def _columns(table: bigquery.Table) -> tuple[Column, ...]:
    """The columns of results that a transform has made."""
    from etlkit.bigquery.schema_fields import from_schema_fields

    return from_schema_fields(table.schema)[len(results_sql.RESULT_COLUMNS) :]


def _plain(column: Column) -> Column:
    """The column without demands: those of the target may change."""
    mode = "NULLABLE" if column.mode == "REQUIRED" else column.mode
    fields = tuple(map(_plain, column.fields))
    return replace(column, mode=mode, fields=fields, parameters=(), description=None)
