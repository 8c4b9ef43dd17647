"""Ask GoogleSQL's analyzer about each statement before the emulator runs it.

Real BigQuery: a statement that is not GoogleSQL, or whose names and types do not fit, is refused before
anything runs. The emulator translates what it can to DuckDB, and takes more than BigQuery does.

A statement passes without an answer where the analyzer cannot know: a table or a model that does not
exist (the emulator has BigQuery's error for it), and what `googlesql.AnalyzerFailedError` stands for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bqemulator.catalog.models import TableSchema
from bqemulator.domain.errors import InvalidQueryError
from bqemulator.storage.sql_identifiers import quoted_table_ref

from etlkit.errors import ConfigError
from etlkit.local.bigquery import googlesql, information_schema, sql_catalog, sql_names
from etlkit.local.bigquery.extensions import sql_functions
from etlkit.local.bigquery.extensions.object_tables import is_object_table
from etlkit.local.bigquery.extensions.signatures import MODEL, TABLE, ResultTable
from etlkit.local.bigquery.extensions.statement_context import StatementContext
from etlkit.local.bigquery.patches import types
from etlkit.local.bigquery.sql_catalog import Catalog, Path
from etlkit.local.bigquery.sql_types import SqlType

_MAX_TABLES: Final = 4096
_OBJECT: Final = (("data", SqlType("BYTES")), sql_catalog.FILE_NAME)

_tables: dict[tuple[str, ...], tuple[Any, sql_catalog.Table]] = {}
"""What the analyzer gets of a table, beside the emulator's entry that it was made from."""


class UnknownShapeError(Exception):
    """A name is there, but its columns are not known, so that the statement cannot be analyzed."""


@dataclass
class LocalCatalog(Catalog):
    """What statements of the local server may name.

    Attributes:
        context: The emulator, and the project of names that have none.
        temporary: Functions of the script, by their name.
    """

    context: StatementContext = field(kw_only=True)
    temporary: Mapping[str, Any] = field(default_factory=dict)

    def find_table(self, path: Path) -> sql_catalog.Table | None:
        """A table of the emulator, of INFORMATION_SCHEMA, or of the script."""
        full = self.qualified(path)
        if information_schema.is_named(full):
            known = information_schema.find(full)
            if known is None:
                raise UnknownShapeError
            return known
        if len(full) != 3:
            return super().find_table(path)
        if full[2].endswith("*"):
            return self._wildcard(".".join(full))
        meta = self.context.ctx.catalog.get_table(*full)
        return super().find_table(path) if meta is None else _table(full, meta, self.context)

    def _wildcard(self, name: str) -> sql_catalog.Table | None:
        project, dataset, pattern = name.split(".", 2)
        tables = self.context.ctx.catalog.list_tables(project, dataset)
        matching = [each for each in tables if each.table_id.startswith(pattern[:-1])]
        if not matching:
            return None
        latest = max(matching, key=lambda each: (each.creation_time, each.table_id))
        known = _table((project, dataset, latest.table_id), latest, self.context)
        pseudo = (*known.pseudo_columns, sql_catalog.TABLE_SUFFIX)
        return sql_catalog.Table(name, known.columns, pseudo)

    def find_function(self, path: Path) -> sql_catalog.Function | None:
        """A function of our extensions, of the script, or of a dataset."""
        declared = sql_functions.find_scalar(".".join(path))
        if declared is not None:
            return _extension(path, declared.signature)
        if len(path) == 1 and path[0] in self.temporary:
            return _routine(path, self.temporary[path[0]])
        routine = self._routine(path)
        if routine is None or routine.routine_type != "SCALAR_FUNCTION":
            return None
        return _routine(path, routine)

    def find_table_function(self, path: Path) -> sql_catalog.TableFunction | None:
        """A table function of a dataset."""
        routine = self._routine(path)
        if routine is None or "TABLE" not in routine.routine_type:
            return None
        arguments = tuple(_routine_argument(each) for each in routine.arguments)
        return sql_catalog.TableFunction(path, arguments, body=routine.definition_body)

    def find_model(self, path: Path) -> sql_catalog.Model | None:
        """A model of the emulator's catalog."""
        full = self.qualified(path)
        meta = self.context.ctx.catalog.get_model(*full) if len(full) == 3 else None
        if meta is None:
            return None
        return sql_catalog.Model(
            ".".join(full),
            tuple(_model_column(each) for each in meta.feature_columns),
            tuple(_model_column(each) for each in meta.label_columns),
        )

    def find_model_function(
        self, path: Path, model: sql_catalog.Model
    ) -> sql_catalog.TableFunction | None:
        """A function of BigQuery ML with the columns that it returns for a model."""
        declared = sql_functions.find_table_valued(".".join(path))
        if declared is None or not isinstance(declared.signature.result, ResultTable):
            return None
        result = declared.signature.result
        given = [(name, SqlType.parse(text)) for name, text in result.columns]
        columns = [*(model.outputs if result.has_model_columns else ()), *given]
        if result.has_model_columns and not model.outputs:
            raise UnknownShapeError
        selected = [f"CAST(NULL AS {kind}) AS `{name}`" for name, kind in columns]
        arguments = tuple(
            sql_catalog.Argument(
                None,
                name=each.name,
                kind="RELATION" if TABLE in each.types else "VALUE",
                is_optional=each.is_optional,
            )
            for each in declared.signature.arguments
            if MODEL not in each.types
        )
        relation = next(each.name for each in arguments if each.kind == "RELATION")
        star = [f"`{relation}`.*"] if result.has_input_columns else []
        body = f"SELECT {', '.join([*selected, *star])} FROM `{relation}`"
        return sql_catalog.TableFunction(path, arguments, body=body, takes_model=True)

    def find_procedure(self, path: Path) -> sql_catalog.Procedure | None:
        """A procedure of our extensions, or of a dataset."""
        declared = sql_functions.find_procedure(".".join(path))
        if declared is not None:
            arguments = declared.signature.arguments
            return sql_catalog.Procedure(path, tuple(_argument(each, 0) for each in arguments))
        routine = self._routine(path)
        if routine is None or routine.routine_type != "PROCEDURE":
            return None
        return sql_catalog.Procedure(
            path, tuple(_routine_argument(each) for each in routine.arguments)
        )

    def _routine(self, path: Path) -> Any:
        full = self.qualified(path)
        return self.context.ctx.catalog.get_routine(*full) if len(full) == 3 else None


