"""Describe to the analyzer what a statement names: a catalog, parameters and variables as protobufs.

Only what the statement names goes into its catalog, under the names that it uses: `d.t`, `p.d.t` and
`` `p.d.t` `` are three entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from etlkit.local.bigquery import sql_names
from etlkit.local.bigquery.sql_catalog import (
    INGESTION_TIME,
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
from etlkit.local.bigquery.sql_names import Scan
from etlkit.local.bigquery.sql_types import SqlType

SYSTEM_VARIABLES: Final = {
    "current_job_id": "STRING",
    "dataset_id": "STRING",
    "dataset_project_id": "STRING",
    "enable_ml_model_reservation": "BOOL",
    "error.formatted_stack_trace": "STRING",
    "error.message": "STRING",
    "error.stack_trace": "ARRAY<STRUCT<line INT64, column INT64, filename STRING, location STRING>>",
    "error.statement_text": "STRING",
    "last_job_id": "STRING",
    "location": "STRING",
    "project_id": "STRING",
    "query_label": "STRING",
    "reservation": "STRING",
    "row_count": "INT64",
    "script.bytes_billed": "INT64",
    "script.bytes_processed": "INT64",
    "script.creation_time": "TIMESTAMP",
    "script.job_id": "STRING",
    "script.num_child_jobs": "INT64",
    "script.slot_ms": "INT64",
    "session_id": "STRING",
    "time_zone": "STRING",
}
"""https://cloud.google.com/bigquery/docs/reference/system-variables"""

_DEFAULT_CONNECTION: Final = "$connection_default"
"""What the analyzer looks for at `WITH CONNECTION DEFAULT`."""

_KINDS: Final = {"FLOAT64": "TYPE_DOUBLE"}
_TYPE_NAMES: Final = {
    "BIGINT": "INT64",
    "BYTEINT": "INT64",
    "INT": "INT64",
    "INTEGER": "INT64",
    "SMALLINT": "INT64",
    "TINYINT": "INT64",
}
"""https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#integer_type"""


class Protos:
    """The classes of protobuf messages that a catalog is made of.

    Attributes:
        catalog: `SimpleCatalogProto`.
        options: `AnalyzerOptionsProto`.
        type: `TypeProto`.
        kinds: `TypeKind`.
        argument_kinds: `SignatureArgumentKind`.
        function_enums: `FunctionEnums`.
        modes: `ParameterMode`, as numbers by name.
        nulls: Type -> a NULL of it, as `ValueProto`.
    """

    def __init__(self, **classes: Any) -> None:
        self.catalog: Any = classes["catalog"]
        self.options: Any = classes["options"]
        self.type: Any = classes["type"]
        self.kinds: Any = classes["kinds"]
        self.argument_kinds: Any = classes["argument_kinds"]
        self.function_enums: Any = classes["function_enums"]
        self.modes: Any = classes["modes"]
        self.value: Any = classes["value"]

    def type_proto(self, kind: SqlType) -> Any:
        """A `TypeProto`."""
        proto = self.type()
        self.fill(proto, kind)
        return proto

    def fill(self, proto: Any, kind: SqlType) -> None:
        """Write a type into a `TypeProto`."""
        proto.type_kind = self.kinds.Value(_KINDS.get(kind.name, f"TYPE_{kind.name}"))
        if kind.name == "STRUCT":
            proto.struct_type.SetInParent()
            for name, inner in kind.fields:
                added = proto.struct_type.field.add(field_name=name)
                self.fill(added.field_type, inner)
        elif kind.name == "ARRAY" and kind.element is not None:
            self.fill(proto.array_type.element_type, kind.element)
        elif kind.name == "RANGE" and kind.element is not None:
            self.fill(proto.range_type.element_type, kind.element)


