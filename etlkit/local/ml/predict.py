"""`ML.PREDICT(MODEL m, TABLE t | (query))`, anywhere that a table is allowed.

It is rewritten to a sub-query that calls a DuckDB function made for this one statement. So it works in
`WITH`, joins, views and DML, and DuckDB reads only the rows and columns that the query needs.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-predict
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa
from sqlglot import exp

from etlkit.errors import ConfigError
from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.extensions.signatures import (
    MODEL,
    TABLE,
    Argument,
    ResultTable,
)
from etlkit.local.bigquery.extensions.signatures import Signature as FunctionSignature
from etlkit.local.bigquery.extensions.sql_functions import PythonFunction, TableFunction, declare
from etlkit.local.bigquery.patches.types import quote
from etlkit.local.ml import arrow_columns
from etlkit.local.ml.arrow_columns import BYTES, FILE, NUMBERS, STRUCT
from etlkit.local.ml.catalog import find_model, load_model
from etlkit.local.ml.image_expressions import with_source
from etlkit.local.ml.image_functions import DECODE_OBJECT
from etlkit.local.ml.late_decoding import DeferredImages, defer_decoding
from etlkit.local.ml.predictor import ModelInput, Predictor, make_function

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from etlkit.local.bigquery.extensions.subqueries import Scope
    from etlkit.local.ml.tensors import Signature, Tensor

_ANSWER: Final = "_etlkit_answer"
_ROWS: Final = "_etlkit_rows"
_URI: Final = "uri"
_SETTINGS: Final = "STRUCT<threshold FLOAT64, keep_original_columns BOOL, trial_id INT64>"
_numbers: Final = itertools.count(1)


def declare_function() -> None:
    """Declare ML.PREDICT."""
    signature = FunctionSignature(
        "ML.PREDICT",
        (
            Argument("model", (MODEL,)),
            Argument("table", (TABLE,)),
            # Imported models ignore all of these.
            Argument("settings", (_SETTINGS,), is_optional=True),
        ),
        ResultTable(has_model_columns=True, has_input_columns=True),
    )
    declare(TableFunction(signature, exp.Predict, _rewrite))


def _use_one_thread(scope: Scope) -> None:
    """Limit DuckDB to one thread until the statement ends.

    While one thread is in our function, the others poll for work and take up to half a core from the
    model.
    """
    connection = scope.context.ctx.engine.connection
    (threads,) = connection.execute("SELECT current_setting('threads')").fetchone()
    connection.execute("SET threads TO 1")
    scope.defer(lambda: connection.execute(f"SET threads TO {threads}"))


async def _rewrite(table: exp.Table, scope: Scope) -> exp.Subquery:
    """Replace a call by the sub-query that computes it."""
    _use_one_thread(scope)
    node = table.this
    name, model = find_model(node.this, scope.context)
    runtime = load_model(name, model, scope.context)
    # A view after TABLE has become a sub-query that has the name of the view as its alias.
    node.expression.set("alias", None)
    query = scope.self_contained(node.expression)
    tensors = runtime.signature.inputs
    deferred = {
        tensor.name: images
        for tensor in tensors
        if tensor.is_image
        and (images := defer_decoding(query, tensor.name, scope.context)) is not None
    }
    schema = await _schema(query, scope)
    columns = [_input_column(each, runtime.signature, schema, deferred) for each in tensors]
    has_uri = _URI in schema.names and pa.types.is_string(schema.field(_URI).type)
    inputs = [each.model_input for each in columns]
    predictor = Predictor(runtime, inputs, scope.context.buckets.root, has_uri=has_uri)
    function = _register(predictor, runtime.signature, scope)
    arguments = [*(each.name for each in columns), *([_URI] if has_uri else [])]
    rows = query if deferred else node.expression
    return _select(
        rows, exp.func(function, *map(_column, arguments)), runtime.signature, schema, columns
    )


@dataclass(frozen=True)
class _InputColumn:
    """The column that has the values of one input of the model.

    Attributes:
        name: The name of the column.
        model_input: How the predictor reads the column.
        deferred: What was moved out of the sub-query; None = nothing.
    """

    name: str
    model_input: ModelInput
    deferred: DeferredImages | None


async def _schema(query: exp.Query, scope: Scope) -> pa.Schema:
    """The columns of a sub-query. No row is read."""
    rows = exp.select("*").from_(query.copy().subquery(_ROWS)).limit(0)
    reader = await scope.read(rows)
    return reader.read_all().schema


def _input_column(
    tensor: Tensor, signature: Signature, schema: pa.Schema, deferred: Mapping[str, DeferredImages]
) -> _InputColumn:
    """Find the column of an input and check its type.

    Raises:
        InvalidQueryError: The column is missing or has a wrong type.
    """
    field = next((each for each in schema if each.name.casefold() == tensor.name.casefold()), None)
    if field is None:
        raise api_errors.invalid(
            f"Invalid table-valued function ML.PREDICT: column '{tensor.name}' is not found in the "
            f"input. The model wants {signature.describe_inputs()}; the input has the columns "
            f"{', '.join(schema.names)}"
        )
    images = deferred.get(tensor.name)
    try:
        if images is None:
            arrow_columns.check_type(tensor, field.type)
            kind = STRUCT if arrow_columns.is_image_struct(field.type) else NUMBERS
            return _InputColumn(field.name, ModelInput(tensor, kind), None)
        kind = FILE if images.is_path else BYTES if images.expression.decodes else STRUCT
        arrow_columns.check_source(tensor, field.type, kind)
    except ConfigError as exc:
        raise api_errors.invalid(exc.message) from exc
    model_input = ModelInput(tensor, kind, images.expression.operations)
    return _InputColumn(field.name, model_input, images)


def _register(predictor: Predictor, signature: Signature, scope: Scope) -> str:
    """Register the function with DuckDB until the statement ends."""
    name = f"etlkit_ml_predict_{next(_numbers)}"
    outputs = ", ".join(f"{quote(each.name)} {each.duckdb_type}" for each in signature.outputs)
    connection = scope.context.ctx.engine.connection
    PythonFunction(
        name,
        make_function(predictor, api_errors.invalid),
        f"STRUCT({outputs})",
        # It has none, but this keeps DuckDB from repeating the call and from moving filters before it.
        has_side_effects=True,
    ).register(connection)
    scope.defer(lambda: _forget(connection, name))
    return name


def _forget(connection: Any, name: str) -> None:
    # In a failed transaction nothing can be removed; the rollback removes the function.
    with contextlib.suppress(duckdb.Error):
        connection.remove_function(name)


def _select(
    rows: exp.Expr,
    call: exp.Expr,
    signature: Signature,
    schema: pa.Schema,
    columns: Sequence[_InputColumn],
) -> exp.Subquery:
    """The outputs of the model, then the columns of the input."""
    source = rows.copy()
    if isinstance(source, exp.Table):
        source.set("alias", exp.TableAlias(this=exp.to_identifier(_ROWS)))
    else:
        query: Any = source.unnest() if isinstance(source, exp.Subquery) else source
        source = query.subquery(_ROWS)
    answered = exp.select("*", exp.alias_(call, _ANSWER)).from_(source)
    outputs = [exp.alias_(_output(each), each.name, quoted=True) for each in signature.outputs]
    hidden = {each.name.casefold() for each in signature.outputs}
    twice = [name for name in schema.names if name.casefold() in hidden]
    pictures = [
        exp.alias_(_decoded(each.name, each.deferred), each.name, quoted=True)
        for each in columns
        if each.deferred is not None and each.name not in twice
    ]
    star = exp.Star(except_=[exp.to_identifier(name, quoted=True) for name in (_ANSWER, *twice)])
    if pictures:
        star.set("replace", pictures)
    return exp.select(*outputs, star).from_(answered.subquery(_ROWS)).subquery()


def _output(tensor: Tensor) -> exp.Expr:
    """One output of the model, taken from the answer and cast to its BigQuery type."""
    value = exp.func("STRUCT_EXTRACT", _column(_ANSWER), exp.Literal.string(tensor.name))
    if not tensor.is_single:
        return value
    return exp.cast(value, exp.DataType.build(tensor.bigquery_type, dialect="bigquery"))


def _decoded(name: str, deferred: DeferredImages) -> exp.Expr:
    """The image column itself. DuckDB computes it only if the query reads it."""
    column = _column(name)
    if not deferred.is_path:
        return with_source(deferred.expression, column)
    return with_source(deferred.expression, column, decoded=exp.func(DECODE_OBJECT, column))


def _column(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))