def analyze(
    sql: str, catalog: LocalCatalog, parameters: googlesql.Parameters, within: str | None = None
) -> googlesql.Analysis | None:
    """What the analyzer says about one statement; None = it cannot say.

    Args:
        sql: The statement.
        catalog: What it may name.
        parameters: Types of its parameters.
        within: The script that has the statement; errors say where they are in it.

    Raises:
        InvalidQueryError: BigQuery refuses the statement.
    """
    try:
        found = googlesql.analyze(sql, catalog, parameters)
    except (UnknownShapeError, googlesql.AnalyzerFailedError):
        return None
    except googlesql.GoogleSqlError as error:
        if error.missing:
            return None
        raise refusal(error, sql, within) from error
    if found.kind == "SELECT":
        _refuse_duplicates([name for name, _ in found.columns])
    if found.kind == "CREATE_TABLE_AS_SELECT" and found.target:
        name = catalog.qualified(sql_names.resolved(found.target))
        table = quoted_table_ref(*name) if len(name) == 3 else ""
        types.expected[table] = {name: kind.as_api(name) for name, kind in found.columns}
    return found


def _refuse_duplicates(names: list[str]) -> None:
    """Raise if two columns of a result have the same name: BigQuery refuses it, GoogleSQL does not."""
    folded = [name.casefold() for name in names]
    found = [name for at, name in enumerate(names) if folded[at] in folded[:at]]
    if found:
        raise InvalidQueryError(
            "Duplicate column names in the result are not supported. "
            f"Found duplicate(s): {', '.join(dict.fromkeys(found))}",
            location="query",
        )


def refusal(
    error: googlesql.GoogleSqlError, sql: str = "", within: str | None = None
) -> InvalidQueryError:
    """BigQuery's answer: 400, with the position as its REST API writes it."""
    line, column = error.line, error.column
    begin = -1 if within is None else within.find(sql.strip())
    if line and within is not None and begin >= 0:
        before = within[:begin]
        column += len(before) - before.rfind("\n") - 1 if line == 1 else 0
        line += before.count("\n")
    where = f" at [{line}:{column}]" if line else ""
    return InvalidQueryError(f"{error.message}{where}", location="query")


def check_job(
    sql: str, context: StatementContext, parameters: Iterable[Mapping[str, Any]] | None
) -> googlesql.Analysis | None:
    """Analyze the text of a job. A script is parsed here; its statements are analyzed as they run.

    Raises:
        InvalidQueryError: BigQuery refuses it.
    """
    if not sql_names.scan(sql).is_script:
        catalog = LocalCatalog(context.project, context=context)
        return analyze(sql, catalog, parameter_types(parameters))
    try:
        googlesql.check_script(sql)
    except googlesql.AnalyzerFailedError:
        return None
    except googlesql.GoogleSqlError as error:
        raise refusal(error) from error
    return None


def update_view(meta: Any, body: Mapping[str, Any], ctx: Any) -> Any:
    """A view whose query `tables.patch` or `tables.update` has changed, with the query's columns.

    Raises:
        InvalidQueryError: BigQuery refuses the query.
    """
    query = (body.get("view") or {}).get("query")
    found = check_job(query, StatementContext(meta.project_id, ctx), None) if query else None
    if found is None:
        return meta
    fields = types.to_table_fields([kind.as_api(name) for name, kind in found.columns])
    return meta.model_copy(update={"schema_": TableSchema(fields=fields)})


