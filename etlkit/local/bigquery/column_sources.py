"""Which columns of tables each result column of a statement comes from, by its resolved tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from etlkit.local.bigquery.sql_catalog import Table

_OUTPUT = "output_column_list"
_WALKED_APART: Final = frozenset({"type", "signature", "function_call_info", "column_list"})

IDENTITY, TRANSFORMATION, AGGREGATION = "IDENTITY", "TRANSFORMATION", "AGGREGATION"
"""How a column comes from another, in OpenLineage's words:
https://openlineage.io/docs/spec/facets/dataset-facets/column_lineage_facet#transformation-type"""


@dataclass(frozen=True)
class ColumnSource:
    """A column that a result column comes from.

    Attributes:
        table: The table's name, as the catalog has it.
        column: The column's name.
        how: `IDENTITY`, `TRANSFORMATION` or `AGGREGATION`.
    """

    table: str
    column: str
    how: str


@dataclass(frozen=True)
class StatementSources:
    """Where what a statement gives or writes comes from.

    Attributes:
        columns: By the names of the columns of a SELECT, CREATE TABLE AS, CREATE VIEW or INSERT, or of
            those that an UPDATE or MERGE sets; empty for other statements, and for one that is nested
            too deeply.
        reads: Names of the tables that it reads.
        writes: Name of the table that it makes or inserts into; empty = none.
    """

    columns: dict[str, list[ColumnSource]] = field(default_factory=dict)
    reads: frozenset[str] = frozenset()
    writes: str = ""


@dataclass
class _Tree:
    """What is known of the columns of a tree, by their ids.

    Attributes:
        origins: Columns of tables.
        edges: Column -> columns that it is made of, with how.
        subqueries: Name -> the columns of a WITH query.
        reads: Names of tables.
    """

    origins: dict[int, tuple[str, str]] = field(default_factory=dict)
    edges: dict[int, dict[int, str]] = field(default_factory=dict)
    subqueries: dict[str, list[int]] = field(default_factory=dict)
    reads: set[str] = field(default_factory=set)

    def add(self, column: int, sources: dict[int, str]) -> None:
        known = self.edges.setdefault(column, {})
        for source, how in sources.items():
            if source != column:
                known[source] = _worse(known.get(source, how), how)


def read(data: bytes, kind: type[Any], tables: Sequence[Table]) -> StatementSources:
    """Find the sources of the columns of a query, or of the rows that a statement writes.

    Args:
        data: An `AnyResolvedStatementProto`.
        kind: Its class.
        tables: By `serialization_id` of their scans, which counts from 1.
    """
    try:
        statement = kind.FromString(data)
    except Exception as error:
        if type(error).__name__ != "DecodeError":
            raise
        return StatementSources()
    tree = _Tree()
    _walk(statement, tree, tables)
    outputs = dict(_outputs(statement))
    for name, value in _assigned(_innermost(statement), tree):
        made = outputs.setdefault(name, -1 - len(outputs))  # no column of the tree has such an id
        tree.add(made, _of_expression(value))
    found = {name: _sources(column, tree) for name, column in outputs.items()}
    columns = {name: sources for name, sources in found.items() if sources}
    writes = _written(_innermost(statement), tables)
    return StatementSources(columns, frozenset(tree.reads) - {writes}, writes)


def _written(node: Any, tables: Sequence[Table]) -> str:
    """The table that a statement makes or changes; empty = none."""
    path = _own(node, "name_path")
    if path:
        return ".".join(path)
    scan = _own(node, "table_scan")
    number = 0 if scan is None else scan.table.serialization_id
    return tables[number - 1].name if number else ""


def _outputs(message: Any) -> Iterator[tuple[str, int]]:
    """Names of the columns that are written, or given, and their ids; of the outermost statement."""
    node = _innermost(message)
    if node is None:
        return
    inserted = _own(node, "insert_column_list")
    if inserted:
        given = _own(node, "query_output_column_list") or ()
        yield from zip((c.name for c in inserted), (c.column_id for c in given), strict=False)
        return
    for each in _own(node, _OUTPUT) or ():
        if hasattr(each, "column"):
            yield each.name, each.column.column_id


def _assigned(node: Any, tree: _Tree) -> Iterator[tuple[str, Any]]:
    """Names of the columns that an UPDATE, a MERGE or an INSERT of values sets, each with a value."""
    if node is None:
        return
    for clause in (node, *(_own(node, "when_clause_list") or ())):
        rows = [*(_own(clause, "row_list") or ())]
        rows += [clause.insert_row] if _own(clause, "insert_row") is not None else []
        for row in rows:
            names = (column.name for column in clause.insert_column_list)
            yield from zip(names, (each.value for each in row.value_list), strict=False)
        for item in _own(clause, "update_item_list") or ():
            for column in _of_expression(item.target):  # a field of it, if it is a STRUCT
                if column in tree.origins:
                    yield tree.origins[column][1], item.set_value.value


