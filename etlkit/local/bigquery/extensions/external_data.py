"""External tables over files: `CREATE EXTERNAL TABLE … OPTIONS(format='CSV', uris=[…])`.

Real BigQuery reads the files at each query. Here the table is a DuckDB view over the files that match.
The list of files is updated before each statement that names the table.

https://cloud.google.com/bigquery/docs/external-data-cloud-storage
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import duckdb
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot import exp

from etlkit.errors import ConfigError
from etlkit.local.bigquery.extensions import api_errors, external, grammar, hooks
from etlkit.local.bigquery.patches import csv_files
from etlkit.local.bigquery.patches.csv_files import CsvOptions
from etlkit.local.bigquery.patches.types import quote, stored_type, to_column, to_field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etlkit.local.bigquery.extensions.statement_context import StatementContext

    Name = tuple[str, str, str]

KIND: Final = "external_table"
_FORMATS: Final = ("CSV", "NEWLINE_DELIMITED_JSON", "PARQUET")
_CSV: Final = {
    "skip_leading_rows": "skipLeadingRows",
    "field_delimiter": "fieldDelimiter",
    "quote": "quote",
    "null_marker": "nullMarker",
    "allow_jagged_rows": "allowJaggedRows",
    "allow_quoted_newlines": "allowQuotedNewlines",
    "encoding": "encoding",
}
_OPTIONS: Final = {"uris", "format", "max_bad_records", "description", *_CSV}


async def create(tree: exp.Expr, context: StatementContext) -> hooks.StatementResult | None:
    """Handle `CREATE EXTERNAL TABLE` with a format."""
    if not external.is_create(tree):
        return None
    options = grammar.options(tree)
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise api_errors.invalid(
            f"The local BigQuery does not know the option {unknown[0]} of external tables; it knows "
            f"{', '.join(sorted(_OPTIONS))}, and object_metadata for object tables"
        )
    has_schema = isinstance(tree.this, exp.Schema)
    name = grammar.name_of(tree.this.this if has_schema else tree.this, context.project)
    columns = tree.this.expressions if has_schema else []
    fields = [
        to_field(column.name, duckdb.type(column.kind.sql(dialect="duckdb"))) for column in columns
    ]
    given, description = options.get("uris"), options.get("description")
    config: dict[str, Any] = {
        "sourceUris": [given] if isinstance(given, str) else given,
        "sourceFormat": options.get("format"),
        "csvOptions": {_CSV[key]: value for key, value in options.items() if key in _CSV},
        "maxBadRecords": options.get("max_bad_records") or 0,
    }
    api_errors.require_dataset(context, name)
    operation = external.operation(tree, name, context)
    if operation != "SKIP":
        make(
            name,
            config,
            fields,
            context,
            description=None if description is None else str(description),
        )
    return hooks.StatementResult("CREATE_EXTERNAL_TABLE", operation, table=name)


def make(
    name: Name,
    config: dict[str, Any],
    fields: list[dict[str, Any]],
    context: StatementContext,
    *,
    description: str | None = None,
) -> None:
    """Check the configuration and create the table. A dry run only checks.

    Args:
        name: Project, dataset and table.
        config: `externalDataConfiguration`, as in the REST resource.
        fields: The columns; [] = those that the files have.
        context: What the statement can use.
        description: The description of the table; None = it has none.
    """
    kind, uris = _checked(config)
    paths = _paths(uris, context)
    if not paths and not fields:
        raise api_errors.not_found_uri(uris[0], "matches no object")
    options = CsvOptions.of_load({**config.get("csvOptions", {}), **_bad_records(config)})
    if kind == "CSV" and not fields:
        detected = csv_files.detect(context.ctx.engine.connection, paths[0], options)
        fields, options = detected.fields, replace(options, skip=detected.skip)
    elif not fields:
        fields = _found_fields(kind, paths, context)
    if context.is_dry:
        return
    body = {
        "config": {**config, "sourceFormat": kind},
        "fields": fields,
        "skip": options.skip,
        "paths": paths,
    }
    external.register(name, fields, context, description=description)
    context.store.put(KIND, name, body)
    _make_view(name, body, context)


def _checked(config: dict[str, Any]) -> tuple[str, list[str]]:
    """Check the format and the addresses of a configuration, and return them."""
    kind = str(config.get("sourceFormat") or "").upper()
    kind = "NEWLINE_DELIMITED_JSON" if kind == "JSON" else kind
    if kind not in _FORMATS:
        raise api_errors.invalid(
            f"The local BigQuery has no external tables of format {kind or 'NULL'}; it has "
            f"{', '.join(_FORMATS)}"
        )
    uris = config.get("sourceUris")
    if not uris or not all(isinstance(uri, str) for uri in uris):
        raise api_errors.invalid("An external table needs uris, such as ['gs://BUCKET/*.csv']")
    return kind, list(uris)


def resource(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of the REST resource that only external tables have."""
    return {"externalDataConfiguration": body["config"]}


