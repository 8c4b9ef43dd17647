"""GoogleSQL's analyzer as a check needs it: names are looked up while a statement is analyzed."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from etlkit.cli.check_ddl import makes
from etlkit.errors import ConfigError
from etlkit.local.bigquery import googlesql, sql_ml
from etlkit.local.bigquery.sql_catalog import (
    Argument,
    Catalog,
    ColumnTypes,
    Function,
    Model,
    Path,
    Procedure,
    Table,
    TableFunction,
)
from etlkit.local.bigquery.sql_types import SqlType
from etlkit.sql_check.analyzer import Analysis, Refusal
from etlkit.sql_check.known import (
    Columns,
    Known,
    KnownColumn,
    KnownModel,
    KnownRoutine,
    KnownTable,
)

Find = Callable[[str], Known | None]

_ONLY_IN_BIGQUERY: Final = re.compile(
    r"Table not found: .*(?:INFORMATION_SCHEMA|__TABLES__)|"
    r"(?:Function|Table-valued function|TVF) not found: `?(?:ML|AI|BQ|VECTOR_SEARCH|SEARCH|OBJ)\b",
    re.IGNORECASE,
)
"""BigQuery's own functions and views are in no catalog but BigQuery's."""


class GoogleSqlAnalyzer:
    """Implements `etlkit.sql_check.analyzer.Analyzer`.

    Args:
        project: The project of names without one; empty = not known.

    Raises:
        ConfigError: The package with the analyzer is not installed.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self._threads = threading.local()
        self._threads.engine = googlesql.engine()  # raises if it is not installed

    @property
    def _engine(self) -> googlesql.Engine:
        """An engine for each thread: one serves one call at a time."""
        if not hasattr(self._threads, "engine"):
            self._threads.engine = googlesql.Engine(lambda _: None)
        engine: googlesql.Engine = self._threads.engine
        return engine

    def analyze(
        self,
        sql: str,
        find: Find,
        parameters: Mapping[str, str] | None,
        variables: Mapping[str, str],
        /,
    ) -> Analysis:
        """See `Analyzer.analyze`."""
        types = None
        try:
            catalog = _Lookups(sql, self._project, find, variables)
            if parameters is not None:
                types = {name: SqlType.parse(text) for name, text in parameters.items()}
        except ConfigError as error:  # a type that is none
            return Analysis(unclear=str(error))
        try:
            found = self._engine.analyze(catalog.sql, catalog, types)
        except googlesql.GoogleSqlError as error:
            return _refused(error, catalog)
        # Schemas are no tables, and nothing needs to know them.
        target = "" if "SCHEMA" in found.kind else ".".join(found.target)
        return Analysis(
            columns=_columns(found.columns) if found.kind == "SELECT" else None,
            reads=frozenset({*found.reads, *catalog.named} - {target}),
            writes=found.writes | ({target} if target else frozenset()),
            makes=makes(sql, found, find, catalog, self._engine) if target else {},
        )


def _refused(error: googlesql.GoogleSqlError, catalog: _Lookups) -> Analysis:
    """What an error of the analyzer says about the statement."""
    unclear = ""
    if isinstance(error, googlesql.AnalyzerFailedError):
        unclear = f"the analyzer cannot judge a statement: {error.message}"
    elif catalog.missing_model is not None:
        return Analysis(refusal=catalog.missing_model, reads=frozenset(catalog.named))
    elif catalog.unknown_model:
        unclear = f"what model {catalog.unknown_model} takes and gives is not known"
    elif _ONLY_IN_BIGQUERY.match(error.message):
        unclear = f"{error.message}: only BigQuery itself knows it"
    if unclear:
        return Analysis(unclear=unclear)
    refusal = Refusal(error.message, error.line or None, error.column or None)
    return Analysis(refusal=refusal, reads=frozenset(catalog.named))