@dataclass
class NamedThings:
    """What a statement names, of what a catalog knows; each under the name that the statement uses.

    Attributes:
        tables: A scan has the number of its table, which counts from 1.
    """

    tables: tuple[tuple[Path, Table], ...] = ()
    functions: tuple[tuple[Path, Function], ...] = ()
    table_functions: tuple[tuple[Path, TableFunction], ...] = ()
    models: tuple[tuple[Path, Model], ...] = ()
    procedures: tuple[tuple[Path, Procedure], ...] = ()
    variables: tuple[tuple[str, SqlType], ...] = ()
    connections: tuple[Path, ...] = ()

    @classmethod
    def of(cls, catalog: Catalog, names: Scan) -> NamedThings:
        """Look all names of a statement up."""
        found = cls(connections=names.connections)
        variables = {name.casefold(): kind for name, kind in catalog.variables.items()}
        for path in names.paths:
            first = path[0].casefold()
            if first in variables:
                found.variables += ((first, variables.pop(first)),)
            found._add(catalog, path)
        return found

    @property
    def signature(self) -> str:
        """Equal for statements that can share a catalog."""
        tables = [f"{path}{table.name}{_shape(table)}" for path, table in self.tables]
        others = [
            *(self.functions, self.table_functions, self.models, self.procedures),
            *(self.variables, self.connections),
        ]
        return "\n".join(tables) + "".join(repr(each) for each in others if each)

    def _add(self, catalog: Catalog, path: Path) -> None:
        for length in range(len(path), 0, -1):
            part = path[:length]
            known = sql_names.resolved(part)
            table = catalog.find_table(known)
            if table is not None and (part, table) not in self.tables:
                self.tables += ((part, table),)
            model = catalog.find_model(known)
            if model is not None and (part, model) not in self.models:
                self.models += ((part, model),)
            if table is not None or model is not None:
                return
        known = sql_names.resolved(path)
        function = catalog.find_function(known)
        if function is not None and (path, function) not in self.functions:
            self.functions += ((path, function),)
            self._add_all(catalog, function.body)
        table_function = catalog.find_table_function(known)
        if table_function is not None and (path, table_function) not in self.table_functions:
            self.table_functions += ((path, table_function),)
            self._add_all(catalog, table_function.body)
        procedure = catalog.find_procedure(known)
        if procedure is not None:
            self.procedures += ((path, procedure),)

    def _add_all(self, catalog: Catalog, body: str) -> None:
        """Add what the body of a function names."""
        for path in sql_names.scan(body).paths if body else ():
            self._add(catalog, path)

    def catalog_proto(self, language: Any, protos: Protos) -> Any:
        """A `SimpleCatalogProto`."""
        root = protos.catalog(name="")
        root.builtin_function_options.language_options.CopyFrom(language)
        for alias, name in _TYPE_NAMES.items():
            protos.fill(root.named_type.add(name=alias).type, SqlType(name))
        nodes: dict[Path, Any] = {(): root}
        for number, (path, table) in enumerate(self.tables, 1):
            _add_table(_node(nodes, path[:-1]), path, table, number, protos)
        for path, model in self.models:
            _add_model(_node(nodes, path[:-1]), path, model, protos)
        for path, function in self.functions:
            _add_function(_node(nodes, path[:-1]), path, function, protos)
        for path, table_function in self.table_functions:
            _add_table_function(_node(nodes, path[:-1]), path, table_function, protos)
        for path, procedure in self.procedures:
            added = _node(nodes, path[:-1]).procedure.add(name_path=path)
            _add_arguments(added.signature, procedure.arguments, protos)
            # A procedure returns nothing, but the analyzer wants a type.
            added.signature.return_type.kind = protos.argument_kinds.Value("ARG_TYPE_FIXED")
            added.signature.return_type.num_occurrences = 1
            protos.fill(added.signature.return_type.type, SqlType("INT64"))
        root.connection.add(name=_DEFAULT_CONNECTION)
        for path in self.connections:
            _node(nodes, path[:-1]).connection.add(name=path[-1])
        for name, kind in self.variables:
            constant = root.constant.add(name_path=[name])
            protos.fill(constant.type, kind)
            constant.value.SetInParent()
        return root


_shapes: dict[int, tuple[Table, str]] = {}
"""Texts of columns. A catalog gives the same object for a table until the table changes."""

_MAX_SHAPES: Final = 10_000


def _shape(table: Table) -> str:
    known = _shapes.get(id(table))
    if known is None:
        if len(_shapes) >= _MAX_SHAPES:
            _shapes.clear()
        known = _shapes[id(table)] = (
            table,
            f"{_texts(table.columns)}{_texts(table.pseudo_columns)}",
        )
    return known[1]


def _texts(columns: ColumnTypes) -> list[tuple[str, str]]:
    return [(name, kind.text) for name, kind in columns]


def _node(nodes: dict[Path, Any], path: Path) -> Any:
    key = tuple(part.casefold() for part in path)
    found = nodes.get(key)
    if found is None:
        found = nodes[key] = _node(nodes, path[:-1]).catalog.add(name=path[-1])
    return found


def _add_table(node: Any, path: Path, table: Table, number: int, protos: Protos) -> None:
    added = node.table.add(name=path[-1], serialization_id=number, full_name=".".join(path))
    for name, kind in table.columns:
        protos.fill(added.column.add(name=name).type, kind)
    for name, kind in table.pseudo_columns:
        column = added.column.add(name=name, is_pseudo_column=True, is_writable_column=False)
        protos.fill(column.type, kind)


def _add_model(node: Any, path: Path, model: Model, protos: Protos) -> None:
    added = node.model.add(name=path[-1], id=len(node.model) + 1)
    for listed, columns in ((added.input, model.inputs), (added.output, model.outputs)):
        for name, kind in columns:
            protos.fill(listed.add(name=name).type, kind)


