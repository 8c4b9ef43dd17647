"""How a target table is to be made: partitioning, clustering, description, labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from etlkit.api.labels import check_labels
from etlkit.bigquery.names import TableName, literal
from etlkit.bigquery.sql.expiration import EXPIRE_DAYS, expires
from etlkit.errors import ConfigError, SinkError
from etlkit.rows.columns import Column, quoted

if TYPE_CHECKING:
    from google.cloud import bigquery

MAX_CLUSTERING = 4
"""https://cloud.google.com/bigquery/docs/clustered-tables#limitations"""

MAX_PARTITIONS = 10_000
"""Of one table: https://cloud.google.com/bigquery/quotas#partitioned_tables"""

_CLUSTERING_TYPES = (
    "BIGNUMERIC",
    "BOOL",
    "DATE",
    "DATETIME",
    "GEOGRAPHY",
    "INT64",
    "NUMERIC",
    "STRING",
    "TIMESTAMP",
)
"""https://cloud.google.com/bigquery/docs/clustered-tables#cluster_column_types"""

Unit = Literal["HOUR", "DAY", "MONTH", "YEAR"]


@dataclass(frozen=True)
class TimePartitioning:
    """Partitions by time.

    Attributes:
        column: A DATE, TIMESTAMP or DATETIME column; None = by the time of loading.
        unit: `HOUR`, `DAY`, `MONTH` or `YEAR`; boundaries are in UTC.
        expiration_days: Partitions older than this disappear; None = never.
        require_filter: Queries must name the partitions they read.
    """

    column: str | None = None
    unit: Unit = "DAY"
    expiration_days: float | None = None
    require_filter: bool = False

    def __post_init__(self) -> None:
        """Refuse an unknown unit."""
        if self.unit not in get_args(Unit):
            raise ConfigError(
                f"TimePartitioning(unit={self.unit!r}): it is one of {', '.join(get_args(Unit))}"
            )

    @property
    def types(self) -> tuple[str, ...]:
        """The types that the column may have.

        Source: https://cloud.google.com/bigquery/docs/partitioned-tables#date_timestamp_partitioned_tables
        """
        times = ("TIMESTAMP", "DATETIME")
        return times if self.unit == "HOUR" else ("DATE", *times)

    def expression(self, columns: Sequence[Column]) -> str:
        """What stands behind PARTITION BY.

        Raises:
            SinkError: The column is missing, or its type cannot be partitioned by.
        """
        if self.column is None:
            return (
                "_PARTITIONDATE"
                if self.unit == "DAY"
                else f"TIMESTAMP_TRUNC(_PARTITIONTIME, {self.unit})"
            )
        kind = _check_column("partition", self.column, columns, self.types)
        name = quoted(self.column)
        if kind == "DATE":
            return name if self.unit == "DAY" else f"DATE_TRUNC({name}, {self.unit})"
        if self.unit == "DAY":
            return f"DATE({name})"
        return f"{kind}_TRUNC({name}, {self.unit})"

    def options(self) -> dict[str, str]:
        """Table options, as SQL."""
        options = {}
        if self.expiration_days is not None:
            options["partition_expiration_days"] = repr(float(self.expiration_days))
        if self.require_filter:
            options["require_partition_filter"] = "TRUE"
        return options


