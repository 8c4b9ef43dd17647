"""`LOAD DATA INTO dataset.table FROM FILES (…)`.

Real BigQuery: the statement is a load job in SQL. A table that does not exist gets the declared
columns, or those that autodetect finds. The emulator: it was a syntax error.

What remains: `TEMP TABLE`, `PARTITIONS`, `WITH PARTITION COLUMNS`, and partitioning or clustering of a
new table are refused.

https://cloud.google.com/bigquery/docs/reference/standard-sql/load-statements
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import duckdb
from bqemulator.jobs import executor
from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, grammar, hooks
from etlkit.local.bigquery.patches.types import to_field

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext

_OPTIONS: Final = {
    "allow_jagged_rows": "allowJaggedRows",
    "allow_quoted_newlines": "allowQuotedNewlines",
    "encoding": "encoding",
    "field_delimiter": "fieldDelimiter",
    "ignore_unknown_values": "ignoreUnknownValues",
    "max_bad_records": "maxBadRecords",
    "null_marker": "nullMarker",
    "quote": "quote",
    "skip_leading_rows": "skipLeadingRows",
}
"""The fields of `configuration.load` by the names of options."""


async def load(tree: exp.Expr, context: StatementContext) -> hooks.StatementResult | None:
    """Handle LOAD DATA."""
    if isinstance(tree, exp.Command) and tree.name.upper() == "LOAD":
        raise api_errors.invalid("The local BigQuery does not know this form of LOAD DATA")
    if not isinstance(tree, exp.LoadData):
        return None
    has_schema = isinstance(tree.this, exp.Schema)
    name = grammar.name_of(tree.this.this if has_schema else tree.this, context.project)
    api_errors.require_dataset(context, name)
    config = _config(tree, name)
    exists = context.ctx.catalog.get_table(*name) is not None
    if has_schema:
        columns = tree.this.expressions
        kinds = [duckdb.type(column.kind.sql(dialect="duckdb")) for column in columns]
        fields = [to_field(each.name, kind) for each, kind in zip(columns, kinds, strict=True)]
        config["schema"] = {"fields": fields}
    elif not exists or tree.args.get("overwrite"):
        config["autodetect"] = True
    if not context.is_dry:
        job_id = f"load_data_{context.project}"
        await executor.execute_load_job(context.project, job_id, {"load": config}, context.ctx)
    return hooks.StatementResult("LOAD_DATA", table=None)


def _config(tree: exp.LoadData, name: tuple[str, str, str]) -> dict[str, Any]:
    if tree.args.get("temp"):
        raise api_errors.invalid("The local BigQuery cannot load into temporary tables")
    files = exp.Create(properties=tree.args.get("files"))
    options = grammar.options(files)
    uris = options.pop("uris", None)
    kind = str(options.pop("format", "") or "").upper()
    if not kind or not isinstance(uris, list):
        raise api_errors.invalid("LOAD DATA needs the options format and uris")
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise api_errors.invalid(
            f"The local BigQuery does not know the option {unknown[0]} of LOAD DATA; it knows "
            f"format, uris, {', '.join(_OPTIONS)}"
        )
    project, dataset, table = name
    return {
        "destinationTable": {"projectId": project, "datasetId": dataset, "tableId": table},
        "sourceFormat": "NEWLINE_DELIMITED_JSON" if kind in {"JSON", "JSONL"} else kind,
        "sourceUris": uris,
        "writeDisposition": "WRITE_TRUNCATE" if tree.args.get("overwrite") else "WRITE_APPEND",
        **{_OPTIONS[key]: value for key, value in options.items()},
    }
