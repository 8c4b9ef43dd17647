"""GoogleSQL's analyzer as a check needs it: names are looked up while a statement is analyzed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from etlkit.cli.check_ddl import makes
from etlkit.errors import ConfigError
from etlkit.local.bigquery import googlesql
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
    r"(?:Function|Table-valued function|TVF) not found: `?(?:ML|AI|BQ|VECTOR_SEARCH|SEARCH|OBJ)\b",
    re.IGNORECASE,
)
"""BigQuery's own functions are in no catalog but BigQuery's."""


class GoogleSqlAnalyzer:
    """Implements `etlkit.sql_check.analyzer.Analyzer`.

    Args:
        project: The project of names without one; empty = not known.
    """

    def __init__(self, project: str) -> None:
        self._project = project

    def analyze(
        self, sql: str, find: Find, parameters: Mapping[str, str], variables: Mapping[str, str], /
    ) -> Analysis:
        """See `Analyzer.analyze`."""
        try:
            catalog = _Lookups(self._project, find, variables)
            types = {name: SqlType.parse(text) for name, text in parameters.items()}
            found = googlesql.analyze(sql, catalog, types)
        except googlesql.AnalyzerFailedError as error:
            return Analysis(unclear=f"the analyzer cannot judge a statement: {error.message}")
        except googlesql.GoogleSqlError as error:
            if catalog.unknown_model:
                return Analysis(
                    unclear=f"what model {catalog.unknown_model} takes and gives is not known"
                )
            if _ONLY_IN_BIGQUERY.match(error.message):
                return Analysis(unclear=f"{error.message}: only BigQuery itself knows it")
            return Analysis(
                refusal=Refusal(error.message, error.line or None, error.column or None),
                reads=frozenset(catalog.named),
            )
        except ConfigError as error:
            return Analysis(unclear=str(error))
        is_table = "SCHEMA" not in found.kind
        target = ".".join(found.target) if is_table else ""
        return Analysis(
            columns=_columns(found.columns, found.num_unnamed) if found.kind == "SELECT" else None,
            reads=frozenset({*found.reads, *catalog.named} - {target}),
            writes=found.writes | ({target} if target else frozenset()),
            makes=makes(sql, found, find, catalog) if target else {},
        )


class _Lookups(Catalog):
    """Looks up what a statement names.

    Attributes:
        named: Models and functions that the statement names.
        unknown_model: A model whose columns are not known; empty = there is none.
    """

    def __init__(self, project: str, find: Find, variables: Mapping[str, str]) -> None:
        super().__init__(
            project=project,
            variables={name: SqlType.parse(text) for name, text in variables.items()},
        )
        self._find = find
        self.named: set[str] = set()
        self.unknown_model = ""

    def find_table(self, path: Path) -> Table | None:
        """See `Catalog.find_table`."""
        known = self._known(path)
        if not isinstance(known, KnownTable):
            return super().find_table(path)
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
        known = self._known(path)
        is_function = isinstance(known, KnownRoutine) and known.kind.endswith("_FUNCTION")
        if not isinstance(known, KnownRoutine) or not is_function or not known.result:
            return super().find_function(path)
        self.named.add(".".join(path))
        is_aggregate = known.kind == "AGGREGATE_FUNCTION"
        return Function(path, _arguments(known), SqlType.parse(known.result), is_aggregate)

    def find_table_function(self, path: Path) -> TableFunction | None:
        """See `Catalog.find_table_function`."""
        known = self._known(path)
        if not isinstance(known, KnownRoutine) or known.kind != "TABLE_VALUED_FUNCTION":
            return super().find_table_function(path)
        self.named.add(".".join(path))
        return TableFunction(path, _arguments(known), _types(known.columns))

    def find_procedure(self, path: Path) -> Procedure | None:
        """See `Catalog.find_procedure`."""
        known = self._known(path)
        if not isinstance(known, KnownRoutine) or known.kind != "PROCEDURE":
            return super().find_procedure(path)
        return Procedure(path, _arguments(known))

    def _known(self, path: Path) -> Known | None:
        return self._find(".".join(path))


def _types(columns: Columns) -> ColumnTypes:
    return tuple((each.name, SqlType.parse(each.type)) for each in columns)


def _columns(columns: ColumnTypes, num_unnamed: int) -> Columns:
    del num_unnamed
    return tuple(KnownColumn(name, kind.text) for name, kind in columns)


def _arguments(routine: KnownRoutine) -> tuple[Argument, ...]:
    return tuple(
        Argument(SqlType.parse(kind) if kind else None, name) for name, kind in routine.arguments
    )
