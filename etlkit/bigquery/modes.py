"""Modes: how the rows of a run are published. One object a mode; nothing else knows their names.

To add one, write its class here and put it into `MODES`. A mode says what it needs of the job's
options, what of the target it refuses when the run opens, how the target's columns may change, and
which statements publish the rows. `etlkit.bigquery.publish.publisher` runs them in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Protocol, TypeAlias, runtime_checkable

from etlkit.api.lineage import LINEAGE_NAMES
from etlkit.bigquery.sql import ddl, dml
from etlkit.bigquery.sql.user_sql import user_dml
from etlkit.errors import ConfigError, SinkError

if TYPE_CHECKING:
    from etlkit.api.policies import OnSchemaChange
    from etlkit.bigquery.names import TableName
    from etlkit.bigquery.table_definition import Definition
    from etlkit.rows.columns import Column

_NEEDS_KEYS: Final = "mode='merge' needs merge_keys, and no other mode takes them"

_DML: Final = ("INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE")

_WIDER_TYPES: Final = frozenset(
    {
        ("INT64", "NUMERIC"),
        ("INT64", "BIGNUMERIC"),
        ("INT64", "FLOAT64"),
        ("NUMERIC", "BIGNUMERIC"),
        ("NUMERIC", "FLOAT64"),
    }
)
"""What `ALTER COLUMN … SET DATA TYPE` does.
Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement"""


@runtime_checkable
class TargetOptions(Protocol):
    """What a job says about its target; see the attributes of `etlkit.bigquery.sink.SinkOptions`."""

    @property
    def table(self) -> str:
        """`dataset.table` or `project.dataset.table`."""

    @property
    def mode(self) -> str:
        """A key of `MODES`."""

    @property
    def merge_keys(self) -> tuple[str, ...]:
        """Columns that name a row."""

    @property
    def merge_update_columns(self) -> tuple[str, ...] | None:
        """Columns that `merge` updates; None = all but the keys."""

    @property
    def before_load(self) -> str | None:
        """DML that runs before the rows."""

    @property
    def definition(self) -> Definition:
        """How the table is made."""

    @property
    def create_dataset(self) -> bool:
        """Whether a missing dataset is created."""

    @property
    def allow_drop(self) -> bool:
        """Whether the table may be dropped and created again."""

    @property
    def work_dataset(self) -> str:
        """Where work tables live."""


@dataclass(frozen=True)
class ExistingTable:
    """The target as it is now.

    Attributes:
        name: Its full name.
        columns: Its columns, in order; at least one.
        definition: Its partitioning, clustering, description and labels.
        num_rows: How many rows it had when it was looked at; 0 = none, or not known.
        defaults: Columns with a default value, which rows may lack.
    """

    name: TableName
    columns: tuple[Column, ...]
    definition: Definition
    num_rows: int = 0
    defaults: frozenset[str] = frozenset()

    @property
    def partition_filter(self) -> str | None:
        """A filter that is true of every row, if the table requires one; None = it does not."""
        partitioning = self.definition.partitioning
        if partitioning is None or not partitioning.require_filter:
            return None
        return dml.any_partition(partitioning.column)

    @property
    def layout_columns(self) -> frozenset[str]:
        """The columns that the table is partitioned and clustered by: no ALTER changes them."""
        partitioning = self.definition.partitioning
        by = [] if partitioning is None or partitioning.column is None else [partitioning.column]
        return frozenset([*by, *self.definition.clustering])


@dataclass(frozen=True)
class Evolution:
    """How a target's columns change for the rows of a run.

    Attributes:
        before: Changes for `ddl.alter_columns` before the rows are published. They do no harm if the
            rows are never published.
        after: Changes afterwards: what they remove is no longer needed then.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """The rows to publish.

    Attributes:
        select: A SELECT of them, each once.
        columns: Its columns.
        on_top: Whether they are added whatever the mode: rejected rows that are run again.
        exactly: How many rows the SELECT must give; None = any number.
    """

    select: str
    columns: tuple[Column, ...]
    on_top: bool = False
    exactly: int | None = None