def _innermost(message: Any) -> Any:
    while message is not None and "node" in message.DESCRIPTOR.oneofs_by_name:
        name = message.WhichOneof("node")
        message = None if name is None else getattr(message, name)
    return message


def _own(node: Any, name: str) -> Any:
    """A field of a node or of one of its parents."""
    while node is not None:
        if name in node.DESCRIPTOR.fields_by_name:
            return getattr(node, name)
        node = node.parent if "parent" in node.DESCRIPTOR.fields_by_name else None
    return None


def _walk(message: Any, tree: _Tree, tables: Sequence[Table]) -> None:
    for child in _children(message):  # first: a WITH query is known before it is referred to
        _walk(child, tree, tables)
    kind, fields = message.DESCRIPTOR.name, message.DESCRIPTOR.fields_by_name
    if kind == "ResolvedTableScanProto":
        _of_table(message, tree, tables)
    elif "column" in fields and "expr" in fields:
        tree.add(message.column.column_id, _of_expression(message.expr))
    elif kind == "ResolvedWithEntryProto":
        tree.subqueries[message.with_query_name] = _column_ids(message.with_subquery)
    elif kind == "ResolvedWithRefScanProto":
        _same(message, tree.subqueries.get(message.with_query_name, []), tree)
    elif kind == "ResolvedSetOperationScanProto":
        for item in message.input_item_list:
            _same(message, [column.column_id for column in item.output_column_list], tree)
    elif kind in {"ResolvedArrayScanProto", "ResolvedTVFScanProto"}:
        _of_whole_input(message, tree)


def _of_table(scan: Any, tree: _Tree, tables: Sequence[Table]) -> None:
    table = tables[scan.table.serialization_id - 1]
    tree.reads.add(table.name)
    names = [name for name, _ in (*table.columns, *table.pseudo_columns)]
    for column, position in zip(scan.parent.column_list, scan.column_index_list, strict=False):
        tree.origins[column.column_id] = table.name, names[position]


def _same(scan: Any, sources: Sequence[int], tree: _Tree) -> None:
    """The columns of a scan are others, in their order."""
    for column, source in zip(scan.parent.column_list, sources, strict=False):
        tree.add(column.column_id, {source: IDENTITY})


def _of_whole_input(scan: Any, tree: _Tree) -> None:
    """Columns of an UNNEST or of a table function come from all that it is given."""
    given: dict[int, str] = {}
    for name in ("array_expr_list", "argument_list"):
        for each in _own(scan, name) or ():
            given |= dict.fromkeys(_of_expression(each), TRANSFORMATION)
    made = _own(scan, "element_column_list") or _own(scan, "column_list") or ()
    for column in made:
        tree.add(column.column_id, given)


def _children(message: Any) -> Iterator[Any]:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.name in _WALKED_APART:
            continue
        yield from (value,) if hasattr(value, "ListFields") else value


def _column_ids(scan: Any) -> list[int]:
    return [column.column_id for column in _own(_innermost(scan), "column_list") or ()]


def _of_expression(expression: Any) -> dict[int, str]:
    """Columns that an expression uses: as they are, changed, or aggregated."""
    node = _innermost(expression)
    if node is not None and node.DESCRIPTOR.name == "ResolvedColumnRefProto":
        return {node.column.column_id: IDENTITY}
    found: dict[int, str] = {}
    _used(expression, found, TRANSFORMATION)
    return found


def _used(message: Any, found: dict[int, str], how: str) -> None:
    kind = message.DESCRIPTOR.name
    if kind == "ResolvedColumnRefProto":
        found[message.column.column_id] = _worse(found.get(message.column.column_id, how), how)
        return
    if kind in {"ResolvedAggregateFunctionCallProto", "ResolvedAnalyticFunctionCallProto"}:
        how = AGGREGATION
    if kind == "ResolvedSubqueryExprProto":
        for column in _column_ids(message.subquery):
            found[column] = _worse(found.get(column, how), how)
        return
    for child in _children(message):
        _used(child, found, how)


_ORDER: Final = (IDENTITY, TRANSFORMATION, AGGREGATION)


def _worse(one: str, other: str) -> str:
    return max(one, other, key=_ORDER.index)


def _sources(column: int, tree: _Tree) -> list[ColumnSource]:
    """The columns of tables that a column comes from, over all that is between."""
    found: dict[tuple[str, str], str] = {}
    seen: set[tuple[int, str]] = set()
    waiting = [(column, IDENTITY)]
    while waiting:
        current, how = waiting.pop()
        if (current, how) in seen:
            continue
        seen.add((current, how))
        if current in tree.origins:
            place = tree.origins[current]
            found[place] = _worse(found.get(place, how), how)
        waiting += [(each, _worse(how, its)) for each, its in tree.edges.get(current, {}).items()]
    return [ColumnSource(*place, how) for place, how in sorted(found.items())]
