"""Analyze the statements of a script as they run, with its variables and what it has made so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bqemulator.domain.errors import InvalidQueryError

from etlkit.errors import ConfigError
from etlkit.local.bigquery import googlesql, sql_catalog, sql_names
from etlkit.local.bigquery.extensions import analysis
from etlkit.local.bigquery.extensions.statement_context import StatementContext
from etlkit.local.bigquery.sql_types import SqlType

_TARGET: Final = "etlkit_target"
_ERROR_TEXT: Final = "__"
"""Begins the names of variables that the emulator declares for itself."""


class ScriptAnalysis:
    """One script.

    Attributes:
        parameters: Types of the job's query parameters.
        temporary: Temporary functions by name.
        default: Project and dataset of names that have none; "" = names need a dataset.
    """

    def __init__(self, context: StatementContext) -> None:
        self._context = context
        self._source = ""
        self._tables: dict[str, sql_catalog.Table] = {}
        self._shapes: dict[str, SqlType] = {}
        self.parameters: dict[str, SqlType] = {}
        self.temporary: Mapping[str, Any] = {}
        self.default: tuple[str, str] = ("", "")

    def begin(self, source: str) -> None:
        """Take the text of the whole script, in which errors have their places."""
        self._source = source

    def declare_parameters(
        self, parameters: Iterable[Mapping[str, Any]], names: Sequence[str]
    ) -> None:
        """Remember the types of query parameters under these names."""
        for name, each in zip(names, parameters, strict=True):
            self.parameters[name.casefold()] = SqlType.from_parameter(each["parameterType"])

    def declare_rows(self, name: str, sql: str, variables: Mapping[str, Any]) -> None:
        """Remember the type of the variable of a FOR loop over a query."""
        found = self.statement(sql, variables)
        if found is not None:
            self._shapes[name.casefold()] = SqlType("STRUCT", found.columns)

    def statement(
        self, sql: str, variables: Mapping[str, Any], using: Sequence[Any] | None = None
    ) -> googlesql.Analysis | None:
        """Analyze a statement of the script.

        Args:
            sql: The statement.
            variables: The emulator's visible variables.
            using: Values of the `?` of dynamic SQL; None = it is not dynamic.

        Returns:
            None if it cannot be known what the statement is.

        Raises:
            InvalidQueryError: BigQuery refuses the statement.
        """
        project, dataset = self.default
        project = project or self._context.project
        catalog = analysis.LocalCatalog(project, dataset, context=self._context)
        catalog.tables, catalog.temporary = self._tables, self.temporary
        unknown = self._declare(catalog, variables)
        if unknown & {path[0].casefold() for path in sql_names.scan(sql).paths}:
            return None
        parameters: googlesql.Parameters = self.parameters
        if using is not None or not self.parameters:
            parameters = None if using else self.parameters
        place = None if using is not None else self._source
        found = analysis.analyze(sql, catalog, parameters, within=place)
        if found is not None and found.kind.startswith("CREATE_TABLE") and len(found.target) == 1:
            self._tables[".".join(catalog.qualified(found.target))] = sql_catalog.Table(
                found.target[0], found.columns
            )
        return found

    def assignment(self, expression: str, target: str, variables: Mapping[str, Any]) -> None:
        """Analyze the value of a variable.

        Args:
            expression: The value.
            target: The type of the variable, as the script has it.
            variables: The emulator's visible variables.
        """
        found = self.statement(f"SELECT {expression}", variables)
        kind = _type_of(target)
        if found is None or kind is None or found.columns[0][1] == kind:
            return
        # The rules of an assignment are those of UPDATE: a literal may be converted, a column not.
        self._tables[_TARGET] = sql_catalog.Table(_TARGET, (("value", kind),))
        try:
            self.statement(f"UPDATE {_TARGET} SET value = {expression} WHERE TRUE", variables)
        except InvalidQueryError as error:
            if "cannot be assigned to value" not in error.message:
                return
            message = f"Cannot coerce expression {expression.strip()} to type {kind}"
            raise InvalidQueryError(message, location="query") from error

    def _declare(self, catalog: analysis.LocalCatalog, variables: Mapping[str, Any]) -> set[str]:
        """Put variables into the catalog; returns the names of those whose types are not known."""
        unknown = set()
        for name, variable in variables.items():
            if name.startswith(("@", _ERROR_TEXT)):
                continue
            kind = self._shapes.get(name.casefold()) or _type_of(variable.type_name)
            if kind is None:
                unknown.add(name.casefold())
            else:
                catalog.variables[name] = kind
        return unknown


def _type_of(text: str) -> SqlType | None:
    try:
        return SqlType.parse(text).without_parameters()
    except ConfigError:
        return None
