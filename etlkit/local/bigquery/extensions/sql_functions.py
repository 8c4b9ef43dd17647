"""The registry of functions and procedures that BigQuery has and the emulator lacks.

Each is declared once, with its signature. There are four kinds:

- A scalar function and a table-valued function say how a call is rewritten to SQL that DuckDB runs.
- A remote function is created by users while the server runs. Its entry is declared and removed
  together with it. The emulator itself finds its calls, as those of SQL functions, whose signatures
  are in the emulator's catalog.
- A procedure runs in Python.

`PythonFunction` is a function that DuckDB calls, such as those in the rewritten SQL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors, hooks
from etlkit.local.bigquery.extensions.signatures import Signature, value_type

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext
    from etlkit.local.bigquery.extensions.subqueries import Scope

    Name = tuple[str, str, str]
    Rewrite = Callable[[Any, Scope], Awaitable[exp.Expr]]

# What follows a table in a FROM clause and has to stay on the relation that replaces it.
_TABLE_CLAUSES: Final = ("alias", "joins", "pivots", "sample", "laterals")


@dataclass(frozen=True)
class PythonFunction:
    """A Python function that DuckDB calls. NULL reaches it as NULL or None.

    Attributes:
        name: The name in DuckDB.
        call: Gets one `pa.ChunkedArray` per argument and returns an array with one value per row.
        result: The DuckDB type of the result.
        parameters: The DuckDB types of the arguments; None = any.
        has_side_effects: Whether DuckDB must call it exactly once per row that it needs.
        is_by_row: Whether `call` gets the Python values of one row and returns one value instead.
    """

    name: str
    call: Callable[..., Any]
    result: str
    parameters: Sequence[str] | None = None
    has_side_effects: bool = False
    is_by_row: bool = False

    def register(self, connection: Any) -> None:
        """Add the function to a DuckDB connection."""
        connection.create_function(
            self.name,
            api_errors.carry(self.call),
            None if self.parameters is None else list(self.parameters),
            self.result,
            type="native" if self.is_by_row else "arrow",
            null_handling="special",
            side_effects=self.has_side_effects,
        )


@dataclass(frozen=True)
class ScalarFunction:
    """A function of values, such as `ML.DECODE_IMAGE`.

    Attributes:
        signature: Its name is in upper case, with its namespace.
        rewrite: Gets the `exp.Dot` of a call and the scope, and returns the replacement. The calls in
            its arguments are rewritten already.
    """

    signature: Signature
    rewrite: Rewrite


@dataclass(frozen=True)
class TableFunction:
    """A function that returns a table, such as `ML.PREDICT`.

    Attributes:
        signature: Its name is in upper case, with its namespace.
        node: The class of the expression that the parser makes of a call. Its arguments are `this`,
            `expression` and `params_struct`.
        rewrite: Gets the `exp.Table` of a call and the scope, and returns the replacement.
    """

    signature: Signature
    node: type[exp.Expr]
    rewrite: Rewrite

    def check_call(self, call: exp.Expr) -> None:
        """Raise if the arguments of a call do not fit the signature."""
        given = [call.args.get(key) for key in ("this", "expression", "params_struct")]
        self.signature.check_call([each for each in given if each is not None])


@dataclass(frozen=True)
class RemoteFunction:
    """A remote function of a user.

    Attributes:
        name: Project, dataset and function.
        signature: Its types are those of the CREATE FUNCTION statement.
    """

    name: Name
    signature: Signature


@dataclass(frozen=True)
class Procedure:
    """A system procedure, such as `BQ.REFRESH_EXTERNAL_METADATA_CACHE`.

    Attributes:
        signature: Its name is in upper case, with its namespace.
        body: Gets the values of the arguments.
    """

    signature: Signature
    body: Callable[[list[Any], StatementContext], None]

    def call(self, values: list[Any], context: StatementContext) -> None:
        """Run the procedure if the values fit its signature."""
        self.signature.check_types([value_type(value) for value in values])
        self.body(values, context)


Declared = ScalarFunction | TableFunction | RemoteFunction | Procedure

_scalar: Final[dict[str, ScalarFunction]] = {}
_table_valued: Final[dict[type[exp.Expr], TableFunction]] = {}
_remote: Final[dict[Name, RemoteFunction]] = {}
_procedures: Final[dict[str, Procedure]] = {}
_python: Final[list[PythonFunction]] = []


def declare(*entries: Declared, python: Sequence[PythonFunction] = ()) -> None:
    """Add entries to the registry, with Python functions that DuckDB gets when it starts."""
    for entry in entries:
        match entry:
            case ScalarFunction():
                _scalar[entry.signature.name] = entry
            case TableFunction():
                _table_valued[entry.node] = entry
            case RemoteFunction():
                _remote[entry.name] = entry
            case Procedure():
                _procedures[entry.signature.name] = entry
    _python.extend(python)


def declared() -> list[Declared]:
    """All entries of the registry."""
    return [*_scalar.values(), *_table_valued.values(), *_remote.values(), *_procedures.values()]


def remove(name: Name) -> None:
    """Remove a remote function, if it is there."""
    _remote.pop(name, None)


def find_scalar(name: str) -> ScalarFunction | None:
    """Look up a scalar function, ignoring case. None = it is not declared."""
    return _scalar.get(name.upper())


def find_table_valued(name: str) -> TableFunction | None:
    """Look up a table-valued function, ignoring case. None = it is not declared."""
    found = (each for each in _table_valued.values() if each.signature.name == name.upper())
    return next(found, None)


def find_procedure(name: str) -> Procedure | None:
    """Look up a procedure, ignoring case. None = it is not declared."""
    return _procedures.get(name.upper())


def register(connection: Any) -> None:
    """The start hook: add all Python functions to DuckDB."""
    for function in _python:
        function.register(connection)


async def refuse_wrong_calls(
    tree: exp.Expr, context: StatementContext
) -> hooks.StatementResult | None:
    """The statement hook: refuse calls of remote functions with wrong arguments."""
    if _remote:
        for node in tree.find_all(exp.Dot, exp.Anonymous):
            name = routine_name(node, context.project)
            function = None if name is None else _remote.get(name)
            if function is not None:
                call = node.expression if isinstance(node, exp.Dot) else node
                function.signature.check_call(call.expressions)
    return None


async def rewrite(tree: exp.Expr, scope: Scope) -> bool:
    """The query hook: replace the calls of all scalar and table-valued functions.

    Table-valued functions come first: ML.PREDICT takes over the image functions in its query.
    """
    changed = False
    for table in hooks.innermost_first(tree, exp.Table):
        table_function = _table_valued.get(type(table.this))
        if table_function is not None:
            table_function.check_call(table.this)
            replacement = await table_function.rewrite(table, scope)
            for clause in _TABLE_CLAUSES:
                if table.args.get(clause):
                    replacement.set(clause, table.args[clause])
            table.replace(replacement)
            changed = True
    for call, function in _scalar_calls(hooks.innermost_first(tree, exp.Dot)):
        function.signature.check_call(call.expression.expressions)
        if call.parent is None:
            raise api_errors.invalid(f"{function.signature.name} is a function, not a statement")
        call.replace(await function.rewrite(call, scope))
        changed = True
    return changed


def is_involved(tree: exp.Expr, _context: StatementContext) -> bool:
    """Whether a tree calls a scalar or table-valued function."""
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
    return f"{node.this.name}.{node.expression.name}".upper()


def routine_name(node: exp.Expr, project: str) -> Name | None:
    """Project, dataset and name of the function that a node calls; None = it names no dataset."""
    if isinstance(node, exp.Dot) and not isinstance(node.expression, exp.Anonymous):
        return None
    parts: list[str] = []
    while isinstance(node, exp.Dot):
        parts[:0] = node.expression.name.split(".")
        node = node.this
    if not isinstance(node, exp.Identifier | exp.Anonymous):
        return None
    parts[:0] = node.name.split(".")
    if not 2 <= len(parts) <= 3:
        return None
    *projects, dataset, function = parts
    return (projects[0] if projects else project, dataset, function)


def _scalar_calls(
    nodes: Iterator[exp.Dot] | list[exp.Dot],
) -> Iterator[tuple[exp.Dot, ScalarFunction]]:
    for node in nodes:
        function = _scalar.get(function_name(node) or "")
        if function is not None:
            yield node, function
