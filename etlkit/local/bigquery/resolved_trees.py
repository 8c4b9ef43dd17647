"""Read what a statement is from the tree that the analyzer answers with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from etlkit.local.bigquery import wire_trees
from etlkit.local.bigquery.sql_catalog import ColumnTypes, Table
from etlkit.local.bigquery.sql_types import SqlType

_NAMES: Final = {
    "TYPE_DOUBLE": "FLOAT64",
    "TYPE_FLOAT": "FLOAT64",
    "TYPE_INT32": "INT64",
    "TYPE_UINT32": "INT64",
    "TYPE_UINT64": "INT64",
    "TYPE_ENUM": "STRING",
}
"""Kinds of GoogleSQL's types whose names differ in BigQuery; others are the name behind `TYPE_`."""

_SKIPPED: Final = frozenset({"type", "signature", "function_call_info", "column_list"})
"""Fields without functions and tables in them."""

_DML: Final = frozenset({"insert", "update", "delete", "merge", "truncate"})
_INNER: Final = frozenset(
    {
        *("query", "input_scan", "from_scan", "merge_expr", "when_clause_list", "where_expr"),
        *("row_list", "update_item_list", "option_list", "alter_action_list", "expression"),
        *("partition_by_list", "cluster_by_list", "argument_list", "function_expression"),
    }
)
"""Fields of statements that may be deep."""
_WANTED: Final = frozenset({"FunctionRefProto", "ResolvedTableScanProto"})
_ONLY_WRITE: Final = frozenset({"insert", "truncate"})


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a statement is.

    Attributes:
        kind: E.g. SELECT, INSERT, CREATE_TABLE_AS_SELECT, as BigQuery's `statementType`.
        columns: Names and types of its rows, or of the table that it makes; `f0_` = it has no name.
        reads: `project.dataset.table` of each table that it reads; UPDATE, DELETE and MERGE read
            what they write.
        writes: Tables whose rows it inserts, changes or deletes.
        columns_read: For each table the columns that it uses, in the table's order.
        functions: Names of the functions that it calls, in lower case; `$add` for `+`.
        target: For DDL the name that it creates, alters or drops, as the text has it; else empty.
        num_unnamed: How many of its columns have no name of their own.
    """

    kind: str
    columns: ColumnTypes = ()
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    columns_read: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    functions: frozenset[str] = frozenset()
    target: tuple[str, ...] = ()
    num_unnamed: int = 0


@dataclass
class _Found:
    tables: dict[int, set[int]] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)


def read(data: bytes, kind: type[Any], tables: Sequence[Table]) -> Analysis:
    """Summarize a resolved statement.

    Args:
        data: An `AnyResolvedStatementProto`.
        kind: Its class.
        tables: By `serialization_id` of their scans, which counts from 1.
    """
    found = _Found()
    try:
        tree = kind.FromString(data)
    except Exception as error:
        if type(error).__name__ != "DecodeError":
            raise
        name, node = _deep(data, kind, found)
    else:
        name, node = list(_chain(tree))[-1]
        _walk(node, found, skipped="table_scan" if name in _ONLY_WRITE else "")
    used = {tables[number - 1]: positions for number, positions in found.tables.items() if number}
    written = node.table_scan.table.serialization_id if name in _DML else 0
    columns, num_unnamed = _columns(node)
    return Analysis(
        _statement_kind(name, node),
        columns,
        frozenset(table.name for table in used),
        frozenset({tables[written - 1].name} if written else ()),
        MappingProxyType(
            {
                table.name: tuple(_column_name(table, position) for position in sorted(positions))
                for table, positions in used.items()
            }
        ),
        frozenset(found.functions),
        tuple(_inherited(node, "name_path") or ()),
        num_unnamed,
    )


def _deep(data: bytes, kind: type[Any], found: _Found) -> tuple[str, Any]:
    """The name and the outermost levels of a tree that is too deep for the protobuf library."""
    top = kind.FromString(wire_trees.without(data, kind.DESCRIPTOR, _INNER, depth=6))
    name, node = list(_chain(top))[-1]
    if name in _ONLY_WRITE:
        data = wire_trees.without(data, kind.DESCRIPTOR, frozenset({"table_scan"}), depth=3)
    for descriptor, content in wire_trees.messages(data, kind.DESCRIPTOR, _WANTED):
        values = dict(wire_trees.fields(memoryview(content)))
        if descriptor.name == "FunctionRefProto":
            _add_function(bytes(values[1]).decode(), found)
        else:
            message = descriptor._concrete_class.FromString(content)  # noqa: SLF001 - documented
            _add_scan(message, found)
    return name, node


def sql_type(proto: Any) -> SqlType:
    """The type of a `TypeProto`."""
    kind = _kind_name(proto)
    if kind == "TYPE_ARRAY":
        return SqlType("ARRAY", element=sql_type(proto.array_type.element_type))
    if kind == "TYPE_RANGE":
        return SqlType("RANGE", element=sql_type(proto.range_type.element_type))
    if kind == "TYPE_STRUCT":
        fields = proto.struct_type.field
        return SqlType("STRUCT", tuple((f.field_name, sql_type(f.field_type)) for f in fields))
    return SqlType(_NAMES.get(kind, kind.removeprefix("TYPE_")))


def _kind_name(proto: Any) -> str:
    field = proto.DESCRIPTOR.fields_by_name["type_kind"]
    return str(field.enum_type.values_by_number[proto.type_kind].name)


def _chain(tree: Any) -> Iterator[tuple[str, Any]]:
    """The node within its wrappers, one for each of its classes."""
    while "node" in tree.DESCRIPTOR.oneofs_by_name:
        name = tree.WhichOneof("node")
        if name is None:
            return
        tree = getattr(tree, name)
        yield name.removeprefix("resolved_").removesuffix("_node").removesuffix("_stmt"), tree


def _walk(message: Any, found: _Found, skipped: str = "") -> None:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.name in _SKIPPED:
            continue
        name = descriptor.message_type.name
        if descriptor.name == skipped:
            continue
        if name == "FunctionRefProto":
            _add_function(value.name, found)
            continue
        for each in (value,) if hasattr(value, "ListFields") else value:
            if name == "ResolvedTableScanProto":
                _add_scan(each, found)
            _walk(each, found)


def _add_function(name: str, found: _Found) -> None:
    """Add a function by its full name, e.g. `ZetaSQL:upper`."""
    found.functions.add(name.rpartition(":")[2].lower())


def _add_scan(scan: Any, found: _Found) -> None:
    found.tables.setdefault(scan.table.serialization_id, set()).update(scan.column_index_list)


def _column_name(table: Table, position: int) -> str:
    return (*table.columns, *table.pseudo_columns)[position][0]


def _inherited(node: Any, name: str) -> Any:
    """A field of a node or of one of its parents."""
    while node is not None:
        fields = node.DESCRIPTOR.fields_by_name
        if name in fields:
            return getattr(node, name)
        node = node.parent if "parent" in fields else None
    return None


def _columns(node: Any) -> tuple[ColumnTypes, int]:
    outputs = _inherited(node, "output_column_list")
    if not outputs:
        definitions = _inherited(node, "column_definition_list") or ()
        return tuple((each.name, sql_type(each.type)) for each in definitions), 0
    named = [(each.name, sql_type(each.column.type)) for each in outputs]
    if _inherited(node, "is_value_table") and named[0][1].name == "STRUCT":
        named = list(named[0][1].fields)
    columns, unnamed = [], 0
    for name, kind in named:
        if not name or name.startswith("$"):
            columns.append((f"f{unnamed}_", kind))
            unnamed += 1
        else:
            columns.append((name, kind))
    return tuple(columns), unnamed


_OBJECTS: Final = {"MATERIALIZED VIEW": "MATERIALIZED_VIEW", "EXTERNAL TABLE": "EXTERNAL_TABLE"}


def _statement_kind(name: str, node: Any) -> str:
    """https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatistics2 (statementType)."""
    if name in {"query", "generalized_query"}:
        return "SELECT"
    if name == "truncate":
        return "TRUNCATE_TABLE"
    if name == "drop":
        kind = node.object_type.upper()
        return f"DROP_{_OBJECTS.get(kind, kind.replace(' ', '_'))}"
    if name in {"begin", "commit", "rollback"}:
        return f"{name.upper()}_TRANSACTION"
    return {"aux_load_data": "LOAD_DATA"}.get(name, name.upper())
