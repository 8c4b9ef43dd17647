"""The target table of a run: what it is now, and whether the rows of the run fit it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from etlkit.api.lineage import LINEAGE_COLUMNS, without_lineage
from etlkit.bigquery.client import connect
from etlkit.bigquery.modes import MODES, Evolution, ExistingTable, TargetOptions
from etlkit.bigquery.names import parse_table
from etlkit.bigquery.sql import ddl
from etlkit.bigquery.table_definition import definition_of
from etlkit.errors import SinkError

if TYPE_CHECKING:
    from etlkit.api.job_options import JobOptions
    from etlkit.api.policies import OnSchemaChange
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName
    from etlkit.bigquery.table_definition import Partitioning
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit.bigquery")


def find_dataset(
    connection: Connection, dataset_id: str, *, create: bool, may_create: bool = True
) -> None:
    """Make sure that a target's dataset is there, where the run's other data is.

    Args:
        connection: The run's connection; it learns the location, if it does not know it.
        dataset_id: `project.dataset`.
        create: Whether the job says that a missing dataset is created.
        may_create: Whether that may be done now.

    Raises:
        SinkError: There is no such dataset, or it is in another location.
    """
    dataset = connection.find_dataset(dataset_id)
    if dataset is None:
        if not create:
            raise SinkError(
                f"dataset {dataset_id} does not exist: create it, or let the job "
                "do it with create_dataset=True, or --create-dataset with --script",
                stage="open",
            )
        if may_create:
            connection.make_dataset(dataset_id)
        return
    here = connection.location
    if here is None:  # everything of a run is in one location
        connection.location = dataset.location
    elif dataset.location and dataset.location.lower() != here.lower():
        raise SinkError(
            f"dataset {dataset_id} is in {dataset.location}, the source rows are in "
            f"{here}: BigQuery cannot query across locations; copy one of the two first",
            stage="open",
        )


def target_of(run: Run, options: TargetOptions, job: JobOptions) -> Target:
    """The run's target: looked at once, when the job is checked or when the run starts.

    Args:
        run: The attempt.
        options: What the job says about the target.
        job: For `on_schema_change` and `lineage`.

    Raises:
        SinkError: As `Target`.
    """

    def make() -> Target:
        return Target(options, job.on_schema_change, connect(run), lineage=job.lineage)

    return run.share("bigquery_target", make, lambda _: None)


class KnownTarget:
    """A table that rows are to be published to, as far as it is known. No I/O.

    Args:
        options: What the job says about it.
        policy: The job's `on_schema_change`.
        name: Its full name.
        table: What is there; None = it does not exist.
        lineage: Whether rows get `LINEAGE_COLUMNS`.

    Attributes:
        name: Its full name.
        table: What is there.
    """

    def __init__(
        self,
        options: TargetOptions,
        policy: OnSchemaChange,
        name: TableName,
        table: ExistingTable | None,
        *,
        lineage: bool = False,
    ) -> None:
        self._options = options
        self._lineage = lineage
        self._policy = policy
        self._mode = MODES[options.mode]
        self.name = name
        self.table: ExistingTable | None = table

    def check_mode(self) -> None:
        """Raise if the job's mode refuses the table as it is.

        Raises:
            SinkError: Says what is in the way.
        """
        if self.table is not None:
            self._mode.check_target(self._options, self.table)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The table's columns without those of lineage; empty = it does not exist."""
        return () if self.table is None else without_lineage(self.table.columns)

    @property
    def must_drop(self) -> bool:
        """Whether the table is dropped and created again, as the job allows."""
        return self.table is not None and self._mode.must_drop(self._options, self.table)

    @property
    def partitioning(self) -> Partitioning | None:
        """How the table is partitioned when the rows are published; None = it is not."""
        if self.table is None or self.must_drop:
            return self._options.definition.partitioning
        return self.table.definition.partitioning

    def check_known(self, columns: tuple[Column, ...]) -> None:
        """As `check_fit`, for columns that the rows will have if the transform does not drop them.

        Raises:
            SinkError: One of them cannot be a key, or cannot be partitioned or clustered by.
        """
        self._mode.check_columns(self._options, columns, complete=False)
        if self.table is None or self.must_drop:
            self._options.definition.check_columns(columns, complete=False)

    def check_fit(self, columns: tuple[Column, ...]) -> None:
        """Find what publishing would refuse, before more rows are paid for.

        Raises:
            SinkError: The rows do not fit the table under the job's `on_schema_change`.
        """
        if not columns:
            return
        published = self.published(columns)
        self._mode.check_columns(self._options, published)
        if self.table is None or self.must_drop:
            self._options.definition.check_columns(published)
        self.evolution(columns)

    def changes(self, columns: tuple[Column, ...] | None) -> list[str]:
        """What a run would change in the table beside its rows, one sentence each.

        Args:
            columns: Of the rows; None = not known.
        """
        if self.table is None:
            return self._creation(columns)
        if self.must_drop:
            return [f"{self.name} would be dropped and created again: allow_drop"]
        if columns is None:
            return self._unused_definition
        evolution = self.evolution(columns)
        changes = (*evolution.before, *evolution.after)
        return [*(f"{self.name}: {change}" for change in changes), *self._unused_definition]

    @property
    def _unused_definition(self) -> list[str]:
        """Where the existing table is not as the job's definition says, one sentence each."""
        if self.table is None or self._mode.may_drop:
            return []
        return [
            f"{self.name}: {difference}; a definition applies when a table is made"
            for difference in self._options.definition.differences(self.table.definition)
        ]

    def _creation(self, columns: tuple[Column, ...] | None) -> list[str]:
        definition, by = self._options.definition, self._options.definition.partitioning
        made = self.published(columns) if columns else ()
        shown = ", ".join(f"{c.name} {c.parameterized_ddl}" for c in made)
        changes = [f"{self.name} would be created" + (f" with {shown}" if shown else "")]
        if by is not None:
            layout = by.expression(columns) if columns else by.column or "the time of loading"
            changes.append(f"it would be partitioned by {layout}")
        if definition.clustering:
            changes.append(f"it would be clustered by {', '.join(definition.clustering)}")
        return changes

    def evolution(self, columns: tuple[Column, ...]) -> Evolution:
        """How the table's columns change for rows of `columns`.

        Raises:
            SinkError: As `check_fit`.
        """
        if self.table is None or not columns or self.must_drop:
            return Evolution()
        self._refuse_other_case(columns)
        there = {column.name for column in self.table.columns}
        more = [c for c in LINEAGE_COLUMNS if self._lineage and c.name not in there]
        # Whatever the policy: the job asks for these two by name.
        table = replace(self.table, columns=(*self.table.columns, *more))
        evolution = self._mode.evolve(table, self.published(columns), self._policy)
        return replace(evolution, before=(*map(ddl.add_column, more), *evolution.before))

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

    def published(self, staged: tuple[Column, ...]) -> tuple[Column, ...]:
        """Which columns are published of rows that are staged with these."""
        kept = self._kept(staged)
        return (*kept, *LINEAGE_COLUMNS) if self._lineage and kept else kept

    def _kept(self, staged: tuple[Column, ...]) -> tuple[Column, ...]:
        if self._policy != "drop_columns" or self.table is None or self.must_drop:
            return staged
        there = {column.name for column in self.columns}
        dropped = [column.name for column in staged if column.name not in there]
        if dropped:
            log.warning("%s has no column %s: left out", self.name, ", ".join(dropped))
        return tuple(column for column in staged if column.name in there)


