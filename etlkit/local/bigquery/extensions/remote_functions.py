"""`CREATE FUNCTION … REMOTE WITH CONNECTION … OPTIONS(endpoint=…)` and its calls.

Real BigQuery calls an HTTP endpoint with batches of rows. Here DuckDB calls a Python function with its
vectors of rows, wherever the call is in a query, and that function makes the same requests, but only to
endpoints on this machine.
"""

from __future__ import annotations

import inspect
import itertools
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from bqemulator.catalog.etag import generate_etag
from bqemulator.catalog.models import RoutineArgument, RoutineMeta
from bqemulator.udf.naming import qualified_routine_name
from bqemulator.udf.types import parse_bq_type_string, render_duckdb_type
from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, grammar, hooks, sql_functions
from etlkit.local.bigquery.extensions.catalog_store import CatalogStore
from etlkit.local.bigquery.extensions.remote_calls import Endpoint, is_loopback
from etlkit.local.bigquery.extensions.remote_values import SUPPORTED, decode, encode
from etlkit.local.bigquery.extensions.signatures import Argument, Signature
from etlkit.local.bigquery.extensions.sql_functions import PythonFunction, RemoteFunction
from etlkit.local.bigquery.patches.types import BIGNUMERIC

if TYPE_CHECKING:
    from collections.abc import Callable

    from etlkit.local.bigquery.extensions.statement_context import StatementContext

    Name = tuple[str, str, str]

KIND: Final = "remote_function"
_numbers: Final = itertools.count(1)
_OPTIONS: Final = ("endpoint", "user_defined_context", "max_batching_rows", "description")


def is_remote(routine: RoutineMeta) -> bool:
    """Whether a routine of the catalog is a remote function: only these have an empty body."""
    return routine.routine_type == "SCALAR_FUNCTION" and not routine.definition_body


class RemoteRuntime:
    """Creates remote functions in DuckDB. It is one of the emulator's runtimes of routines.

    Attributes:
        known: The checked options of each function, which its REST resource shows.
    """

    def __init__(self) -> None:
        self.known: dict[Name, dict[str, Any]] = {}

    def materialize(self, routine: RoutineMeta, engine: Any) -> None:
        """Register a function. It replaces one of the same name."""
        name = _name(routine)
        body = CatalogStore(engine.connection).get(KIND, name)
        if body is None:
            raise api_errors.not_found("Routine", name)
        returns: Any = routine.return_type
        is_json = returns["typeKind"] == "JSON"
        result = "VARCHAR" if is_json else _column_type(returns)
        endpoint = Endpoint(body["endpoint"], body["context"], body["max_rows"])
        kinds = [each.data_type["typeKind"] for each in routine.arguments if each.data_type]
        caller = _caller(endpoint, kinds, returns["typeKind"], _arrow_type(result, engine))
        # Each version has its own name and stays until the server ends: DuckDB may still hold a
        # function that was removed, and calls freed memory when its name is used again.
        raw = f"etlkit_remote_{next(_numbers)}"
        PythonFunction(
            raw,
            caller,
            result,
            [_column_type(each.data_type) for each in routine.arguments],
            has_side_effects=True,
            is_by_row=not kinds,
        ).register(engine.connection)
        names = ", ".join(f"argument_{number}" for number in range(len(kinds)))
        call = _copied(f"{raw}({names})", returns["typeKind"])
        flat = qualified_routine_name(routine)
        engine.execute(f"CREATE OR REPLACE MACRO {flat}({names}) AS ({call})")
        self.known[name] = body
        sql_functions.declare(_entry(name, routine))

    def deregister(self, routine: RoutineMeta, engine: Any) -> None:
        """Remove a function."""
        self.known.pop(_name(routine), None)
        sql_functions.remove(_name(routine))
        engine.execute(f"DROP MACRO IF EXISTS {qualified_routine_name(routine)}")
        CatalogStore(engine.connection).drop(KIND, _name(routine))

    async def create(
        self, tree: exp.Expr, context: StatementContext
    ) -> hooks.StatementResult | None:
        """`CREATE FUNCTION … REMOTE WITH CONNECTION`."""
        if not isinstance(tree, exp.Create) or tree.kind != "FUNCTION":
            return None
        properties = tree.args.get("properties")
        if properties is None or not properties.find(exp.RemoteWithConnectionModelProperty):
            return None
        if properties.find(exp.TemporaryProperty):
            raise api_errors.invalid("A remote function cannot be TEMPORARY")
        name = grammar.name_of(tree.this.this, context.project)
        api_errors.require_dataset(context, name)
        returns = properties.find(exp.ReturnsProperty)
        if returns is None:
            raise api_errors.invalid("A remote function must have a RETURNS clause")
        arguments = [(column.name, _type(column.kind)) for column in tree.this.expressions]
        body = check_options(grammar.options(tree), grammar.connection(tree))
        existing = context.ctx.catalog.get_routine(*name)
        if existing is not None and tree.args.get("exists"):
            return hooks.StatementResult("CREATE_FUNCTION", "SKIP", routine=name)
        if existing is not None and not tree.args.get("replace"):
            raise api_errors.already_exists("Routine", name)
        if not context.is_dry:
            self.create_or_replace(name, arguments, _type(returns.this), body, context)
        operation = "CREATE" if existing is None else "REPLACE"
        return hooks.StatementResult("CREATE_FUNCTION", operation, routine=name)

    def create_or_replace(
        self,
        name: Name,
        arguments: list[tuple[str, dict[str, Any]]],
        returns: dict[str, Any],
        body: dict[str, Any],
        context: StatementContext,
    ) -> RoutineMeta:
        """Create or replace a remote function."""
        now = context.ctx.clock.now()
        routine = RoutineMeta(
            project_id=name[0],
            dataset_id=name[1],
            routine_id=name[2],
            routine_type="SCALAR_FUNCTION",
            definition_body="",
            arguments=tuple(RoutineArgument(name=each, data_type=kind) for each, kind in arguments),
            return_type=returns,
            description=body["description"],
            creation_time=now,
            last_modified_time=now,
            etag=generate_etag(*name, str(now)),
        )
        catalog = context.ctx.catalog
        existing = catalog.get_routine(*name)
        if existing is not None:
            context.ctx.udf_registry.deregister(existing, context.ctx.engine)
        context.store.put(KIND, name, body)
        (catalog.create_routine if existing is None else catalog.update_routine)(routine)
        context.ctx.udf_registry.materialize(routine, context.ctx.engine)
        return routine


