"""Datamarts: frozen descriptions of SQL that runs inside the warehouse. No row leaves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from etlkit.api.callers import calling_file
from etlkit.api.checks import Check
from etlkit.api.labels import check_labels
from etlkit.errors import ConfigError
from etlkit.variables.definitions import VariableDefinition, zone_of
from etlkit.variables.values import check_definitions

QueryMode = Literal["query", "insert"]
WriteDisposition = Literal["append", "truncate", "incremental", "scd_type_2"]
OnMatchedAction = Literal["upsert", "skip"]
SchemaEvolution = Literal["fail", "detect_only", "auto_add_column"]
ColumnType = Literal["TIMESTAMP", "DATETIME", "DATE"]
LookbackUnit = Literal["days", "hours"]

WORK_DATASET = "etlkit_work"


class TableDefinition(Protocol):
    """How the warehouse makes a table, e.g. `etlkit.Definition`."""

    def clauses(self, columns: Any, labels: Mapping[str, str]) -> str:
        """The table's clauses, as DDL writes them."""


@dataclass(frozen=True, kw_only=True)
class Lookback:
    """The period of rows to process; wraps the query.

    Attributes:
        column: A column of the query's result.
        column_type: `TIMESTAMP`, `DATETIME` or `DATE`.
        start: The period begins this many units before the run.
        end: The period ends this many units before the run; not above `start`.
        unit: `days` are whole days of the calendar, the first and the last included: `start=3`,
            `end=0` is today and the three days before. `hours` are counted back from the run.
        time_zone: Where days begin, and the zone of a DATETIME or DATE.
    """

    column: str
    column_type: ColumnType = "TIMESTAMP"
    start: int
    end: int = 0
    unit: LookbackUnit = "days"
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        _check_choice("Lookback", "column_type", self.column_type, ColumnType)
        _check_choice("Lookback", "unit", self.unit, LookbackUnit)
        if not 0 <= self.end <= self.start:
            raise ConfigError(f"Lookback(start={self.start}, end={self.end}): start ≥ end ≥ 0")
        zone_of(self.time_zone)
        if self.column_type == "DATE" and self.unit == "hours":
            raise ConfigError("Lookback: a DATE has no hours; use unit='days'")


@dataclass(frozen=True, kw_only=True)
class ValidityColumns:
    """Names of the columns that `scd_type_2` adds.

    Attributes:
        valid_from: TIMESTAMP, start of the run that added the version.
        valid_to: TIMESTAMP, start of the run that added the next version; null = there is none.
        is_current: BOOL.
    """

    valid_from: str = "etlkit_valid_from"
    valid_to: str = "etlkit_valid_to"
    is_current: str = "etlkit_is_current"

    @property
    def names(self) -> tuple[str, str, str]:
        """The three names, in the order of the columns."""
        return self.valid_from, self.valid_to, self.is_current


TROCCO_COLUMNS = ValidityColumns(
    valid_from="trocco_valid_from", valid_to="trocco_valid_to", is_current="trocco_is_current"
)