@dataclass(frozen=True)
class RangePartitioning:
    """Partitions by ranges of an INT64 column, `start` included, `end` excluded.

    Attributes:
        column: An INT64 column.
        start: Where the first range begins.
        end: Where the last range ends.
        interval: How wide a range is.
        require_filter: Queries must name the partitions they read.
    """

    column: str
    start: int
    end: int
    interval: int
    require_filter: bool = False

    def __post_init__(self) -> None:
        """Refuse ranges that hold nothing."""
        if self.interval < 1 or self.end <= self.start:
            raise ConfigError("RangePartitioning needs start < end and an interval of 1 or more")
        num_ranges = -(-(self.end - self.start) // self.interval)
        if num_ranges > MAX_PARTITIONS:
            raise ConfigError(
                f"RangePartitioning makes {num_ranges:,} partitions; BigQuery takes at most "
                f"{MAX_PARTITIONS:,}: use an interval of "
                f"{-(-(self.end - self.start) // MAX_PARTITIONS):,} or more"
            )

    @property
    def types(self) -> tuple[str, ...]:
        """The types that the column may have."""
        return ("INT64",)

    def expression(self, columns: Sequence[Column]) -> str:
        """What stands behind PARTITION BY.

        Raises:
            SinkError: The column is missing or no INT64.
        """
        _check_column("partition", self.column, columns, self.types)
        ranges = f"GENERATE_ARRAY({self.start}, {self.end}, {self.interval})"
        return f"RANGE_BUCKET({quoted(self.column)}, {ranges})"

    def options(self) -> dict[str, str]:
        """Table options, as SQL."""
        return {"require_partition_filter": "TRUE"} if self.require_filter else {}


Partitioning = TimePartitioning | RangePartitioning


def _check_column(what: str, name: str, columns: Sequence[Column], allowed: Sequence[str]) -> str:
    column = {column.name: column for column in columns}.get(name)
    if column is None:
        raise SinkError(
            f"cannot {what} by {name}: the rows have no such column; they have "
            + ", ".join(column.name for column in columns),
            stage="open",
        )
    if column.mode == "REPEATED" or column.type not in allowed:
        raise SinkError(
            f"cannot {what} by {name}: it is {column.ddl}, and must be {' or '.join(allowed)}",
            stage="open",
        )
    return column.type


@dataclass(frozen=True)
class Definition:
    """Everything about a table but its columns and rows. Applies when the table is made.

    Attributes:
        partitioning: None = one partition.
        clustering: Up to 4 columns.
        description: None = none.
        labels: Key to value.
        column_descriptions: Column name to text.
    """

    partitioning: Partitioning | None = None
    clustering: tuple[str, ...] = ()
    description: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    column_descriptions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what BigQuery would refuse, as far as it can be seen without columns."""
        if isinstance(self.clustering, str):
            raise ConfigError(f"clustering is a str; write ({self.clustering!r},)")
        if len(self.clustering) > MAX_CLUSTERING:
            raise ConfigError(f"clustering: BigQuery takes at most {MAX_CLUSTERING} columns")
        if len(set(self.clustering)) != len(self.clustering):
            raise ConfigError("clustering names a column twice")
        check_labels(self.labels, "Definition(labels=…)")

    def check_columns(self, columns: Sequence[Column], *, complete: bool = True) -> None:
        """Raise if a table of these columns cannot be partitioned and clustered so. No I/O.

        Args:
            columns: The table's columns.
            complete: Whether they are all; False = a column that is not among them is not judged.

        Raises:
            SinkError: A column is missing, or its type does not go.
        """
        there = {column.name for column in columns}
        by = self.partitioning
        if by is not None and by.column is not None and (complete or by.column in there):
            _check_column("partition", by.column, columns, by.types)
        for name in self.clustering:
            if complete or name in there:
                _check_column("cluster", name, columns, _CLUSTERING_TYPES)

    def described(self, columns: Sequence[Column]) -> tuple[Column, ...]:
        """The columns with their descriptions."""
        texts = self.column_descriptions
        return tuple(replace(c, description=texts.get(c.name, c.description)) for c in columns)

    def clauses(self, columns: Sequence[Column], labels: Mapping[str, str]) -> str:
        """PARTITION BY, CLUSTER BY and OPTIONS, as DDL writes them.

        Args:
            columns: The table's columns.
            labels: More labels, which win over the definition's own.
        """
        lines = []
        options = self.table_options()
        if self.partitioning is not None:
            lines.append(f"PARTITION BY {self.partitioning.expression(columns)}")
            options |= self.partitioning.options()
        if self.clustering:
            lines.append(f"CLUSTER BY {', '.join(quoted(name) for name in self.clustering)}")
        if self.description is not None:
            options["description"] = literal(self.description)
        pairs = {**self.labels, **labels}
        if pairs:
            text = ", ".join(f"({literal(k)}, {literal(v)})" for k, v in pairs.items())
            options["labels"] = f"[{text}]"
        if options:
            text = ", ".join(f"{name} = {value}" for name, value in options.items())
            lines.append(f"OPTIONS({text})")
        return "\n".join(lines)

    def table_options(self) -> dict[str, str]:
        """Options of a table that is made by this definition, beside those below, as SQL."""
        return {}

    def option_text(self) -> str:
        """Description, labels and options of partitions, as `SET OPTIONS` writes them.

        What the definition leaves open is not in it, so that it stays as it is.
        """
        options = {} if self.partitioning is None else self.partitioning.options()
        if self.description is not None:
            options["description"] = literal(self.description)
        if self.labels:
            pairs = ", ".join(f"({literal(k)}, {literal(v)})" for k, v in self.labels.items())
            options["labels"] = f"[{pairs}]"
        return ", ".join(f"{name} = {value}" for name, value in options.items())

    def layout_differences(self, there: Definition) -> list[str]:
        """Where a table is partitioned or clustered in another way; an open choice is none."""
        return self._differences(there, ("partitioning", "clustering"))

    def differences(self, there: Definition) -> list[str]:
        """Where an existing table is not as defined; what the job leaves open is no difference."""
        return self._differences(there, ("partitioning", "clustering", "description"))

    def _differences(self, there: Definition, names: Sequence[str]) -> list[str]:
        return [
            f"{name} is {getattr(there, name) or 'not set'}, the job says {getattr(self, name)}"
            for name in names
            if getattr(self, name) and getattr(self, name) != getattr(there, name)
        ]


@dataclass(frozen=True)
class ExpiringDefinition(Definition):
    """A definition of tables that expire by themselves."""

    def table_options(self) -> dict[str, str]:
        """See `Definition.table_options`."""
        name, _, value = expires().partition(" = ")
        return {name: value}

    @classmethod
    def of(cls, definition: Definition) -> ExpiringDefinition:
        """The same definition, for a table that expires."""
        return cls(**{each.name: getattr(definition, each.name) for each in fields(definition)})


def definition_of(table: bigquery.Table) -> Definition:
    """Read an existing table's definition, so that a table made anew can keep it."""
    return definition_of_resource(table.to_api_repr())


def definition_of_resource(table: Mapping[str, Any]) -> Definition:
    """The same of a table as the REST API describes it.

    Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables
    """
    partitioning: Partitioning | None = None
    by_time, by_range = table.get("timePartitioning"), table.get("rangePartitioning")
    required = bool(
        table.get("requirePartitionFilter") or (by_time or {}).get("requirePartitionFilter")
    )
    if by_time is not None:
        expires_ms = by_time.get("expirationMs")
        partitioning = TimePartitioning(
            column=by_time.get("field"),
            unit=by_time.get("type") or "DAY",
            expiration_days=None if expires_ms is None else int(expires_ms) / 86_400_000,
            require_filter=required,
        )
    elif by_range is not None:
        bounds = by_range["range"]
        partitioning = RangePartitioning(
            column=by_range["field"],
            start=int(bounds["start"]),
            end=int(bounds["end"]),
            interval=int(bounds["interval"]),
            require_filter=required,
        )
    fields = (table.get("schema") or {}).get("fields") or ()
    return Definition(
        partitioning=partitioning,
        clustering=tuple((table.get("clustering") or {}).get("fields") or ()),
        description=table.get("description"),
        labels={
            key: value
            for key, value in (table.get("labels") or {}).items()
            if not key.startswith("etlkit_")
        },
        column_descriptions={
            each["name"]: each["description"] for each in fields if each.get("description")
        },
    )


def plain_table(name: TableName, columns: Sequence[Column]) -> bigquery.Table:
    """A table without partitions that stays, for the REST API."""
    from google.cloud import bigquery

    from etlkit.bigquery.schema_fields import to_schema_fields

    return bigquery.Table(str(name), schema=to_schema_fields(columns))


def work_table(name: TableName, columns: Sequence[Column]) -> bigquery.Table:
    """A table that expires by itself, for the REST API.

    Its columns are nullable: skipped rows are staged too, and have no values.
    """
    nullable = [replace(c, mode="NULLABLE") if c.mode == "REQUIRED" else c for c in columns]
    table = plain_table(name, nullable)
    table.expires = datetime.now(UTC) + timedelta(days=EXPIRE_DAYS)
    return table