def references(found: googlesql.Analysis) -> list[dict[str, str]]:
    """`referencedTables` of a job's statistics."""
    names = [name.split(".", 2) for name in sorted(found.reads | found.writes)]
    return [
        {"projectId": name[0], "datasetId": name[1], "tableId": name[2]}
        for name in names
        if len(name) == 3
    ]


def parameter_types(parameters: Iterable[Mapping[str, Any]] | None) -> googlesql.Parameters:
    """The types of the parameters of a job.

    https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter
    """
    given = list(parameters or ())
    kinds = [SqlType.from_parameter(each["parameterType"]) for each in given]
    if given and not given[0].get("name"):
        return kinds
    return {each["name"]: kind for each, kind in zip(given, kinds, strict=True)}


def _table(name: tuple[str, ...], meta: Any, context: StatementContext) -> sql_catalog.Table:
    known = _tables.get(name)
    if known is not None and known[0] is meta:
        return known[1]
    if not meta.schema_.fields:
        raise UnknownShapeError
    columns = tuple((each.name, _field_type(each)) for each in meta.schema_.fields)
    pseudo: sql_catalog.ColumnTypes = ()
    if meta.time_partitioning is not None and meta.time_partitioning.field is None:
        pseudo = sql_catalog.INGESTION_TIME
    elif meta.table_type == "EXTERNAL":
        project, dataset, table = name
        is_object = is_object_table((project, dataset, table), context)
        pseudo = _OBJECT if is_object else (sql_catalog.FILE_NAME,)
    made = sql_catalog.Table(".".join(name), columns, pseudo, meta.table_type)
    if len(_tables) >= _MAX_TABLES:
        for oldest in list(itertools.islice(_tables, _MAX_TABLES // 2)):
            del _tables[oldest]
    _tables[name] = (meta, made)
    return made


def _field_type(field: Any) -> SqlType:
    """The type of a field of the emulator's catalog."""
    described: dict[str, Any] = {"name": field.name, "type": field.type, "mode": field.mode}
    if field.range_element_type is not None:
        described["rangeElementType"] = {"type": field.range_element_type.type}
    kind = SqlType.from_api(described)
    if not field.fields:
        return kind
    struct = SqlType("STRUCT", tuple((each.name, _field_type(each)) for each in field.fields))
    return SqlType("ARRAY", element=struct) if kind.name == "ARRAY" else struct


def _standard_type(kind: Mapping[str, Any]) -> SqlType:
    """https://cloud.google.com/bigquery/docs/reference/rest/v2/StandardSqlDataType."""
    name = str(kind["typeKind"])
    if name == "ARRAY":
        return SqlType("ARRAY", element=_standard_type(kind["arrayElementType"]))
    if name == "STRUCT":
        fields = kind["structType"]["fields"]
        return SqlType(
            "STRUCT", tuple((each.get("name", ""), _standard_type(each["type"])) for each in fields)
        )
    try:
        return SqlType.parse(name)
    except ConfigError as error:
        raise UnknownShapeError from error


def _model_column(described: Mapping[str, Any]) -> tuple[str, SqlType]:
    return str(described["name"]), _standard_type(described["type"])


def _routine(path: Path, routine: Any) -> sql_catalog.Function:
    arguments = tuple(_routine_argument(each) for each in routine.arguments)
    if routine.return_type:
        return sql_catalog.Function(path, arguments, _standard_type(routine.return_type))
    return sql_catalog.Function(path, arguments, None, body=routine.definition_body)


def _routine_argument(argument: Any) -> sql_catalog.Argument:
    kind = argument.data_type
    is_any = not kind or str(kind.get("typeKind", "")).upper() in {
        "",
        "ANY TYPE",
        "ANY_TYPE",
        "ANY",
    }
    return sql_catalog.Argument(None if is_any else _standard_type(kind), name=argument.name)


def _extension(path: Path, signature: Any) -> sql_catalog.Function:
    """One of our functions: a form for each combination of the types of its arguments."""
    choices = [range(len(each.types)) for each in signature.arguments]
    forms = [
        tuple(
            _argument(each, number)
            for each, number in zip(signature.arguments, numbers, strict=True)
        )
        for numbers in itertools.product(*choices)
    ]
    return sql_catalog.Function(
        path, forms[0], SqlType.parse(signature.result), overloads=tuple(forms[1:])
    )


def _argument(declared: Any, number: int) -> sql_catalog.Argument:
    return sql_catalog.Argument(
        SqlType.parse(declared.types[number]),
        is_optional=declared.is_optional,
        is_repeated=declared.is_repeated,
    )