def _add_function(node: Any, path: Path, function: Function, protos: Protos) -> None:
    mode = "AGGREGATE" if function.is_aggregate else "SCALAR"
    added = node.custom_function.add(
        name_path=[path[-1]], group="ZetaSQL", mode=protos.function_enums.Mode.Value(mode)
    )
    added.options.sql_name = ".".join(path)  # what messages call it
    added.options.uses_upper_case_sql_name = False
    if function.body:
        added.group = "Templated_SQL_Function"
        added.parse_resume_location.input = function.body
        added.templated_sql_function_argument_name.extend(
            argument.name for argument in function.arguments
        )
    for arguments in (function.arguments, *function.overloads):
        signature = added.signature.add()
        _add_arguments(signature, arguments, protos)
        result = signature.return_type
        result.num_occurrences = 1
        if function.returns is None:
            result.kind = protos.argument_kinds.Value("ARG_TYPE_ARBITRARY")
        else:
            result.kind = protos.argument_kinds.Value("ARG_TYPE_FIXED")
            protos.fill(result.type, function.returns)


def _add_table_function(node: Any, path: Path, function: TableFunction, protos: Protos) -> None:
    added = node.custom_tvf.add(name_path=[path[-1]])
    kinds = protos.function_enums.TableValuedFunctionType
    _add_arguments(added.signature, function.arguments, protos)
    if function.body:
        added.type = kinds.Value("TEMPLATED_SQL_TVF")
        added.argument_name.extend(
            a.name or f"argument{n}" for n, a in enumerate(function.arguments)
        )
        added.parse_resume_location.input = function.body
        result = added.signature.return_type
        result.kind = protos.argument_kinds.Value("ARG_TYPE_RELATION")
        result.num_occurrences = 1
        return
    added.type = kinds.Value("FIXED_OUTPUT_SCHEMA_TVF")
    result = added.signature.return_type
    result.kind = protos.argument_kinds.Value("ARG_TYPE_RELATION")
    result.num_occurrences = 1
    _fill_relation(result.options.relation_input_schema, function.columns, protos)


def _fill_relation(schema: Any, columns: ColumnTypes, protos: Protos) -> None:
    schema.is_value_table = False
    for name, kind in columns:
        protos.fill(schema.column.add(name=name).type, kind)


def _add_arguments(signature: Any, arguments: Sequence[Argument], protos: Protos) -> None:
    cardinality = protos.function_enums.ArgumentCardinality
    naming = protos.function_enums.NamedArgumentKind
    for argument in arguments:
        added = signature.argument.add(num_occurrences=1)
        if argument.kind == "VALUE":
            kind = "ARG_TYPE_ARBITRARY" if argument.type is None else "ARG_TYPE_FIXED"
        else:
            kind = f"ARG_TYPE_{argument.kind}"
        added.kind = protos.argument_kinds.Value(kind)
        if kind == "ARG_TYPE_FIXED" and argument.type is not None:
            protos.fill(added.type, argument.type)
        if argument.is_repeated:
            added.options.cardinality = cardinality.Value("REPEATED")
        elif argument.is_optional:
            added.options.cardinality = cardinality.Value("OPTIONAL")
            added.num_occurrences = 0
            # A function with a body wants a default for it.
            if argument.type is None:
                protos.fill(added.options.default_value_type, SqlType("INT64"))
            added.options.default_value.SetInParent()
        if argument.name:
            added.options.argument_name = argument.name
            added.options.named_argument_kind = naming.Value(
                "NAMED_ONLY" if argument.is_named_only else "POSITIONAL_OR_NAMED"
            )
        if argument.kind == "RELATION":
            added.options.extra_relation_input_columns_allowed = True
        if argument.is_repeated:
            added.num_occurrences = 0


def options(
    language: Any,
    catalog: Catalog,
    parameters: Mapping[str, SqlType] | Sequence[SqlType] | None,
    protos: Protos,
) -> Any:
    """`AnalyzerOptionsProto`: the language, parameters and system variables."""
    made = protos.options(default_timezone="UTC", prune_unused_columns=True)
    made.language_options.CopyFrom(language)
    made.preserve_column_aliases = True
    made.error_message_mode = 1
    made.parameter_mode = protos.modes["PARAMETER_NAMED"]
    if parameters is None:
        made.allow_undeclared_parameters = True
    elif isinstance(parameters, Mapping):
        for name, kind in parameters.items():
            protos.fill(made.query_parameters.add(name=name.lower()).type, kind)
    else:
        made.parameter_mode = protos.modes["PARAMETER_POSITIONAL"]
        for kind in parameters:
            protos.fill(made.positional_query_parameters.add(), kind)
    for name, text in SYSTEM_VARIABLES.items():
        added = made.system_variables.add(name_path=name.split("."))
        protos.fill(added.type, SqlType.parse(text))
    for name, kind in catalog.system_variables.items():
        protos.fill(made.system_variables.add(name_path=name.split(".")).type, kind)
    for name, kind in INGESTION_TIME:
        protos.fill(made.ddl_pseudo_columns.add(name=name).type, kind)
    return made
