"""The registry of SQL functions that BigQuery has and the emulator lacks.

A function is declared once: its name and signature, whether it is scalar or table-valued, how a call
of it is rewritten, and the Python functions that the rewritten call needs in DuckDB.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, hooks

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext
    from etlkit.local.bigquery.extensions.subqueries import Scope

    Rewrite = Callable[[Any, Scope], Awaitable[exp.Expr]]

# What follows a table in a FROM clause and has to stay on the relation that replaces it.
_TABLE_CLAUSES: Final = ("alias", "joins", "pivots", "sample", "laterals")


@dataclass(frozen=True)
class PythonFunction:
    """A Python function that DuckDB calls with Arrow columns. NULL reaches it as NULL.

    Attributes:
        name: The name in DuckDB.
        call: Gets one `pa.ChunkedArray` per argument and returns an array with one value per row.
        result: The DuckDB type of the result.
        parameters: The DuckDB types of the arguments; None = any.
        has_side_effects: Whether DuckDB must call it exactly once per row that it needs.
    """

    name: str
    call: Callable[..., Any]
    result: str
    parameters: Sequence[str] | None = None
    has_side_effects: bool = False

    def register(self, connection: Any) -> None:
        """Add the function to a DuckDB connection."""
        connection.create_function(
            self.name,
            api_errors.carry(self.call),
            None if self.parameters is None else list(self.parameters),
            self.result,
            type="arrow",
            null_handling="special",
            side_effects=self.has_side_effects,
        )


@dataclass(frozen=True)
class ScalarFunction:
    """A function of values, such as `ML.DECODE_IMAGE`.

    Attributes:
        name: In upper case, with its namespace.
        signature: The types of the arguments, for messages.
        num_arguments: The number of arguments that a call must have.
        rewrite: Gets the `exp.Dot` of a call and the scope, and returns the replacement. The calls in
            its arguments are rewritten already.
    """

    name: str
    signature: str
    num_arguments: int
    rewrite: Rewrite

    def check_arguments(self, arguments: Sequence[exp.Expr]) -> None:
        """Raise if a call has a wrong number of arguments."""
        if len(arguments) != self.num_arguments:
            raise api_errors.invalid(
                f"Number of arguments does not match for function {self.name}: {len(arguments)}. "
                f"Supported signature: {self.name}({self.signature})"
            )


@dataclass(frozen=True)
class TableFunction:
    """A function that returns a table, such as `ML.PREDICT`.

    Attributes:
        name: In upper case, with its namespace.
        node: The class of the expression that the parser makes of a call.
        rewrite: Gets the `exp.Table` of a call and the scope, and returns the replacement.
    """

    name: str
    node: type[exp.Expr]
    rewrite: Rewrite


_scalar: Final[dict[str, ScalarFunction]] = {}
_table_valued: Final[dict[type[exp.Expr], TableFunction]] = {}
_python: Final[list[PythonFunction]] = []


def declare(
    *functions: ScalarFunction | TableFunction, python: Sequence[PythonFunction] = ()
) -> None:
    """Add functions to the registry, with the Python functions that their rewritten calls need."""
    for function in functions:
        if isinstance(function, ScalarFunction):
            _scalar[function.name] = function
        else:
            _table_valued[function.node] = function
    _python.extend(python)


def register(connection: Any) -> None:
    """The start hook: add all Python functions to DuckDB."""
    for function in _python:
        function.register(connection)


async def rewrite(tree: exp.Expr, scope: Scope) -> bool:
    """The query hook: replace the calls of all declared functions.

    Table-valued functions come first: ML.PREDICT takes over the image functions in its query.
    """
    changed = False
    for table in hooks.innermost_first(tree, exp.Table):
        table_function = _table_valued.get(type(table.this))
        if table_function is not None:
            replacement = await table_function.rewrite(table, scope)
            for clause in _TABLE_CLAUSES:
                if table.args.get(clause):
                    replacement.set(clause, table.args[clause])
            table.replace(replacement)
            changed = True
    for call, function in _scalar_calls(hooks.innermost_first(tree, exp.Dot)):
        function.check_arguments(call.expression.expressions)
        if call.parent is None:
            raise api_errors.invalid(f"{function.name} is a function, not a statement")
        call.replace(await function.rewrite(call, scope))
        changed = True
    return changed


def is_involved(tree: exp.Expr, _context: StatementContext) -> bool:
    """Whether a tree calls a declared function."""
    has_table_function = any(
        type(table.this) in _table_valued for table in tree.find_all(exp.Table)
    )
    return has_table_function or any(_scalar_calls(tree.find_all(exp.Dot)))


def function_name(node: exp.Expr | None) -> str | None:
    """`ML.DECODE_IMAGE` for `ml.decode_image(…)`; None = not a call with a namespace."""
    if not isinstance(node, exp.Dot) or not isinstance(node.expression, exp.Anonymous):
        return None
    if not isinstance(node.this, exp.Identifier):
        return None
    return f"{node.this.name}.{node.expression.this}".upper()


def _scalar_calls(
    nodes: Iterator[exp.Dot] | list[exp.Dot],
) -> Iterator[tuple[exp.Dot, ScalarFunction]]:
    for node in nodes:
        function = _scalar.get(function_name(node) or "")
        if function is not None:
            yield node, function
