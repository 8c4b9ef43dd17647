"""`ML.PREDICT(MODEL m, TABLE t | (query))`, wherever a table may stand.

It becomes a sub-query that calls a function made for this one statement: so it works in WITHs, joins,
views and DML alike, and DuckDB computes neither rows that are filtered out nor columns nobody reads.

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
from etlkit.local.bigquery.extensions import api_errors, hooks
from etlkit.local.bigquery.patches.types import quote
from etlkit.local.ml import arrays
from etlkit.local.ml.arrays import BYTES, FILE, NUMBERS, STRUCT
from etlkit.local.ml.catalog import find_model, load_model
from etlkit.local.ml.functions import DECODE_OBJECT
from etlkit.local.ml.lineage import Origin, pull_out
from etlkit.local.ml.predictor import Feed, Predictor, make_function
from etlkit.local.ml.steps import around

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from etlkit.local.bigquery.extensions.statement_context import Place
    from etlkit.local.bigquery.extensions.subqueries import Scope
    from etlkit.local.ml.tensors import Signature, Tensor

_ANSWER: Final = "_etlkit_answer"
_ROWS: Final = "_etlkit_rows"
_URI: Final = "uri"
_numbers: Final = itertools.count(1)


async def rewrite(tree: exp.Expr, scope: Scope) -> bool:
    """The query hook: replace each ML.PREDICT by what computes it."""
    found = [
        table
        for table in hooks.innermost_first(tree, exp.Table)
        if isinstance(table.this, exp.Predict)
    ]
    if found:
        _work_alone(scope)
    for table in found:
        replacement = await _call(table, scope)
        for key in ("alias", "joins", "pivots", "sample", "laterals"):
            if table.args.get(key):
                replacement.set(key, table.args[key])
        table.replace(replacement)
    return bool(found)


def is_involved(tree: exp.Expr, _place: Place) -> bool:
    """Whether a tree has an ML.PREDICT."""
    return tree.find(exp.Predict) is not None


def _work_alone(scope: Scope) -> None:
    """Let DuckDB have one thread until the statement ends.

    While one of its threads is in our function another one polls for work, and takes up to half a core
    from the model.
    """
    connection = scope.place.ctx.engine.connection
    (threads,) = connection.execute("SELECT current_setting('threads')").fetchone()
    connection.execute("SET threads TO 1")
    scope.defer(lambda: connection.execute(f"SET threads TO {threads}"))


async def _call(table: exp.Table, scope: Scope) -> exp.Subquery:
    node = table.this
    name, model = find_model(node.this, scope.place)
    runtime = load_model(name, model, scope.place)
    # A view after TABLE has been expanded to a sub-query with its name.
    node.expression.set("alias", None)
    query = scope.self_contained(node.expression)
    origins = {
        tensor.name: origin
        for tensor in runtime.signature.inputs
        if tensor.is_image and (origin := pull_out(query, tensor.name, scope.place)) is not None
    }
    schema = await _schema(query, scope)
    inputs = [
        _input(tensor, runtime.signature, schema, origins) for tensor in runtime.signature.inputs
    ]
    has_uri = _URI in schema.names and pa.types.is_string(schema.field(_URI).type)
    feeds = [each.feed for each in inputs]
    predictor = Predictor(runtime, feeds, scope.place.buckets.root, has_uri=has_uri)
    function = _register(predictor, runtime.signature, scope)
    arguments = [*(each.column for each in inputs), *([_URI] if has_uri else [])]
    rows = query if origins else node.expression
    return _select(
        rows, exp.func(function, *map(_column, arguments)), runtime.signature, schema, inputs
    )


@dataclass(frozen=True)
class _Input:
    """An input of the model, and the column that has its values.

    Attributes:
        feed: How the values are got out of the column.
        column: Its name.
        origin: What was taken out of the sub-query; None = nothing.
    """

    feed: Feed
    column: str
    origin: Origin | None


async def _schema(query: exp.Query, scope: Scope) -> pa.Schema:
    """The columns of a sub-query; no row is read."""
    rows = exp.select("*").from_(query.copy().subquery(_ROWS)).limit(0)
    reader = await scope.read(rows)
    return reader.read_all().schema


def _input(
    tensor: Tensor, signature: Signature, schema: pa.Schema, origins: Mapping[str, Origin]
) -> _Input:
    """Find the column of an input and see whether it fits.

    Raises:
        InvalidQueryError: There is none, or it is of a wrong type.
    """
    field = next((each for each in schema if each.name.casefold() == tensor.name.casefold()), None)
    if field is None:
        raise api_errors.invalid(
            f"Invalid table-valued function ML.PREDICT: column '{tensor.name}' is not found in the "
            f"input. The model wants {signature.wanted()}; the input has the columns "
            f"{', '.join(schema.names)}"
        )
    origin = origins.get(tensor.name)
    try:
        if origin is None:
            arrays.check_type(tensor, field.type)
            kind = STRUCT if arrays.is_image_struct(field.type) else NUMBERS
            return _Input(Feed(tensor, kind), field.name, None)
        kind = FILE if origin.is_path else BYTES if origin.chain.decodes else STRUCT
        arrays.check_source(tensor, field.type, kind)
    except ConfigError as exc:
        raise api_errors.invalid(exc.message) from exc
    return _Input(Feed(tensor, kind, origin.chain.steps), field.name, origin)


def _register(predictor: Predictor, signature: Signature, scope: Scope) -> str:
    """Make the function known to DuckDB until the statement ends."""
    name = f"etlkit_ml_predict_{next(_numbers)}"
    outputs = ", ".join(f"{quote(each.name)} {each.duckdb_type}" for each in signature.outputs)
    connection = scope.place.ctx.engine.connection
    connection.create_function(
        name,
        api_errors.carry(make_function(predictor, api_errors.invalid)),
        None,
        f"STRUCT({outputs})",
        type="arrow",
        null_handling="special",
        # Not that it has any: but so DuckDB neither repeats the call nor moves filters before it.
        side_effects=True,
    )
    scope.defer(lambda: _forget(connection, name))
    return name


def _forget(connection: Any, name: str) -> None:
    # In a transaction that has failed nothing can be removed; it goes with the transaction.
    with contextlib.suppress(duckdb.Error):
        connection.remove_function(name)


def _select(
    rows: exp.Expr,
    call: exp.Expr,
    signature: Signature,
    schema: pa.Schema,
    inputs: Sequence[_Input],
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
        exp.alias_(_again(each), each.column, quoted=True)
        for each in inputs
        if each.origin is not None and each.column not in twice
    ]
    star = exp.Star(except_=[exp.to_identifier(name, quoted=True) for name in (_ANSWER, *twice)])
    if pictures:
        star.set("replace", pictures)
    return exp.select(*outputs, star).from_(answered.subquery(_ROWS)).subquery()


def _output(tensor: Tensor) -> exp.Expr:
    """One output of the model out of the answer, in its type of BigQuery."""
    value = exp.func("STRUCT_EXTRACT", _column(_ANSWER), exp.Literal.string(tensor.name))
    if not tensor.is_single:
        return value
    return exp.cast(value, exp.DataType.build(tensor.bigquery_type, dialect="bigquery"))


def _again(each: _Input) -> exp.Expr:
    """The picture that was taken out, for those who read the column; nobody else pays for it."""
    assert each.origin is not None  # noqa: S101 - the caller has asked
    column = _column(each.column)
    if not each.origin.is_path:
        return around(each.origin.chain, column)
    return around(each.origin.chain, column, decoded=exp.func(DECODE_OBJECT, column))


def _column(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))
