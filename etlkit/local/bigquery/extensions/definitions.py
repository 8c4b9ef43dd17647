"""Definitions that sqlglot does not parse: options of columns and datasets, snapshots, indexes, roles.

Real BigQuery: `ALTER TABLE … ALTER COLUMN … SET OPTIONS`, `ALTER SCHEMA … SET OPTIONS`, options of
snapshots, clones and materialized views, `DROP ALL ROW ACCESS POLICIES`. The emulator: syntax errors.

What remains: search and vector indexes are not kept, since answers are the same without them; nor are
roles, since every caller may do everything; layouts of materialized views, and snapshots of a moment.
https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import sqlglot
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.versioning.ddl import VersioningDDLRouter, execute_versioning_ddl
from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, hooks
from etlkit.local.bigquery.patches import table_options
from etlkit.local.bigquery.patches.alter_actions import one_action_each
from etlkit.local.bigquery.patches.etags import changed
from etlkit.local.bigquery.rewrites.names import in_project
from etlkit.local.bigquery.rules.registry import Asked, ask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from etlkit.local.bigquery.extensions.statement_context import StatementContext

    Result = hooks.StatementResult
    Definition = Callable[[re.Match[str], StatementContext], Awaitable[Result]]

_NAME: Final = r"(?:`[^`]+`|[\w-]+)(?:\s*\.\s*(?:`[^`]+`|\w+))*"
_OPTIONS: Final = r"OPTIONS\s*(?P<options>\((?:[^()]|\([^()]*\))*\))"
_DAY_MS: Final = 86_400_000


def _pattern(text: str) -> re.Pattern[str]:
    spaced = text.replace(" ", r"\s+").replace("OPTIONS", _OPTIONS)
    named = re.sub(r"@(\w+)", lambda match: rf"(?P<{match[1]}>{_NAME})", spaced)
    return re.compile(rf"\s*{named}\s*;?\s*", re.IGNORECASE | re.DOTALL)


_COLUMN: Final = _pattern(
    r"ALTER TABLE (?P<exists>IF EXISTS )?@name ALTER COLUMN (?:IF EXISTS )?@column SET OPTIONS"
)


def _plain(name: str) -> str:
    return re.sub(r"[`\s]", "", name)


def _name(match: re.Match[str], context: StatementContext, group: str = "name") -> hooks.Name:
    found = in_project(_plain(match[group]), context.project)
    if found is None:
        raise api_errors.invalid(
            f'Table "{_plain(match[group])}" must be qualified with a dataset (e.g. dataset.table).'
        )
    return found


def _table(match: re.Match[str], context: StatementContext) -> Any:
    name = _name(match, context)
    meta = context.ctx.catalog.get_table(*name)
    if meta is None:
        raise api_errors.not_found("Table", name)
    return meta


def _properties(text: str) -> exp.Properties:
    tree = sqlglot.parse_one(f"ALTER TABLE t SET OPTIONS {text}", read="bigquery")
    return tree.find(exp.Properties) or exp.Properties(expressions=[])


async def _set_column_options(
    matches: list[re.Match[str]], context: StatementContext
) -> hooks.StatementResult:
    name = _name(matches[0], context)
    if matches[0]["exists"] and context.ctx.catalog.get_table(*name) is None:
        return hooks.StatementResult("ALTER_TABLE", "SKIP", table=name)
    meta = _table(matches[0], context)
    fields = {field.name.casefold(): field for field in meta.schema_.fields}
    for match in matches:
        column = _plain(match["column"]).casefold()
        if column not in fields:
            raise api_errors.invalid(f"Column not found: {_plain(match['column'])}")
        given = table_options.options(_properties(match["options"]), context.ctx)
        if "description" in given:
            fields[column] = fields[column].model_copy(update={"description": given["description"]})
    if not context.is_dry:
        schema = meta.schema_.model_copy(update={"fields": tuple(fields.values())})
        context.ctx.catalog.update_table(
            changed(meta.model_copy(update={"schema_": schema}), context.ctx.clock.now())
        )
    return hooks.StatementResult("ALTER_TABLE", "ALTER", table=name)


async def _set_schema_options(match: re.Match[str], context: StatementContext) -> Result:
    project, _, dataset = _plain(match["name"]).rpartition(".")
    project = project or context.project
    meta = context.ctx.catalog.get_dataset(project, dataset)
    if meta is None and match["exists"]:
        return hooks.StatementResult("ALTER_SCHEMA", "SKIP")
    api_errors.require_dataset(context, (project, dataset, ""))
    properties = _properties(match["options"])
    updates = table_options.options(properties, context.ctx)
    updates.pop("expiration_time", None)
    for option in properties.expressions:
        days = re.fullmatch(r"default_(table|partition)_expiration_days", option.name.lower())
        if days is not None:
            value = option.args["value"]
            is_none = isinstance(value, exp.Null)
            updates[f"default_{days[1]}_expiration_ms"] = (
                None if is_none else int(float(value.name) * _DAY_MS)
            )
    ask(Asked.LABELS, updates.get("labels", {}))
    if not context.is_dry:
        context.ctx.catalog.update_dataset(
            changed(meta.model_copy(update=updates), context.ctx.clock.now())
        )
    return hooks.StatementResult("ALTER_SCHEMA", "ALTER")


async def _version(match: re.Match[str], context: StatementContext) -> Result:
    """A snapshot, a clone or a materialized view with options: the emulator takes none."""
    name = _name(match, context)
    words = re.sub(r"\s+", " ", match["kind"].upper())
    kind = f"CREATE_{words.replace(' ', '_')}"
    known = context.ctx.catalog.get_table(*name)
    if known is not None and match["exists"]:
        return hooks.StatementResult(kind, "SKIP", table=name)
    if known is not None and not match["replace"]:
        raise api_errors.already_exists("Table", name)
    groups = match.groupdict()
    source = f"CLONE {groups['source']}" if groups.get("source") else f"AS {groups['query']}"
    sql = f"CREATE {'OR REPLACE ' if known else ''}{words} {match['name']} {source}"
    parsed = VersioningDDLRouter(context.project).parse(sql)
    if parsed is not None and not context.is_dry:
        if known is not None:
            context.ctx.engine.execute(f"DROP TABLE {quoted_table_ref(*name)}")
            context.ctx.catalog.delete_table(*name)
        await execute_versioning_ddl(parsed, context.ctx)
        updates = table_options.options(_properties(match["options"] or "()"), context.ctx)
        meta = context.ctx.catalog.get_table(*name)
        if updates and meta is not None:
            ask(Asked.LABELS, updates.get("labels", {}))
            context.ctx.catalog.update_table(meta.model_copy(update=updates))
    return hooks.StatementResult(kind, "REPLACE" if known else "CREATE", table=name)


async def _drop_policies(match: re.Match[str], context: StatementContext) -> Result:
    meta = _table(match, context)
    name = (meta.project_id, meta.dataset_id, meta.table_id)
    if not context.is_dry:
        for policy in context.ctx.catalog.list_row_access_policies(*name):
            context.ctx.row_access.delete(
                project_id=name[0],
                dataset_id=name[1],
                table_id=name[2],
                policy_id=policy.policy_id,
            )
    return hooks.StatementResult("DROP_ROW_ACCESS_POLICY", "DROP", table=name)


async def _index(match: re.Match[str], context: StatementContext) -> Result:
    _table(match, context)
    verb, kind = match["verb"].upper(), match["kind"].upper()
    return hooks.StatementResult(f"{verb}_{kind}_INDEX", verb)


_DEFINITIONS: Final[tuple[tuple[re.Pattern[str], Definition], ...]] = (
    (
        _pattern(r"ALTER SCHEMA (?P<exists>IF EXISTS )?@name SET OPTIONS"),
        _set_schema_options,
    ),
    (
        _pattern(
            r"CREATE (?P<replace>OR REPLACE )?(?P<kind>(?:SNAPSHOT )?TABLE) "
            r"(?P<exists>IF NOT EXISTS )?@name CLONE @source(?: OPTIONS)?"
        ),
        _version,
    ),
    (
        _pattern(
            r"CREATE (?P<replace>OR REPLACE )?(?P<kind>MATERIALIZED VIEW) "
            r"(?P<exists>IF NOT EXISTS )?@name"
            r"(?: (?:PARTITION BY [^()]+(?:\([^()]*\))?|CLUSTER BY [\w, ]+))*?"
            r"(?: OPTIONS)? AS (?P<query>.+)"
        ),
        _version,
    ),
    (_pattern(r"DROP ALL ROW ACCESS POLICIES ON @name"), _drop_policies),
    (
        _pattern(
            r"(?P<verb>CREATE|DROP|ALTER) (?P<kind>SEARCH|VECTOR) INDEX "
            r"(?:IF (?:NOT )?EXISTS )?@index ON @name.*"
        ),
        _index,
    ),
)


async def define(tree: exp.Expr, context: StatementContext) -> hooks.StatementResult | None:
    """Run such a statement."""
    if isinstance(tree, exp.Grant | exp.Revoke):
        verb = "GRANT" if isinstance(tree, exp.Grant) else "REVOKE"
        return hooks.StatementResult(verb, verb)
    if not isinstance(tree, exp.Command | exp.Create):
        return None
    sql = tree.sql(dialect="bigquery")
    columns = [_COLUMN.fullmatch(each) for each in one_action_each(sql)]
    if columns and all(columns):
        return await _set_column_options([each for each in columns if each], context)
    for pattern, run in _DEFINITIONS:
        match = pattern.fullmatch(sql)
        if match is not None:
            return await run(match, context)
    return None
