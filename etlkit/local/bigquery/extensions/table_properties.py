"""Properties of tables and columns that the emulator's catalog has no place for.

Real BigQuery: policy tags, collations, default values and keys are given by the REST API or in DDL, and
`tables.get` shows them. The emulator dropped them.

What remains: `ALTER TABLE` of keys is accepted but not shown, and policy tags protect nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from bqemulator.domain.errors import InvalidQueryError
from bqemulator.sql.translator import SQLTranslator
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

from etlkit.local.bigquery.extensions import grammar
from etlkit.local.bigquery.extensions.catalog_store import CatalogStore
from etlkit.local.bigquery.patches import table_options
from etlkit.local.bigquery.patches.table_resource import TableResources
from etlkit.local.bigquery.patches.types import quote

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableMeta

_KIND: Final = "table_properties"
_OF_COLUMNS: Final = ("policyTags", "collation")
_KEYS: Final = "tableConstraints"


def keep(meta: TableMeta, body: dict[str, Any], ctx: Any) -> TableMeta:
    """Store what the body of a `tables.insert` or `tables.patch` says, and set default values."""
    fields = (body.get("schema") or {}).get("fields")
    before = _stored(meta, ctx)
    columns = before.get("columns", {})
    if fields is not None:
        columns = {path: given for path, given in _given(fields) if given}
        _set_defaults(meta, fields, ctx)
    keys = body.get(_KEYS, before.get("keys"))
    if columns or keys or before:
        _store(meta, {"columns": columns, "keys": keys}, ctx)
    return meta


def keep_declared(tree: exp.Create, meta: TableMeta, ctx: Any) -> None:
    """Store the keys and collations that a CREATE TABLE declares."""
    if not isinstance(tree.this, exp.Schema):
        return
    default: Any = tree.find(exp.CollateProperty)
    columns = {}
    for column in tree.this.find_all(exp.ColumnDef):
        own: Any = column.find(exp.CollateColumnConstraint)
        found = own or (default if column.args["kind"].is_type(exp.DType.TEXT) else None)
        if found is not None:
            columns[column.name] = {"collation": found.this.name}
    keys = _declared_keys(tree.this, meta.project_id)
    if columns or keys or _stored(meta, ctx):
        _store(meta, {"columns": columns, "keys": keys}, ctx)


def describe(meta: TableMeta, ctx: Any) -> dict[str, Any]:
    """The keys of a table, as a field of its resource."""
    keys = _stored(meta, ctx).get("keys")
    return {_KEYS: keys} if keys else {}


def describe_columns(meta: TableMeta, fields: list[dict[str, Any]], ctx: Any) -> None:
    """Add the properties of columns to the fields of a resource."""
    columns = _stored(meta, ctx).get("columns", {})
    for path, field in _walk(fields) if columns else ():
        field.update(columns.get(path, {}))


def _declared_keys(schema: exp.Schema, project: str) -> dict[str, Any]:
    primary = [column.name for column in schema.find_all(exp.ColumnDef) if _is_primary(column)]
    for key in schema.find_all(exp.PrimaryKey):
        primary = [column.name for column in key.expressions]
    foreign = [_foreign_key(key, project) for key in schema.find_all(exp.ForeignKey)]
    for column in schema.find_all(exp.ColumnDef):
        for constraint in column.constraints:
            if isinstance(constraint.kind, exp.Reference):
                reference = _reference(constraint.kind, [column.name], project)
                foreign.append(reference)
    named = [{"name": f"fk${number}", **key} for number, key in enumerate(foreign, 1)]
    keys: dict[str, Any] = {"primaryKey": {"columns": primary}} if primary else {}
    return keys | ({"foreignKeys": named} if named else {})


def _is_primary(column: exp.ColumnDef) -> bool:
    return any(isinstance(each.kind, exp.PrimaryKeyColumnConstraint) for each in column.constraints)


def _foreign_key(key: exp.ForeignKey, project: str) -> dict[str, Any]:
    found = _reference(key.args["reference"], [each.name for each in key.expressions], project)
    named = key.parent if isinstance(key.parent, exp.Constraint) else None
    return found if named is None else {"name": named.this.name, **found}


def _reference(reference: exp.Reference, columns: list[str], project: str) -> dict[str, Any]:
    target = reference.this
    table = grammar.name_of(target.this, project)
    pairs = zip(columns, (each.name for each in target.expressions), strict=False)
    return {
        "referencedTable": dict(zip(("projectId", "datasetId", "tableId"), table, strict=True)),
        "columnReferences": [
            {"referencingColumn": own, "referencedColumn": other} for own, other in pairs
        ],
    }


def _walk(fields: list[dict[str, Any]], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for field in fields:
        path = f"{prefix}{field['name']}"
        yield path, field
        yield from _walk(field.get("fields", []), f"{path}.")


def _given(fields: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, field in _walk(fields):
        yield path, {key: field[key] for key in _OF_COLUMNS if field.get(key)}


def _set_defaults(meta: TableMeta, fields: list[dict[str, Any]], ctx: Any) -> None:
    table = quoted_table_ref(meta.project_id, meta.dataset_id, meta.table_id)
    for field in fields:
        text = field.get("defaultValueExpression")
        if text is None:
            continue
        translated: Any = SQLTranslator().translate(f"SELECT {text}")
        if not hasattr(translated, "value"):
            raise InvalidQueryError(f"Invalid default value expression for {field['name']}: {text}")
        value = translated.value.removeprefix("SELECT ")
        column = quote(field["name"])
        ctx.engine.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {value}")


def _stored(meta: TableMeta, ctx: Any) -> dict[str, Any]:
    """What is stored of a table; empty = nothing, or of an earlier table of the same name."""
    name = (meta.project_id, meta.dataset_id, meta.table_id)
    found = CatalogStore(ctx.engine.connection).get(_KIND, name) or {}
    return found if found.get("created") == str(meta.creation_time) else {}


def _store(meta: TableMeta, body: dict[str, Any], ctx: Any) -> None:
    name = (meta.project_id, meta.dataset_id, meta.table_id)
    body = {**body, "created": str(meta.creation_time)}
    CatalogStore(ctx.engine.connection).put(_KIND, name, body)


def apply() -> None:
    """Show what is stored, and store what DDL and updates say."""
    TableResources.more.append(describe)
    TableResources.columns.append(describe_columns)
    TableResources.updated.append(keep)
    table_options.CREATED.append(keep_declared)
