"""The options of tables in DDL, and changes by ALTER TABLE.

Real BigQuery: OPTIONS set expiration, labels and description. CLUSTER BY and ALTER TABLE show in the
table's resource at once. CREATE TABLE IF NOT EXISTS does not change an existing table. The emulator: it
only knew the description, ignored ALTER TABLE, and reset the resource on IF NOT EXISTS.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import sqlglot
from bqemulator.catalog import ddl_sync
from bqemulator.domain.errors import InvalidQueryError, ResourceRef, resource_not_found
from bqemulator.sql import translator
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

from etlkit.local.bigquery.first_words import may_begin
from etlkit.local.bigquery.patches.alter_actions import one_action_each
from etlkit.local.bigquery.patches.etags import changed
from etlkit.local.bigquery.patches.partitioning import (
    clustering_of,
    described,
    partitioning_of,
    range_of,
    with_options,
)
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.type_parameters import declared, kept
from etlkit.local.bigquery.patches.types import table_schema, widen
from etlkit.local.bigquery.rules.registry import Asked, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from bqemulator.catalog.models import TableMeta

CREATED: Final[list[Callable[[exp.Create, TableMeta, Any], None]]] = []
"""Each gets a CREATE TABLE that has run, the table and the emulator's `AppContext`."""

_plain_sync = ddl_sync.sync_created_table


def sync_table(sql: str, project: str, ctx: Any) -> None:
    """Update the catalog after a statement, if it is DDL of a table."""
    for statement in one_action_each(sql):
        _sync_statement(statement, project, ctx)