@dataclass(frozen=True, kw_only=True)
class Datamart:
    """SQL that runs inside the warehouse.

    Attributes:
        sql: The statements, or the SELECT; `$name$` for variables.
        file: A file with them instead. A relative path is looked for beside the file in which the
            datamart is made, then in the working directory.
        query_mode: `query` runs statements as they are; `insert` writes the rows of one SELECT to
            `destination`, all of them at once.
        destination: `dataset.table` or `project.dataset.table`; made if missing.
        create_dataset: Create the destination's dataset when it is missing.
        write_disposition: What to do with existing rows. `append` keeps them. `truncate`
            replaces them. `incremental` matches rows by `merge_keys`. `scd_type_2` keeps every
            version of a row. `insert` needs one.
        merge_keys: Columns that identify a row, for the last two; nulls are equal to each other.
        on_matched_action: What `incremental` does with an existing row: `upsert` or `skip`.
        incremental_column: By this column `scd_type_2` sees that a row is newer than the existing
            version; other rows are left out.
        validity_columns: Names of the columns that `scd_type_2` adds.
        lookback: The period to process, with `incremental` and `scd_type_2`; None = everything.
        before_load: DML that `append` runs before, in the same transaction, if the table exists.
        definition: Partitioning, clustering and the rest: a `Definition`. Used when the table is made.
        checks: SQL over the new rows (`{staged}`), which must hold before they are published.
        schema_evolution: What a new column in the query does to the table. `fail` ends the run.
            `detect_only` leaves the column out, with a warning. `auto_add_column` adds it. A column
            that is missing or has another type always ends the run. None = `fail`, and with `truncate`
            the table takes the columns of the query.
        variables: Name to `String`, `Timestamp`, `TimestampRuntime` or a plain value.
        depends_on: Names of datamarts that must have run before, for `run_datamarts`.
        name: In reports, labels and the ledger; None = the module's name.
        location: Where a `query` runs; None = where its tables are.
        maximum_bytes_billed: BigQuery refuses a statement rather than bill more; None = no limit.
        is_runnable_concurrently: Whether two runs may be in progress at once.
        labels: Labels for every BigQuery job, beside `etlkit_job` and `etlkit_run`.
        work_dataset: Where new rows and the ledger live, `dataset` or `project.dataset`.
    """

    sql: str | None = None
    file: str | Path | None = None
    query_mode: QueryMode = "query"
    destination: str | None = None
    create_dataset: bool = False
    write_disposition: WriteDisposition | None = None
    merge_keys: tuple[str, ...] = ()
    on_matched_action: OnMatchedAction | None = None
    incremental_column: str | None = None
    validity_columns: ValidityColumns = field(default_factory=ValidityColumns)
    lookback: Lookback | None = None
    before_load: str | None = None
    definition: TableDefinition | None = None
    checks: Sequence[Check | str] = ()
    schema_evolution: SchemaEvolution | None = None
    variables: Mapping[str, VariableDefinition] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    name: str | None = None
    location: str | None = None
    maximum_bytes_billed: int | None = None
    is_runnable_concurrently: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    work_dataset: str = WORK_DATASET
    _made_in: Path | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        if self._made_in is None:  # a copy that etlkit makes keeps what the user's own had
            object.__setattr__(self, "_made_in", calling_file())
        if (self.sql is None) == (self.file is None):
            raise ConfigError("Datamart needs either sql='…' or file='path/to/x.sql'")
        if self.sql is not None and not self.sql.strip():
            raise ConfigError("Datamart(sql=…) is empty")
        _check_choice("Datamart", "query_mode", self.query_mode, QueryMode)
        for name in ("merge_keys", "depends_on"):
            if isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} is a str; write ({getattr(self, name)!r},)")
        check_definitions(self.variables)
        check_labels(self.labels, "Datamart(labels=…)")
        if self.query_mode == "query":
            self._refuse_options_of_insert()
        else:
            self._check_insert()

    def _refuse_options_of_insert(self) -> None:
        names = "destination create_dataset write_disposition merge_keys on_matched_action"
        names += " incremental_column lookback before_load definition checks schema_evolution"
        if given := [name for name in names.split() if getattr(self, name)]:
            raise ConfigError(f"{', '.join(given)} goes with query_mode='insert'")

    def _check_insert(self) -> None:
        if not self.destination:
            raise ConfigError("query_mode='insert' needs destination='dataset.table'")
        mode = self.write_disposition
        _check_choice("Datamart", "write_disposition", mode, WriteDisposition)
        if self.location is not None:
            raise ConfigError("location goes with query_mode='query'; insert runs at its tables")
        keyed = mode in {"incremental", "scd_type_2"}
        rules = (
            ("merge_keys", keyed, keyed, "incremental or scd_type_2"),
            ("on_matched_action", mode == "incremental", mode == "incremental", "incremental"),
            ("incremental_column", mode == "scd_type_2", mode == "scd_type_2", "scd_type_2"),
            ("lookback", False, keyed, "incremental or scd_type_2"),
            ("before_load", False, mode == "append", "append"),
        )
        for name, needed, allowed, where in rules:
            if needed and not getattr(self, name):
                raise ConfigError(f"write_disposition={mode!r} needs {name}")
            if getattr(self, name) and not allowed:
                raise ConfigError(f"{name} goes with write_disposition={where}")
        if self.on_matched_action is not None:
            _check_choice("Datamart", "on_matched_action", self.on_matched_action, OnMatchedAction)
        if self.schema_evolution is not None:
            _check_choice("Datamart", "schema_evolution", self.schema_evolution, SchemaEvolution)
        if keyed and self.is_runnable_concurrently:
            raise ConfigError(f"{mode} reads what is there: is_runnable_concurrently must be False")

    def text(self) -> str:
        """The SQL as the user wrote it.

        Raises:
            ConfigError: The file is missing or is not text.
        """
        if self.sql is not None:
            return self.sql
        path = self.path or Path(str(self.file))
        try:
            return path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            places = "" if path.is_file() or path.is_absolute() else self._places()
            raise ConfigError(f"cannot read {path}: {_reason(error)}{places}") from error

    @property
    def path(self) -> Path | None:
        """Where `file` is: beside the file in which the datamart is made, or in the working directory.

        None = the datamart has no file.
        """
        if self.file is None:
            return None
        beside = Path() if self._made_in is None else self._made_in.parent / self.file
        return beside if beside.is_file() else Path(self.file)

    def _places(self) -> str:
        folders = [Path.cwd(), *([] if self._made_in is None else [self._made_in.parent])]
        return f"; looked in {' and '.join(dict.fromkeys(map(str, folders)))}"

    @property
    def made_in(self) -> Path | None:
        """The file in which it was made; None = it was made at a prompt."""
        return self._made_in


def _check_choice(what: str, name: str, value: Any, allowed: Any) -> None:
    if value not in get_args(allowed):
        choices = ", ".join(repr(each) for each in get_args(allowed))
        raise ConfigError(f"{what}({name}={value!r}): it is one of {choices}")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is not UTF-8 text"
