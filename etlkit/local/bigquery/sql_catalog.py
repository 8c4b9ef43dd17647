"""What the statements of a caller may name: tables, functions, models, procedures and variables.

It knows neither the emulator nor the analyzer. The local server fills it from its own tables,
`etlkit check` from schemas in files or from a project's metadata.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from etlkit.local.bigquery.sql_types import SqlType

ColumnTypes = tuple[tuple[str, SqlType], ...]
Path = tuple[str, ...]
_Thing = TypeVar("_Thing")

INGESTION_TIME: Final = (
    ("_PARTITIONTIME", SqlType("TIMESTAMP")),
    ("_PARTITIONDATE", SqlType("DATE")),
)
"""https://cloud.google.com/bigquery/docs/querying-partitioned-tables#query_an_ingestion-time_partitioned_table"""

TABLE_SUFFIX: Final = ("_TABLE_SUFFIX", SqlType("STRING"))
"""https://cloud.google.com/bigquery/docs/querying-wildcard-tables"""

FILE_NAME: Final = ("_FILE_NAME", SqlType("STRING"))
"""https://cloud.google.com/bigquery/docs/query-cloud-storage-data#query_the_file_name_pseudo-column"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, a view, or an external table.

    Attributes:
        name: `project.dataset.table`; results of an analysis name the table by it.
        columns: Names and types.
        pseudo_columns: Columns that `SELECT *` leaves out, e.g. `INGESTION_TIME`.
        kind: TABLE, VIEW, EXTERNAL, … as `tables.get` names it.
    """

    name: str
    columns: ColumnTypes
    pseudo_columns: ColumnTypes = ()
    kind: str = "TABLE"

    @classmethod
    def of(cls, name: str, columns: Mapping[str, str], **more: Any) -> Table:
        """A table from DDL texts: `Table.of("p.d.t", {"id": "INT64"})`."""
        return cls(name, tuple((c, SqlType.parse(text)) for c, text in columns.items()), **more)

    @classmethod
    def from_schema(cls, name: str, fields: Iterable[Mapping[str, Any]], **more: Any) -> Table:
        """A table from fields as `tables.get` and `bq show --schema` write them."""
        return cls(name, tuple((str(f["name"]), SqlType.from_api(f)) for f in fields), **more)


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a function.

    Attributes:
        type: None = any type.
        name: For `name => value`; "" = by position only.
        kind: VALUE, RELATION (a table or a query) or MODEL.
        is_optional: It may be left out.
        is_repeated: It may come any number of times.
        is_named_only: It cannot be given by position.
    """

    type: SqlType | None = None
    name: str = ""
    kind: str = "VALUE"
    is_optional: bool = False
    is_repeated: bool = False
    is_named_only: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the user, or one that the analyzer does not know.

    Attributes:
        path: As it is called, e.g. `("d", "f")` or `("ML", "DECODE_IMAGE")`.
        arguments: Of the function, or of its first form.
        returns: The type of its result; None = that of its body.
        body: The expression of an SQL function, whose type depends on its arguments; "" = none.
        overloads: The arguments of its other forms.
        is_aggregate: Whether it aggregates rows.
    """

    path: Path
    arguments: tuple[Argument, ...]
    returns: SqlType | None
    body: str = ""
    overloads: tuple[tuple[Argument, ...], ...] = ()
    is_aggregate: bool = False