def _sync_statement(sql: str, project: str, ctx: Any) -> None:
    if not may_begin(sql, "CREATE", "ALTER"):
        return
    try:
        tree = sqlglot.parse_one(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return
    if isinstance(tree, exp.Create) and tree.kind == "TABLE":
        _sync_created(tree, sql, project, ctx)
    elif isinstance(tree, exp.Alter) and tree.args.get("kind") == "TABLE":
        _sync_altered(tree, project, ctx)


def _sync_created(tree: exp.Create, sql: str, project: str, ctx: Any) -> None:
    name = _name(tree.this, project)
    if name is None or (tree.args.get("exists") and ctx.catalog.get_table(*name) is not None):
        return
    if tree.expression is not None:
        widen(ctx.engine, quoted_table_ref(*name))
    _plain_sync(sql, project, ctx)
    meta = ctx.catalog.get_table(*name)
    if meta is None:
        return
    meta = described(_with_parameters(meta, tree, project, ctx), tree)
    properties = tree.args.get("properties")
    if properties is not None:
        updates = options(properties, ctx)
        if properties.find(exp.PartitionedByProperty) is not None:
            updates["time_partitioning"] = partitioning_of(properties)
            updates["range_partitioning"] = range_of(properties)
        if properties.find(exp.ClusterProperty) is not None:
            updates["clustering"] = clustering_of(properties)
        meta = meta.model_copy(update=updates)
    ask(Asked.DEFINITION, meta, tree)
    ask(Asked.LABELS, meta.labels)
    ctx.catalog.update_table(meta)
    for keep in CREATED:
        keep(tree, meta, ctx)


def _with_parameters(meta: TableMeta, tree: exp.Create, project: str, ctx: Any) -> TableMeta:
    """The table with the parameters of its columns' types, or those of the table that it is LIKE."""
    like = tree.find(exp.LikeProperty)
    name = None if like is None else _name(like.this, project)
    source = None if name is None else ctx.catalog.get_table(*name)
    fields = meta.schema_.fields
    if source is not None:
        fields = kept(fields, source.schema_.fields)
    fields = declared(fields, tree.this.expressions if isinstance(tree.this, exp.Schema) else ())
    schema = meta.schema_.model_copy(update={"fields": fields})
    return meta.model_copy(update={"schema_": schema})


def _sync_altered(tree: exp.Alter, project: str, ctx: Any) -> None:
    name = _name(tree.this, project)
    if name is None:
        return
    meta = ctx.catalog.get_table(*name)
    if meta is None:
        if tree.args.get("exists"):
            return
        raise resource_not_found(ResourceRef("table", *name))
    meta = changed(meta, ctx.clock.now())
    updates: dict[str, Any] = {}
    for action in tree.args["actions"]:
        if isinstance(action, exp.AlterSet):
            for properties in action.find_all(exp.Properties):
                updates |= options(properties, ctx)
                if meta.time_partitioning is not None:
                    given = {
                        each.name.lower(): each.args["value"] for each in properties.expressions
                    }
                    updates["time_partitioning"] = with_options(meta.time_partitioning, given)
        elif isinstance(action, exp.AlterRename):
            ctx.catalog.delete_table(*name)
            updates["table_id"] = action.this.name
            name = (*name[:2], action.this.name)
            ctx.catalog.create_table(meta.model_copy(update=updates))
    meta = _with_columns(meta.model_copy(update=updates), tree, name, ctx)
    ask(Asked.DEFINITION, meta, None)
    ask(Asked.LABELS, meta.labels)
    ctx.catalog.update_table(meta)


def _with_columns(
    meta: TableMeta, tree: exp.Alter, name: tuple[str, str, str], ctx: Any
) -> TableMeta:
    """The table with its current columns. Those that it had before keep their other properties."""
    renamed = {
        action.this.name.casefold(): action.args["to"].name
        for action in tree.args["actions"]
        if isinstance(action, exp.RenameColumn)
    }
    before = [
        field.model_copy(update={"name": renamed.get(field.name.casefold(), field.name)})
        for field in meta.schema_.fields
    ]
    known = {field.name: field for field in before}
    now = table_schema(ctx.engine, quoted_table_ref(*name))
    fields = tuple(
        field.model_copy(
            update={
                "description": known[field.name].description,
                "default_value_expression": known[field.name].default_value_expression,
            }
        )
        if field.name in known
        else field
        for field in kept(now.fields, before)
    )
    fields = _with_defaults(fields, tree)
    columns = [
        action
        for action in tree.args["actions"]
        if isinstance(action, exp.ColumnDef) or action.args.get("dtype") is not None
    ]
    ctx.engine.late_columns.added(name, {each.name for each in fields} - known.keys())
    fields = declared(fields, columns)
    return meta.model_copy(update={"schema_": now.model_copy(update={"fields": fields})})


def _with_defaults(fields: tuple[Any, ...], tree: exp.Alter) -> tuple[Any, ...]:
    """The columns after `ALTER COLUMN … SET DEFAULT` and `… DROP DEFAULT`."""
    defaults = {}
    for action in tree.args["actions"]:
        if isinstance(action, exp.AlterColumn) and action.args.get("dtype") is None:
            default = action.args.get("default")
            if default is not None:
                defaults[action.this.name.casefold()] = default.sql(dialect="bigquery")
            elif action.args.get("drop") and not action.args.get("allow_null"):
                defaults[action.this.name.casefold()] = None
    return tuple(
        field.model_copy(update={"default_value_expression": defaults[field.name.casefold()]})
        if field.name.casefold() in defaults
        else field
        for field in fields
    )


def _name(target: Any, project: str) -> tuple[str, str, str] | None:
    table = ddl_sync._unwrap_table_target(target)  # noqa: SLF001
    if table is None:
        return None
    name = ddl_sync._split_target(table, project)  # noqa: SLF001
    return name if name[1] and name[2] else None


def options(properties: exp.Properties, ctx: Any) -> dict[str, Any]:
    """The fields of `TableMeta` that an OPTIONS list sets."""
    updates: dict[str, Any] = {}
    for option in properties.expressions:
        if type(option) is not exp.Property:  # PARTITION BY and its like are subclasses
            continue
        key, value = option.name.lower(), option.args["value"]
        if key == "expiration_timestamp":
            updates["expiration_time"] = _instant(value, ctx)
        elif key == "labels":
            pairs = [pair.expressions for pair in value.find_all(exp.Tuple)]
            updates["labels"] = {label.name: text.name for label, text in pairs}
        elif key in {"description", "friendly_name"}:
            updates[key] = None if isinstance(value, exp.Null) else value.name
    return updates


def _instant(value: exp.Expression, ctx: Any) -> datetime | None:
    text = value.sql(dialect="bigquery")
    translated: Any = translator.SQLTranslator().translate(f"SELECT {text} AS instant")
    if not hasattr(translated, "value"):
        raise InvalidQueryError("expiration_timestamp is not a TIMESTAMP expression")
    sql = f"SELECT epoch_us(CAST(instant AS TIMESTAMPTZ)) FROM ({translated.value})"
    (micros,) = ctx.engine.execute(sql).fetchone()
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC)


def _without_set_options(sql: str) -> str:
    """Replace SET OPTIONS by a query for DuckDB. The emulator only did so for some spellings."""
    if not may_begin(sql, "ALTER"):
        return sql
    try:
        tree = sqlglot.parse_one(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return sql
    if isinstance(tree, exp.Alter):
        actions = tree.args["actions"]
        if all(isinstance(action, exp.AlterSet) for action in actions):
            return "SELECT 1"
    return sql


def apply() -> None:
    """Update the catalog after every statement."""
    PATCHES.replace("bqemulator.catalog.ddl_sync:sync_created_table", sync_table)
    PATCHES.replace("bqemulator.jobs.executor:sync_created_table", sync_table)
    PATCHES.replace("bqemulator.scripting.interpreter:sync_created_table", sync_table)
    PATCHES.replace(
        "bqemulator.sql.translator:rewrite_alter_table_set_options", _without_set_options
    )