def _entry(name: Name, routine: RoutineMeta) -> RemoteFunction:
    """The entry in the registry of functions."""
    arguments = [
        Argument(each.name or "", (each.data_type["typeKind"],))
        for each in routine.arguments
        if each.data_type
    ]
    returns: Any = routine.return_type
    signature = Signature(f"{name[1]}.{name[2]}", tuple(arguments), returns["typeKind"])
    return RemoteFunction(name, signature)


def _caller(
    endpoint: Endpoint, kinds: list[str], returns: str, arrow: pa.DataType
) -> Callable[..., pa.Array]:
    """The function that DuckDB calls with one vector per argument, or per row if it has none."""

    def call_without_arguments() -> Any:
        return replies_to([[]])[0]

    def call(*columns: Any) -> pa.Array:
        encoded = [
            [encode(value, kind) for value in column.to_pylist()]
            for column, kind in zip(columns, kinds, strict=True)
        ]
        rows = [list(row) for row in zip(*encoded, strict=True)]
        return pa.array(replies_to(rows), arrow)

    def replies_to(rows: list[list[Any]]) -> list[Any]:
        try:
            return [decode(reply, returns) for reply in endpoint.call(rows)]
        except ValueError as error:
            raise api_errors.invalid(f"{error}, from endpoint {endpoint.url}") from error

    if not kinds:
        return call_without_arguments

    # DuckDB counts the parameters of a function.
    names = [f"argument_{number}" for number in range(len(kinds))]
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def _copied(call: str, kind: str) -> str:
    """A call whose result DuckDB copies: it does not keep texts of Arrow alive in CASE or COALESCE."""
    if kind == "JSON":  # DuckDB accepts no JSON from Arrow
        return f"CAST({call} || '' AS JSON)"
    empty = {"STRING": "''", "BYTES": "''::BLOB"}.get(kind)
    return f"{call} || {empty}" if empty else call


def _column_type(kind: Any) -> str:
    """The DuckDB type of an argument or a result."""
    return BIGNUMERIC if kind["typeKind"] == "BIGNUMERIC" else render_duckdb_type(kind)


def _arrow_type(kind: Any, engine: Any) -> pa.DataType:
    """The Arrow type of a DuckDB type."""
    described = engine.execute(f"SELECT CAST(NULL AS {kind}) AS x LIMIT 0")
    return described.to_arrow_table().schema.field("x").type


def _type(kind: Any) -> dict[str, Any]:
    return check_type(parse_bq_type_string(kind.sql(dialect="bigquery")))


def check_type(kind: dict[str, Any]) -> dict[str, Any]:
    """Raise if remote functions do not support a type of the REST API; otherwise return it."""
    if kind.get("typeKind") not in SUPPORTED:
        raise api_errors.invalid(
            f"A remote function does not support type {kind.get('typeKind')}; it has "
            f"{', '.join(SUPPORTED)} (send arrays and structs as JSON)"
        )
    return kind


def check_options(options: dict[str, Any], connection: str | None) -> dict[str, Any]:
    """Check the options of a remote function, and return them in the form in which they are kept."""
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        raise api_errors.invalid(
            f"Unknown option: {unknown[0]}; a remote function has {', '.join(_OPTIONS)}"
        )
    endpoint = options.get("endpoint")
    if not isinstance(endpoint, str):
        raise api_errors.invalid("A remote function needs option endpoint, a URL")
    if not is_loopback(endpoint):
        raise api_errors.invalid(
            f"Invalid endpoint {endpoint}: the local BigQuery calls only endpoints on this machine, "
            "such as http://127.0.0.1:8080/path"
        )
    context = options.get("user_defined_context") or []
    pairs = [pair for pair in context if isinstance(pair, tuple) and len(pair) == 2]
    if len(pairs) < len(context) or not all(isinstance(each, str) for p in pairs for each in p):
        raise api_errors.invalid('Option user_defined_context is a list such as [("key", "value")]')
    max_rows = options.get("max_batching_rows") or 0
    if not isinstance(max_rows, int) or max_rows < 0:
        raise api_errors.invalid("Option max_batching_rows is a positive number of rows")
    return {
        "endpoint": endpoint,
        "context": dict(pairs),
        "max_rows": max_rows,
        "connection": connection,
        "description": options.get("description"),
    }


def _name(routine: RoutineMeta) -> Name:
    return (routine.project_id, routine.dataset_id, routine.routine_id)