@dataclass(frozen=True, slots=True)
class TableFunction:
    """A table-valued function.

    Attributes:
        path: As it is called, e.g. `("ML", "PREDICT")`.
        columns: What it returns, if that does not depend on its arguments.
        body: Else a query over the names of its arguments, e.g. `SELECT *, 1 AS n FROM input`.
        takes_model: Whether calls begin with `MODEL name,`, which is not among the arguments.
    """

    path: Path
    arguments: tuple[Argument, ...]
    columns: ColumnTypes = ()
    body: str = ""
    takes_model: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A model.

    Attributes:
        name: `project.dataset.model`.
        inputs: Features.
        outputs: What ML.PREDICT adds.
    """

    name: str
    inputs: ColumnTypes = ()
    outputs: ColumnTypes = ()


@dataclass(frozen=True, slots=True)
class Procedure:
    """A stored procedure."""

    path: Path
    arguments: tuple[Argument, ...] = ()


@dataclass
class Catalog:
    """Names and what they mean. A subclass may look them up when a statement names them.

    Attributes:
        project: Where names without a project are.
        dataset: Where names without a dataset are; "" = such names are refused.
        tables: By `project.dataset.table`.
        functions: By path; names are compared without case.
        variables: Variables of a script and their types.
        system_variables: `@@…` beyond those that BigQuery has anyway.
    """

    project: str = ""
    dataset: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    functions: dict[Path, Function] = field(default_factory=dict)
    table_functions: dict[Path, TableFunction] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    procedures: dict[Path, Procedure] = field(default_factory=dict)
    variables: dict[str, SqlType] = field(default_factory=dict)
    system_variables: dict[str, SqlType] = field(default_factory=dict)

    @classmethod
    def of(
        cls, *things: Table | Function | TableFunction | Model | Procedure, **more: Any
    ) -> Catalog:
        """A catalog of these things."""
        catalog = cls(**more)
        for thing in things:
            catalog.add(thing)
        return catalog

    def add(self, thing: Table | Function | TableFunction | Model | Procedure) -> None:
        """Add, or replace, one thing."""
        if isinstance(thing, Table):
            self.tables[thing.name] = thing
        elif isinstance(thing, Model):
            self.models[thing.name] = thing
        elif isinstance(thing, Function):
            self.functions[folded(thing.path)] = thing
        elif isinstance(thing, TableFunction):
            self.table_functions[folded(thing.path)] = thing
        else:
            self.procedures[folded(thing.path)] = thing

    def qualified(self, path: Path) -> Path:
        """A path with project and dataset; it stays as it is where they are unknown."""
        if len(path) == 1 and self.dataset:
            path = (self.dataset, *path)
        is_view = len(path) > 1 and path[-2].upper() == "INFORMATION_SCHEMA"
        if self.project and len(path) == (3 if is_view else 2):
            path = (self.project, *path)
        return path

    def find_table(self, path: Path) -> Table | None:
        """The table that a path names, e.g. `("d", "t")`; backticks are resolved already."""
        name = ".".join(self.qualified(path))
        found = self.tables.get(name)
        if found is None and name.endswith("*"):
            return self._wildcard(name)
        return found

    def find_function(self, path: Path) -> Function | None:
        """The function that a path names."""
        return _find(self.functions, path, self.qualified(path))

    def find_table_function(self, path: Path) -> TableFunction | None:
        """The table-valued function that a path names."""
        return _find(self.table_functions, path, self.qualified(path))

    def find_model(self, path: Path) -> Model | None:
        """The model that a path names."""
        return self.models.get(".".join(self.qualified(path)))

    def find_model_function(self, path: Path, model: Model) -> TableFunction | None:
        """The function that is called as `path(MODEL model, …)`, without its first argument."""
        del model
        return self.find_table_function(path)

    def find_procedure(self, path: Path) -> Procedure | None:
        """The procedure that a path names."""
        return _find(self.procedures, path, self.qualified(path))

    def _wildcard(self, name: str) -> Table | None:
        # The schema is that of the table that was made last; here: whose name comes last.
        matching = [n for n in self.tables if fnmatch.fnmatchcase(n, name)]
        if not matching:
            return None
        latest = self.tables[max(matching)]
        return Table(name, latest.columns, (*latest.pseudo_columns, TABLE_SUFFIX), latest.kind)


def folded(path: Path) -> Path:
    """A path as the names of functions are compared."""
    return tuple(part.casefold() for part in path)


def _find(things: Mapping[Path, _Thing], *paths: Path) -> _Thing | None:
    for path in paths:
        found = things.get(folded(path))
        if found is not None:
            return found
    return None