class Mode:
    """What all modes have in common; `append` as it stands.

    Attributes:
        name: As users write it.
        is_staged: Whether rows are staged, audited and published at once.
        replaces: Whether the rows of a run become the only ones; then a run without rows empties
            the table, or creates it.
        takes_before_load: Whether `before_load` may run in the transaction.
        takes_keys: Whether rows are found by `merge_keys`.
        may_drop: Whether `allow_drop` has a meaning.
        adds_rows: Whether publishing adds exactly as many rows as there are.
    """

    name: ClassVar[str] = "append"
    is_staged: ClassVar[bool] = True
    replaces: ClassVar[bool] = False
    takes_before_load: ClassVar[bool] = True
    takes_keys: ClassVar[bool] = False
    may_drop: ClassVar[bool] = False
    adds_rows: ClassVar[bool] = True

    def check_options(self, options: TargetOptions) -> None:
        """Raise if the job's options do not go with this mode. No I/O.

        Raises:
            ConfigError: Says which option, and what goes instead.
        """
        if options.merge_keys and not self.takes_keys:
            raise ConfigError(_NEEDS_KEYS)
        if options.merge_update_columns is not None and not self.takes_keys:
            raise ConfigError("merge_update_columns goes with mode='merge'")
        if options.before_load is not None:
            if not self.takes_before_load:
                raise ConfigError(f"before_load does not go with mode={self.name!r}")
            if "$" not in options.before_load:  # else it is checked with its variables' values
                check_dml(options.before_load)
        if options.allow_drop and not self.may_drop:
            raise ConfigError("allow_drop goes with mode='delete_in_advance'")

    def check_target(self, options: TargetOptions, table: ExistingTable) -> None:
        """Raise if the target cannot be published to in this mode; called when the run opens.

        Raises:
            SinkError: Says what is in the way, and the way out.
        """

    def check_columns(
        self, options: TargetOptions, columns: Sequence[Column], *, complete: bool = True
    ) -> None:
        """Raise if rows of these columns do not have what the mode needs. No I/O.

        Args:
            options: What the job says about its target.
            columns: Of the rows.
            complete: Whether they are all; False = a column that is not among them is not judged.

        Raises:
            SinkError: Says which column, and what it must be.
        """

    def must_drop(self, options: TargetOptions, table: ExistingTable) -> bool:  # noqa: ARG002
        """Whether the table must be dropped and created again to get the job's definition."""
        return False

    def evolve(
        self, table: ExistingTable, columns: Sequence[Column], policy: OnSchemaChange
    ) -> Evolution:
        """How the table's columns change so that it takes rows of `columns`.

        Raises:
            SinkError: They do not fit, and the job's `on_schema_change` or BigQuery has no way.
        """
        there = {column.name: column for column in table.columns}
        _refuse_other_types(table, columns, there)
        _refuse_missing_required(table, columns)
        return _added(table, columns, policy)

    def keys(self, options: TargetOptions) -> tuple[str, ...]:
        """The columns that name a row: no two rows of a run may agree in them. Empty = none do."""
        return options.merge_keys

    def statements(self, options: TargetOptions, table: ExistingTable, rows: Rows) -> list[str]:
        """The DML that publishes the rows."""
        before = [] if options.before_load is None else user_dml(options.before_load)
        return [*before, dml.insert(table.name, rows.columns, rows.select, rows.exactly)]


class AppendDirect(Mode):
    """Rows go straight into the table."""

    name = "append_direct"
    is_staged = False
    takes_before_load = False


class Replace(Mode):
    """The rows of the run become the only ones; the table itself stays."""

    name = "replace"
    replaces = True

    def evolve(
        self, table: ExistingTable, columns: Sequence[Column], policy: OnSchemaChange
    ) -> Evolution:
        """See `Mode.evolve`: with `add_columns` the table takes the columns of the rows."""
        if policy != "add_columns":
            return super().evolve(table, columns, policy)
        return _become(table, columns)

    def statements(self, options: TargetOptions, table: ExistingTable, rows: Rows) -> list[str]:
        """See `Mode.statements`: empty the table, then add the rows."""
        added = super().statements(options, table, rows)
        if rows.on_top:
            return added
        return [*added[:-1], dml.empty(table.name, table.partition_filter), added[-1]]


