"""What all external tables have in common: names, DROP, and that they cannot be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import TableMeta, TableSchema
from bqemulator.jobs import executor
from bqemulator.sql.translator import SQLTranslator
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, grammar, hooks
from etlkit.local.bigquery.patches.types import to_table_fields

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext

    Name = tuple[str, str, str]

KINDS: Final = ("object_table", "external_table", "object_cache")
"""The kinds of entries that are removed with an external table."""

_WRITES: Final = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.TruncateTable, exp.Command)


def is_create(tree: exp.Expr) -> bool:
    """Whether a statement is `CREATE EXTERNAL TABLE`."""
    return isinstance(tree, exp.Create) and tree.find(exp.ExternalProperty) is not None


def operation(tree: exp.Expr, name: Name, context: StatementContext) -> str:
    """What a CREATE statement does: CREATE, REPLACE or SKIP.

    Raises:
        AlreadyExistsError: The name is used.
        InvalidQueryError: The table to replace is not an external table.
    """
    meta = context.ctx.catalog.get_table(*name)
    if meta is None:
        return "CREATE"
    if tree.args.get("exists"):
        return "SKIP"
    if not tree.args.get("replace"):
        raise api_errors.already_exists("Table", name)
    if meta.table_type != "EXTERNAL":
        raise wrong_type(name, meta)
    return "REPLACE"


def wrong_type(name: Name, meta: Any) -> Exception:
    """The error for a statement that names a table of another type than it expects."""
    project, dataset, table = name
    return api_errors.invalid(
        f"{project}:{dataset}.{table} is not allowed for this operation because it is currently "
        f"a {meta.table_type}."
    )


def register(
    name: Name, fields: list[dict[str, Any]], context: StatementContext, **more: Any
) -> None:
    """Add an external table to the catalog. It replaces one of the same name."""
    clear(name, context)
    now = context.ctx.clock.now()
    context.ctx.catalog.create_table(
        TableMeta(
            project_id=name[0],
            dataset_id=name[1],
            table_id=name[2],
            table_type="EXTERNAL",
            schema=TableSchema(fields=to_table_fields(fields)),
            creation_time=now,
            last_modified_time=now,
            etag=generate_etag(*name, str(now)),
            **more,
        )
    )


def clear(name: Name, context: StatementContext) -> None:
    """Remove an external table of any kind from DuckDB, the catalog and the store."""
    context.ctx.engine.execute(f"DROP VIEW IF EXISTS {quoted_table_ref(*name)}")
    context.ctx.catalog.delete_table(*name, not_found_ok=True)
    for kind in KINDS:
        context.store.drop(kind, name)


async def drop(tree: exp.Expr, context: StatementContext) -> hooks.StatementResult | None:
    """Handle `DROP EXTERNAL TABLE`, and refuse DROP TABLE and DROP VIEW of an external table."""
    if not isinstance(tree, exp.Drop) or tree.kind not in {grammar.EXTERNAL_TABLE, "TABLE", "VIEW"}:
        return None
    if not isinstance(tree.this, exp.Table) or not tree.this.db:
        return None
    name = grammar.name_of(tree.this, context.project)
    meta = context.ctx.catalog.get_table(*name)
    if tree.kind != grammar.EXTERNAL_TABLE:
        if meta is not None and meta.table_type == "EXTERNAL":
            raise wrong_type(name, meta)
        return None
    if meta is None:
        if not tree.args.get("exists"):
            raise api_errors.not_found("Table", name)
        return hooks.StatementResult("DROP_EXTERNAL_TABLE", "SKIP", table=name)
    if meta.table_type != "EXTERNAL":
        raise wrong_type(name, meta)
    if not context.is_dry:
        clear(name, context)
    return hooks.StatementResult("DROP_EXTERNAL_TABLE", "DROP", table=name)


async def refuse_writes(tree: exp.Expr, context: StatementContext) -> hooks.StatementResult | None:
    """Refuse statements that change an external table or replace it with another table or view."""
    for name in _written(tree, context.project):
        meta = context.ctx.catalog.get_table(*name)
        if meta is None or meta.table_type != "EXTERNAL":
            continue
        if isinstance(tree, _WRITES):
            raise api_errors.invalid(
                f"DML over table {name[0]}:{name[1]}.{name[2]} is not supported"
            )
        if isinstance(tree, exp.Create) and not tree.args.get("replace"):
            raise api_errors.already_exists("Table", name)
        raise wrong_type(name, meta)
    return None


def _written(tree: exp.Expr, project: str) -> list[Name]:
    if isinstance(tree, _WRITES):
        return list(executor._dml_target_tables(tree, project))  # noqa: SLF001
    is_made = (
        isinstance(tree, exp.Create)
        and tree.kind in {"TABLE", "VIEW"}
        and not is_create(tree)
        and not tree.args.get("exists")
    )
    if not (is_made or isinstance(tree, exp.Alter)):
        return []
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if not isinstance(target, exp.Table) or not target.db:
        return []
    return [grammar.name_of(target, project)]


def interval_s(value: Any, context: StatementContext) -> float:
    """The length of an interval in seconds."""
    if isinstance(value, exp.MakeInterval) and not value.args:
        return 0.0
    if not isinstance(value, exp.Expr):
        raise api_errors.invalid(f"{value!r} is not an INTERVAL, such as INTERVAL 1 HOUR")
    text = value.sql(dialect="bigquery")
    translated: Any = SQLTranslator().translate(f"SELECT {text} AS length")
    if not hasattr(translated, "value"):
        raise api_errors.invalid(f"{text} is not an INTERVAL, such as INTERVAL 1 HOUR")
    sql = f"SELECT epoch(length) FROM ({translated.value})"
    return float(context.ctx.engine.execute(sql).fetchone()[0])
