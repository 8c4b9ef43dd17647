"""`CREATE MODEL` for imported and remote models, and `DROP MODEL`.

Sources: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-tensorflow,
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-remote-model-service
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from etlkit.errors import ConfigError
from etlkit.local.bigquery.extensions import api_errors, grammar
from etlkit.local.bigquery.extensions.hooks import StatementResult
from etlkit.local.ml import catalog
from etlkit.local.ml.catalog import REMOTE, VISION, Model
from etlkit.local.ml.runtimes import MODEL_TYPES

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext
    from etlkit.local.ml.tensors import Signature

    Name = tuple[str, str, str]

_OPTIONS: Final = ("model_type", "model_path", "kms_key_name")
_REMOTE_OPTIONS: Final = ("remote_service_type",)


async def create_model(tree: exp.Expr, context: StatementContext) -> StatementResult | None:
    """The statement hook of CREATE MODEL. The emulator handles those with a training query."""
    if not isinstance(tree, exp.Create) or tree.kind != "MODEL":
        return None
    options = grammar.options(tree)
    connection = grammar.connection(tree)
    if connection is None and "model_path" not in options and tree.expression is not None:
        return None
    name = grammar.name_of(tree.this, context.project)
    api_errors.require_dataset(context, name)
    there = catalog.get(name, context)
    if there is not None and tree.args.get("exists"):
        return StatementResult("CREATE_MODEL", "SKIP")
    if context.ctx.catalog.get_table(*name) is not None:
        raise api_errors.already_exists("Table", name)
    if there is not None and not tree.args.get("replace"):
        raise api_errors.already_exists("Model", name)
    if tree.expression is not None:
        raise api_errors.invalid("CREATE MODEL takes model_path or a query, not both")
    make = _check_remote if connection is not None else _check_imported
    kept = make(options, connection, context)
    if not context.is_dry:
        model, model_type, signature = kept
        catalog.put(name, model, model_type, signature, context)
    return StatementResult("CREATE_MODEL", "CREATE" if there is None else "REPLACE")


async def drop_model(tree: exp.Expr, context: StatementContext) -> StatementResult | None:
    """The statement hook of DROP MODEL."""
    if not isinstance(tree, exp.Drop) or tree.kind != "MODEL":
        return None
    name = grammar.name_of(tree.this, context.project)
    is_there = catalog.get(name, context) is not None
    if not is_there and not tree.args.get("exists"):
        raise api_errors.not_found("Model", name)
    if is_there and not context.is_dry:
        catalog.drop(name, context)
        catalog.remove_orphans(context)
    return StatementResult("DROP_MODEL", "DROP" if is_there else "SKIP")


Kept = tuple[Model, str, "Signature | None"]


def _check_imported(
    options: dict[str, Any], _connection: str | None, context: StatementContext
) -> Kept:
    """Check the options and copy the files."""
    _refuse_others(options, _OPTIONS)
    model_type = str(options.get("model_type") or "").upper()
    if model_type not in MODEL_TYPES:
        raise api_errors.invalid(
            f"Invalid value of option 'model_type': {options.get('model_type')!r}. With "
            f"model_path it is one of {', '.join(MODEL_TYPES)}"
        )
    path = options.get("model_path")
    if not isinstance(path, str) or not path:
        raise api_errors.invalid(
            f"The option 'model_path' is required for model_type {model_type}, as in "
            "model_path = 'gs://bucket/folder/*'"
        )
    files = catalog.files(context)
    try:
        version = files.freeze(model_type, path, context.buckets)
        signature = files.load(version).signature
    except ConfigError as exc:
        raise api_errors.invalid(f"Cannot import the model: {exc.message}") from exc
    if context.is_dry:
        files.remove(version)
    return Model(version=version), model_type, signature


def _check_remote(
    options: dict[str, Any], connection: str | None, _context: StatementContext
) -> Kept:
    service = str(options.get("remote_service_type") or "").upper()
    if service != VISION:
        raise api_errors.invalid(
            f"Invalid value of option 'remote_service_type': "
            f"{options.get('remote_service_type')!r}. The local BigQuery supports {VISION}"
        )
    _refuse_others(options, _REMOTE_OPTIONS)
    return Model(service=service, connection=connection or ""), REMOTE, None


def _refuse_others(options: dict[str, Any], known: tuple[str, ...]) -> None:
    unknown = [name for name in options if name not in known]
    if unknown:
        raise api_errors.invalid(
            f"Unknown option: {unknown[0]}; the options here are {', '.join(known)}"
        )