class DeleteInAdvance(Replace):
    """As `replace`, and the table gets the job's definition."""

    name = "delete_in_advance"
    takes_before_load = False
    may_drop = True

    def check_target(self, options: TargetOptions, table: ExistingTable) -> None:
        """See `Mode.check_target`: another partitioning or clustering needs `allow_drop`."""
        if not self.must_drop(options, table) or options.allow_drop:
            return
        differences = options.definition.layout_differences(table.definition)
        raise SinkError(
            f"{table.name}: {'; '.join(differences)}. BigQuery cannot change that of an existing "
            "table. With allow_drop=True the table is dropped and created again, after the rows are "
            "staged and audited: access policies, policy tags and keys are lost",
            stage="open",
        )

    def must_drop(self, options: TargetOptions, table: ExistingTable) -> bool:
        """See `Mode.must_drop`."""
        return bool(options.definition.layout_differences(table.definition))

    def evolve(
        self, table: ExistingTable, columns: Sequence[Column], policy: OnSchemaChange
    ) -> Evolution:
        """See `Mode.evolve`: whatever the policy, the table takes the columns of the rows."""
        del policy
        return _become(table, columns)


class Merge(Mode):
    """Rows that are there are updated by key, the others are added."""

    name = "merge"
    takes_keys = True
    adds_rows = False

    def check_options(self, options: TargetOptions) -> None:
        """See `Mode.check_options`."""
        super().check_options(options)
        if not options.merge_keys:
            raise ConfigError(_NEEDS_KEYS)
        both = set(options.merge_keys) & set(options.merge_update_columns or ())
        if both:
            raise ConfigError(
                f"{', '.join(sorted(both))} is in merge_keys and in merge_update_columns: a key "
                "is never updated"
            )

    def check_target(self, options: TargetOptions, table: ExistingTable) -> None:
        """See `Mode.check_target`: the table has the keys, in types that can be compared."""
        _refuse_missing(options.merge_keys, "merge_keys", table.columns, f"in {table.name}; it has")
        refuse_incomparable(options.merge_keys, table.columns)

    def check_columns(
        self, options: TargetOptions, columns: Sequence[Column], *, complete: bool = True
    ) -> None:
        """See `Mode.check_columns`: the rows have the keys, in types that can be compared."""
        for name in ("merge_keys", "merge_update_columns") if complete else ():
            wanted = getattr(options, name) or ()
            _refuse_missing(wanted, name, columns, "in the rows; they have")
        refuse_incomparable(options.merge_keys, columns)

    def statements(self, options: TargetOptions, table: ExistingTable, rows: Rows) -> list[str]:
        """See `Mode.statements`."""
        before = [] if options.before_load is None else user_dml(options.before_load)
        merged = dml.merge(
            table.name,
            rows.columns,
            rows.select,
            options.merge_keys,
            _updated(options.merge_update_columns, rows.columns),
            table.partition_filter,
        )
        return [*before, merged]


def _updated(names: Sequence[str] | None, columns: Sequence[Column]) -> Sequence[str] | None:
    """The columns to update; a row that is updated comes from another source row than before."""
    if names is None:
        return None
    return [*names, *(column.name for column in columns if column.name in LINEAGE_NAMES)]


ModeName: TypeAlias = Literal["append", "append_direct", "replace", "delete_in_advance", "merge"]
"""The keys of `MODES`, for type checkers and editors."""

MODES: Final[Mapping[str, Mode]] = {
    mode.name: mode for mode in (Mode(), AppendDirect(), Replace(), DeleteInAdvance(), Merge())
}
"""By the names that users write."""


def check_dml(text: str) -> None:
    """Raise if `before_load` holds anything but DML, which is all that its transaction takes. No I/O.

    Raises:
        ConfigError: Says which statement.
    """
    statements = user_dml(text)
    if not statements:
        raise ConfigError("before_load has no statement")
    for statement in statements:
        if statement.split(None, 1)[0].upper() not in _DML:
            raise ConfigError(
                f"before_load takes {', '.join(_DML)}, which a transaction can undo; this is another "
                f"statement: {statement.splitlines()[0]}"
            )