async def refresh(tree: exp.Expr, context: StatementContext) -> hooks.StatementResult | None:
    """Update the list of files of each external table that a statement reads."""
    for name in set(_named(tree, context)):
        body = context.store.get(KIND, name)
        if body is None:
            continue
        paths = _paths(body["config"]["sourceUris"], context)
        if paths != body["paths"]:
            body["paths"] = paths
            context.store.put(KIND, name, body)
            _make_view(name, body, context)
    return None


def _named(tree: exp.Expr, context: StatementContext) -> Iterator[Name]:
    """The external tables that a statement reads, directly or through views."""
    for table in tree.find_all(exp.Table):
        if not table.db or not isinstance(table.this, exp.Identifier):
            continue
        name = grammar.name_of(table, context.project)
        meta = context.ctx.catalog.get_table(*name)
        if meta is None:
            continue
        if meta.table_type == "EXTERNAL":
            yield name
        elif meta.table_type == "VIEW" and not isinstance(table.parent, exp.Create | exp.Schema):
            query = grammar.parse(meta.view_query or "")
            if query is not None:
                yield from _named(query, context)


def _paths(uris: list[str], context: StatementContext) -> list[str]:
    paths: dict[str, None] = {}
    for uri in uris:
        try:
            listed = context.buckets.list(uri)
        except ConfigError as error:
            raise api_errors.not_found_uri(uri, str(error)) from error
        paths |= {str(each.path): None for each in listed if "*" in uri or each.uri == uri}
    return [*paths]


def _bad_records(config: dict[str, Any]) -> dict[str, Any]:
    return {"maxBadRecords": config.get("maxBadRecords") or 0}


def _found_fields(kind: str, paths: list[str], context: StatementContext) -> list[dict[str, Any]]:
    """The columns that DuckDB finds in the files."""
    sql = f"SELECT * FROM {_reader(kind, paths)} LIMIT 0"
    described = context.ctx.engine.execute(sql).description
    return [
        to_field(name, duckdb.type(stored_type(duckdb.type(str(k))))) for name, k, *_ in described
    ]


def _make_view(name: Name, body: dict[str, Any], context: StatementContext) -> None:
    config, paths = body["config"], body["paths"]
    columns = [(field["name"], to_column(field)) for field in body["fields"]]
    typed = ", ".join(f"CAST({quote(each)} AS {kind}) AS {quote(each)}" for each, kind in columns)
    if not paths:
        nothing = ", ".join(f"CAST(NULL AS {kind}) AS {quote(each)}" for each, kind in columns)
        sql = f"SELECT {nothing} WHERE false"
    elif config["sourceFormat"] == "CSV":
        options = CsvOptions.of_load({**config.get("csvOptions", {}), **_bad_records(config)})
        sql = csv_files.rows_sql(paths, columns, replace(options, skip=body["skip"]))
    else:
        sql = f"SELECT {typed} FROM {_reader(config['sourceFormat'], paths)}"
    context.ctx.engine.execute(f"CREATE OR REPLACE VIEW {quoted_table_ref(*name)} AS {sql}")


def _reader(kind: str, paths: list[str]) -> str:
    files = ", ".join(csv_files.literal(path) for path in paths)
    if kind == "PARQUET":
        return f"read_parquet([{files}], union_by_name = true)"
    return f"read_json([{files}], format = 'newline_delimited', union_by_name = true)"