class _Lookups(Catalog):
    """Looks up what a statement names.

    Args:
        sql: The statement.
        project: The project of names without one.
        find: What a name is.
        variables: Of the script, with their types.

    Attributes:
        sql: The statement as the analyzer takes it; positions in it are the same.
        named: Models and functions that the statement names.
        unknown_model: A model whose columns are not known; empty = there is none.
        missing_model: Why a model that the statement names is refused; None = all are there.
    """

    def __init__(self, sql: str, project: str, find: Find, variables: Mapping[str, str]) -> None:
        super().__init__(
            project=project,
            variables={name: SqlType.parse(text) for name, text in variables.items()},
        )
        self._find = find
        self._found: dict[Path, Known | None] = {}
        self.named: set[str] = set()
        self.unknown_model = ""
        self.missing_model = next(self._missing_models(sql), None)
        self.sql, functions = sql_ml.declared(sql, self.find_model)
        for function in sql_ml.IMAGE_FUNCTIONS:
            self.add(function)
        for table_function in functions:
            self.add(table_function)

    def find_table(self, path: Path) -> Table | None:
        """See `Catalog.find_table`."""
        known = self._known(path)
        if not isinstance(known, KnownTable):
            return None
        return Table(".".join(path), _types(known.columns), _types(known.pseudo_columns))

    def find_model(self, path: Path) -> Model | None:
        """See `Catalog.find_model`."""
        known = self._known(path)
        if not isinstance(known, KnownModel):
            return None
        name = ".".join(path)
        self.named.add(name)
        if not known.outputs:
            self.unknown_model = name
        return Model(name, _types(known.inputs), _types(known.outputs))

    def find_function(self, path: Path) -> Function | None:
        """See `Catalog.find_function`."""
        if path[0].upper() == "ML":
            return super().find_function(path)
        known = self._known(path)
        is_function = isinstance(known, KnownRoutine) and known.kind.endswith("_FUNCTION")
        if not isinstance(known, KnownRoutine) or not is_function or not known.result:
            return super().find_function(path)
        self.named.add(".".join(path))
        is_aggregate = known.kind == "AGGREGATE_FUNCTION"
        return Function(
            path, _arguments(known), SqlType.parse(known.result), is_aggregate=is_aggregate
        )

    def find_table_function(self, path: Path) -> TableFunction | None:
        """See `Catalog.find_table_function`."""
        known = self._known(path)
        if not isinstance(known, KnownRoutine) or known.kind != "TABLE_VALUED_FUNCTION":
            return super().find_table_function(path) if path[0] == "ML" else None
        self.named.add(".".join(path))
        return TableFunction(path, _arguments(known), _types(known.columns))

    def find_procedure(self, path: Path) -> Procedure | None:
        """See `Catalog.find_procedure`."""
        known = self._known(path)
        if not isinstance(known, KnownRoutine) or known.kind != "PROCEDURE":
            return None
        return Procedure(path, _arguments(known))

    def _missing_models(self, sql: str) -> Iterator[Refusal]:
        for call in sql_ml.model_calls(sql):
            if self.find_model(call.model) is None:
                before = sql[: call.start].rpartition("\n")[2]
                line, column = sql.count("\n", 0, call.start) + 1, len(before.expandtabs()) + 1
                yield Refusal(f"Model not found: {'.'.join(call.model)}", line, column)

    def _known(self, path: Path) -> Known | None:
        if path not in self._found:
            self._found[path] = self._find(".".join(path))
        return self._found[path]


def _types(columns: Columns) -> ColumnTypes:
    return tuple((each.name, SqlType.parse(each.type)) for each in columns)


def _columns(columns: ColumnTypes) -> Columns:
    return tuple(KnownColumn(name, kind.text) for name, kind in columns)


def _arguments(routine: KnownRoutine) -> tuple[Argument, ...]:
    return tuple(
        Argument(SqlType.parse(kind) if kind else None, name) for name, kind in routine.arguments
    )