def refuse_incomparable(keys: Sequence[str], columns: Sequence[Column]) -> None:
    """Raise if BigQuery has no equality for a key column. Keys that are not there are not judged.

    Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#data_type_properties

    Raises:
        SinkError: Says which key.
    """
    for column in columns:
        if column.name in keys and not column.is_comparable:
            raise SinkError(
                f"merge key {column.name} is {column.ddl}, which BigQuery cannot compare: use a key "
                "of another type, e.g. its TO_JSON_STRING or ST_ASTEXT as a STRING",
                stage="open",
            )


def _refuse_missing(
    names: Sequence[str], option: str, columns: Sequence[Column], where: str
) -> None:
    there = {column.name for column in columns}
    if missing := [name for name in names if name not in there]:
        raise SinkError(
            f"{option}: {', '.join(missing)} is not {where} {', '.join(sorted(there))}",
            stage="open",
        )


def _refuse_other_types(
    table: ExistingTable, columns: Sequence[Column], there: Mapping[str, Column]
) -> None:
    for column in columns:
        known = there.get(column.name)
        if known is not None and known.ddl != column.ddl:
            raise SinkError(
                f"{table.name}: column {column.name} is {known.ddl}, the rows have {column.ddl}: "
                "convert it in the transform and declare it in output_schema",
                stage="stage",
            )


def _refuse_missing_required(table: ExistingTable, columns: Sequence[Column]) -> None:
    given = {column.name for column in columns} | table.defaults
    required = [column.name for column in table.columns if column.mode == "REQUIRED"]
    if lacking := [name for name in required if name not in given]:
        raise SinkError(
            f"{table.name}: the rows have no value for required column {', '.join(lacking)}",
            stage="stage",
        )


def _added(table: ExistingTable, columns: Sequence[Column], policy: OnSchemaChange) -> Evolution:
    there = {column.name for column in table.columns}
    given = {column.name for column in columns}
    new = [column for column in columns if column.name not in there]
    gone = [name for name in there if name not in given]
    if policy == "fail" and (new or gone):
        what = [f"it lacks {', '.join(f'{c.name} {c.ddl}' for c in new)}"] if new else []
        what += [f"the rows lack {', '.join(sorted(gone))}"] if gone else []
        raise SinkError(
            f"{table.name} has other columns than the rows: {'; '.join(what)}. Change one of the "
            "two, or choose on_schema_change='add_columns' or 'drop_columns'",
            stage="stage",
        )
    return Evolution(before=tuple(ddl.add_column(column) for column in new if policy != "fail"))


def _become(table: ExistingTable, columns: Sequence[Column]) -> Evolution:
    """Change the table's columns to those of the rows, by ALTER: everything else of it stays."""
    given = {column.name: column for column in columns}
    there = {column.name for column in table.columns}
    before = [ddl.add_column(column) for column in columns if column.name not in there]
    after = []
    for column in table.columns:
        new = given.get(column.name)
        if new is None:
            _refuse_layout_column(table, column.name, "is not in the rows")
            before += [ddl.drop_not_null(column.name)] if column.mode == "REQUIRED" else []
            after.append(ddl.drop_column(column.name))
        elif new.ddl != column.ddl:
            _refuse_layout_column(table, column.name, f"is {column.ddl}, the rows have {new.ddl}")
            if (column.ddl, new.ddl) not in _WIDER_TYPES:
                raise SinkError(
                    f"{table.name}: column {column.name} is {column.ddl}, the rows have {new.ddl}, "
                    "and BigQuery cannot change that of a table that is there. Convert it in the "
                    "transform and declare it in output_schema, or drop the table first",
                    stage="stage",
                )
            before.append(ddl.set_type(new))
    return Evolution(tuple(before), tuple(after))


def _refuse_layout_column(table: ExistingTable, name: str, what: str) -> None:
    if name in table.layout_columns:
        raise SinkError(
            f"{table.name}: column {name} {what}, but the table is partitioned or clustered by it. "
            "Give the rows that column, or use mode='delete_in_advance' with a definition and "
            "allow_drop=True",
            stage="stage",
        )
