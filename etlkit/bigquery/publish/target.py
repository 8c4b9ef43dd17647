"""The target table as it is, and what has to be done to it so that the rows fit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from etlkit.bigquery.client import Connection
from etlkit.bigquery.names import parse_table
from etlkit.bigquery.table_definition import definition_of
from etlkit.errors import SinkError

if TYPE_CHECKING:
    from etlkit.api.job import OnSchemaChange
    from etlkit.bigquery.sink_options import SinkOptions
    from etlkit.rows.columns import Column

log = logging.getLogger("etlkit.bigquery")


class Target:
    """The target of one run.

    Attributes:
        name: Its full name.
        columns: Its columns; empty = it does not exist yet.
        definition: How it is to be made: the job's definition, completed by that of the table
            which is there.
        made_by: Label of the run that made it with its rows; None = none did, or there is no table.

    Raises:
        SinkError: Its dataset is missing or elsewhere.
    """

    def __init__(self, sink: SinkOptions, policy: OnSchemaChange, connection: Connection) -> None:
        self._sink = sink
        self._policy = policy
        self._connection = connection
        self.name = parse_table(sink.table, connection.project)
        self.columns: tuple[Column, ...] = ()
        self.definition = sink.definition
        self.made_by: str | None = None
        self._find_dataset()
        self._find_table()

    def _find_dataset(self) -> None:
        dataset = self._connection.find_dataset(self.name.dataset_id)
        if dataset is None:
            if not self._sink.create_dataset:
                raise SinkError(
                    f"dataset {self.name.dataset_id} does not exist: create it, or let the job "
                    "do it with create_dataset=True",
                    stage="open",
                )
            self._connection.make_dataset(self.name.dataset_id)
            return
        here = self._connection.location
        if here and dataset.location and dataset.location.lower() != here.lower():
            raise SinkError(
                f"dataset {self.name.dataset_id} is in {dataset.location}, the source rows are in "
                f"{here}: BigQuery cannot query across locations; copy one of the two first",
                stage="open",
            )

    def look_again(self, columns: tuple[Column, ...]) -> None:
        """Another run has made the table in the meantime: see whether the rows fit it.

        Raises:
            SinkError: They do not.
        """
        self._find_table()
        self.check_fit(columns)

    def _find_table(self) -> None:
        from etlkit.bigquery.schema_fields import from_schema_fields

        table = self._connection.find_table(self.name)
        if table is None:
            return
        if table.table_type not in {None, "TABLE"}:
            raise SinkError(f"{self.name} is a {table.table_type}, not a table", stage="open")
        self.columns = from_schema_fields(table.schema)
        self.made_by = table.labels.get("etlkit_run")
        for difference in self._sink.definition.differences(table):
            log.warning("%s: %s; a definition applies when a table is made", self.name, difference)
        if self._sink.mode != "delete_in_advance":
            self.definition = definition_of(table)

    @property
    def is_made_anew(self) -> bool:
        """Whether the mode brings the table's definition along."""
        return self._sink.mode in {"replace", "delete_in_advance"}

    def check_fit(self, columns: tuple[Column, ...]) -> None:
        """Find before more rows are paid for what publishing would refuse.

        Raises:
            SinkError: The rows do not fit the table under the job's `on_schema_change`.
        """
        missing = [key for key in self._sink.merge_keys if key not in {c.name for c in columns}]
        if columns and missing:
            raise SinkError(f"merge key {', '.join(missing)} is not in the rows", stage="stage")
        if not self.columns or not columns or self._sink.mode == "delete_in_advance":
            return
        there = {column.name: column for column in self.columns}
        given = {column.name for column in columns}
        self._refuse_other_case(columns)
        free = self._sink.mode == "replace" and self._policy == "add_columns"
        if not free:
            self._refuse_other_types(columns, there)
            required = [c.name for c in self.columns if c.mode == "REQUIRED"]
            if lacking := [name for name in required if name not in given]:
                raise SinkError(
                    f"{self.name}: the rows have no value for required column {', '.join(lacking)}",
                    stage="stage",
                )
        if self._policy == "fail":
            self._refuse_any_difference(columns, there, given)

    def _refuse_other_case(self, columns: tuple[Column, ...]) -> None:
        """BigQuery's names ignore case: the two would be one column."""
        spelled = {column.name.casefold(): column.name for column in self.columns}
        for column in columns:
            theirs = spelled.get(column.name.casefold(), column.name)
            if theirs != column.name:
                raise SinkError(
                    f"{self.name}: column {theirs} differs only in case from {column.name} in the "
                    "rows: rename one of the two",
                    stage="stage",
                )

    def _refuse_other_types(self, columns: tuple[Column, ...], there: dict[str, Column]) -> None:
        for column in columns:
            if column.name in there and there[column.name].ddl != column.ddl:
                raise SinkError(
                    f"{self.name}: column {column.name} is {there[column.name].ddl}, the rows have "
                    f"{column.ddl}: convert it in the transform and declare it in output_schema",
                    stage="stage",
                )

    def _refuse_any_difference(
        self, columns: tuple[Column, ...], there: dict[str, Column], given: set[str]
    ) -> None:
        extra = [f"{c.name} {c.ddl}" for c in columns if c.name not in there]
        gone = [name for name in there if name not in given]
        if extra or gone:
            what = [f"it lacks {', '.join(extra)}"] if extra else []
            what += [f"the rows lack {', '.join(gone)}"] if gone else []
            raise SinkError(
                f"{self.name} has other columns than the rows: {'; '.join(what)}. Change one of "
                "the two, or choose on_schema_change='add_columns' or 'drop_columns'",
                stage="stage",
            )

    def published(self, staged: tuple[Column, ...]) -> tuple[Column, ...]:
        """Which of the staged columns are published."""
        if self._policy != "drop_columns" or not self.columns:
            return staged
        if self._sink.mode == "delete_in_advance":
            return staged
        there = {column.name for column in self.columns}
        dropped = [column.name for column in staged if column.name not in there]
        if dropped:
            log.warning("%s has no column %s: left out", self.name, ", ".join(dropped))
        return tuple(column for column in staged if column.name in there)

    def added(self, published: tuple[Column, ...]) -> list[Column]:
        """The columns that the table lacks."""
        there = {column.name for column in self.columns}
        return [column for column in published if column.name not in there]

    def fits(self, published: tuple[Column, ...]) -> bool:
        """Whether the table as it is, with columns added, can take these rows as its only ones."""
        theirs = {column.name: column.ddl for column in self.columns}
        mine = {column.name: column.ddl for column in published}
        if self._policy == "drop_columns":
            return True
        return all(mine.get(name) == kind for name, kind in theirs.items())