class Target(KnownTarget):
    """The table that a run publishes to, looked up in BigQuery.

    Args:
        options: What the job says about it.
        policy: The job's `on_schema_change`.
        connection: The run's connection.
        lineage: See `KnownTarget`.

    Raises:
        SinkError: No such dataset, another location, no table, or one that the mode refuses.
    """

    def __init__(
        self,
        options: TargetOptions,
        policy: OnSchemaChange,
        connection: Connection,
        *,
        lineage: bool = False,
    ) -> None:
        name = parse_table(options.table, connection.project)
        super().__init__(options, policy, name, None, lineage=lineage)
        self._connection = connection
        self._find_dataset(may_create=False)
        self.look()
        self.check_mode()

    def _find_dataset(self, *, may_create: bool) -> None:
        find_dataset(
            self._connection,
            self.name.dataset_id,
            create=self._options.create_dataset,
            may_create=may_create,
        )

    def prepare(self) -> None:
        """Create a missing dataset, and say where the table is not as the job defines it."""
        self._find_dataset(may_create=True)
        for difference in self._unused_definition:
            log.warning("%s", difference)

    def look(self) -> None:
        """Look at the table as it is now."""
        from etlkit.bigquery.schema_fields import from_schema_fields

        found = self._connection.find_table(self.name)
        if found is None:
            self.table = None
            return
        if found.table_type not in {None, "TABLE"}:
            raise SinkError(f"{self.name} is a {found.table_type}, not a table", stage="open")
        self.table = ExistingTable(
            self.name,
            from_schema_fields(found.schema),
            definition_of(found),
            found.num_rows or 0,
            frozenset(field.name for field in found.schema if field.default_value_expression),
        )
