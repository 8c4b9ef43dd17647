"""Views whose query needs hooks.

Real BigQuery: a view may name object tables, models and remote functions. The emulator translates a
view once to a DuckDB view, which no hook sees when a query reads it. So the text of such a view is kept
in the catalog, and replaces the view's name in each query. DuckDB itself only has a view with the same
columns, which raises an error when it is read.
"""

from __future__ import annotations

from typing import Any

import duckdb
from bqemulator.catalog import ddl_sync
from bqemulator.jobs.error_mapper import translate_runtime_error
from bqemulator.sql.table_rewriter import rewrite_table_refs
from bqemulator.sql.translator import SQLTranslator
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

from etlkit.local.bigquery import rewrites
from etlkit.local.bigquery.extensions import api_errors, grammar, hooks
from etlkit.local.bigquery.extensions.execute import job_parameters
from etlkit.local.bigquery.extensions.statement_context import StatementContext
from etlkit.local.bigquery.extensions.subqueries import Scope
from etlkit.local.bigquery.patches.types import quote, table_schema

Name = tuple[str, str, str]


async def create_view(tree: exp.Expr, context: StatementContext) -> hooks.StatementResult | None:
    """Handle `CREATE VIEW` with a query that needs hooks."""
    if not isinstance(tree, exp.Create) or tree.kind != "VIEW" or tree.expression is None:
        return None
    if tree.find(exp.MaterializedProperty) or not hooks.is_involved(tree.expression, context):
        return None
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    name = grammar.name_of(target, context.project)
    api_errors.require_dataset(context, name)
    existing = context.ctx.catalog.get_table(*name)
    if existing is not None and tree.args.get("exists"):
        return hooks.StatementResult("CREATE_VIEW", "SKIP", table=name)
    if existing is not None and not (tree.args.get("replace") and existing.table_type == "VIEW"):
        raise api_errors.already_exists("Table", name)
    stub = await _stub(tree, context)
    if not context.is_dry:
        context.ctx.engine.execute(f"CREATE OR REPLACE VIEW {quoted_table_ref(*name)} AS {stub}")
        ddl_sync.sync_created_view(tree.sql(dialect="bigquery"), context.project, context.ctx)
    return hooks.StatementResult(
        "CREATE_VIEW", "CREATE" if existing is None else "REPLACE", table=name
    )


async def _stub(tree: exp.Create, context: StatementContext) -> str:
    """A DuckDB query with the view's columns, which raises an error when it runs."""
    scope = Scope(context, job_parameters(None))
    query: Any = tree.expression.copy()
    try:
        await scope.rewrite(query)
        sql, _ = await scope.lower(query)
        described = context.ctx.engine.execute(f"SELECT * FROM ({sql}\n) LIMIT 0").description
    finally:
        scope.close()
    names = [name for name, *_ in described]
    if isinstance(tree.this, exp.Schema):
        names = [column.name for column in tree.this.expressions]
    columns = ", ".join(
        f"CAST(NULL AS {kind}) AS {quote(name)}"
        for name, (_, kind, *_) in zip(names, described, strict=True)
    )
    return f"SELECT {columns} WHERE CAST(error('Only queries can read this view') AS BOOLEAN)"


def with_query(meta: Any, body: dict[str, Any], ctx: Any) -> Any:
    """Let `tables.patch` change the query of a view. The view gets the columns of the new query.

    Raises:
        DomainError: The query is wrong.
    """
    text = (body.get("view") or {}).get("query")
    tree = grammar.parse(text) if text and meta.table_type == "VIEW" else None
    if tree is None or hooks.is_involved(tree, StatementContext(meta.project_id, ctx)):
        return meta
    name = (meta.project_id, meta.dataset_id, meta.table_id)
    plain = rewrites.expanded(str(text), meta.project_id, ctx.catalog)
    translated: Any = SQLTranslator().translate(plain)
    if not hasattr(translated, "value"):
        raise translated.error
    query = rewrite_table_refs(translated.value, meta.project_id)
    try:
        ctx.engine.execute(f"CREATE OR REPLACE VIEW {quoted_table_ref(*name)} AS {query}")
    except duckdb.Error as error:
        raise translate_runtime_error(error, duckdb_sql=query) from error
    schema = table_schema(ctx.engine, quoted_table_ref(*name))
    return meta.model_copy(update={"schema_": schema})


async def expand_views(tree: exp.Expr, scope: Scope) -> bool:
    """The query hook: replace the names of such views in a statement by their queries."""
    changed = False
    for table in list(tree.find_all(exp.Table)):
        query = _text(table, scope.context)
        if query is None:
            continue
        await expand_views(query, scope)
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name))
        table.replace(exp.Subquery(this=query, alias=alias, joins=table.args.get("joins")))
        changed = True
    return changed


def names_such_view(tree: exp.Expr, context: StatementContext) -> bool:
    """Whether a tree names a view that has to be expanded."""
    return any(_text(table, context) is not None for table in tree.find_all(exp.Table))


def _text(table: exp.Table, context: StatementContext) -> Any:
    """The query of such a view; None = the table is not a view, or DuckDB can read it itself."""
    if not table.db or not isinstance(table.this, exp.Identifier):
        return None
    if isinstance(table.parent, exp.Create | exp.Drop | exp.Schema):
        return None
    meta = context.ctx.catalog.get_table(*grammar.name_of(table, context.project))
    if meta is None or meta.table_type != "VIEW" or not meta.view_query:
        return None
    query = grammar.parse(meta.view_query)
    return query if query is not None and hooks.is_involved(query, context) else None
