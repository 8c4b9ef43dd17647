"""Call the hooks for the statements of scripts, of EXECUTE IMMEDIATE and of procedures."""

from __future__ import annotations

import dataclasses
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import bqemulator.scripting.interpreter as plain
from bqemulator.domain.errors import DomainError, InvalidQueryError
from bqemulator.scripting.parser import Parser
from sqlglot import exp

from etlkit.local.bigquery import googlesql
from etlkit.local.bigquery.extensions import (
    api_errors,
    child_jobs,
    declared_columns,
    execute,
    grammar,
    hooks,
    result_columns,
    script_forms,
    sql_functions,
)
from etlkit.local.bigquery.extensions.script_analysis import ScriptAnalysis
from etlkit.local.bigquery.extensions.statement_context import StatementContext
from etlkit.local.bigquery.patches import scripts
from etlkit.local.bigquery.patches.messages import locate
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.rewrites import default_dataset, system_variables
from etlkit.local.bigquery.rules.registry import Asked, ask
from etlkit.local.bigquery.sql_types import SqlType

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import pyarrow as pa
    from bqemulator.scripting import ast


_ASSIGNMENT: Final = re.compile(
    r"\s*SET\s+@@(?P<name>[\w.]+)\s*=\s*(?P<value>.+)", re.IGNORECASE | re.DOTALL
)

_NAMED: Final = re.compile(
    r"(?P<value>.+?)\s+AS\s+(?P<name>\w+|`[^`]+`)\s*", re.IGNORECASE | re.DOTALL
)
"""A parameter of USING with its name."""

_QUERY: Final = re.compile(r"\s*(SELECT|WITH|FROM)\b", re.IGNORECASE)
_ROW: Final = re.compile(r"\s*\(\s*SELECT\s+AS\s+STRUCT\b", re.IGNORECASE)


class Interpreter(scripts.Interpreter):
    """The patched interpreter, which calls the hooks before each statement."""

    _last_rows: pa.Table | None = None

    @property
    def _context(self) -> StatementContext:
        return StatementContext(self._project_id, self._ctx, self._caller)

    @cached_property
    def _script(self) -> ScriptAnalysis:
        return ScriptAnalysis(self._context)

    def declare_parameters(self, parameters: list[dict[str, Any]]) -> None:
        """Bind query parameters, and remember their types."""
        super().declare_parameters(parameters)
        names = [each.get("name") or scripts.positional(n) for n, each in enumerate(parameters)]
        self._script.declare_parameters(parameters, names)

    async def run(self, source: str) -> Any:
        """Run the script."""
        self._script.begin(source)
        return await super().run(source)

    def _analyze(self, sql: str, using: list[Any] | None = None) -> googlesql.Analysis | None:
        """Ask GoogleSQL's analyzer about a statement."""
        if self._temp_routines is not None:
            self._script.temporary = self._temp_routines._routines  # noqa: SLF001
        self._script.default = self._default_dataset()
        return self._script.statement(sql, self._frames.all_visible(), using)

    def _shape(self, found: googlesql.Analysis | None) -> None:
        """Give the rows of the last statement the names and types that the analyzer found."""
        if found is not None and self._final_table is not None:
            self._final_table = result_columns.shape(self._final_table, found)

    def _analyze_assignment(self, expression: str, target: str) -> None:
        self._script.assignment(expression, target, self._frames.all_visible())

    async def _exec_statement(self, stmt: ast.Statement) -> None:
        if isinstance(stmt, script_forms.RepeatStmt):
            await self._exec_repeat(stmt)
        else:
            await super()._exec_statement(stmt)

    async def _exec_repeat(self, stmt: script_forms.RepeatStmt) -> None:
        is_over = False
        while not is_over:
            try:
                await self._run_block(stmt.body, frame_kind="loop")
            except plain.BreakSignal:
                return
            except plain.ContinueSignal:
                pass
            is_over = await self._eval_expr_scalar(stmt.condition_expr) is True

    async def _exec_declare(self, stmt: ast.DeclareStmt) -> None:
        default = stmt.default_expr
        if default is not None and not stmt.type_name:
            found = self._analyze(f"SELECT {default}")
            kind = str(found.columns[0][1]) if found is not None else "ANY"
            stmt = dataclasses.replace(stmt, type_name=kind)
        elif default is not None:
            self._analyze_assignment(default, stmt.type_name)
        if default is not None:
            stmt = dataclasses.replace(stmt, default_expr=_as_type(default, stmt.type_name))
        await super()._exec_declare(stmt)

    async def _exec_execute_immediate(self, stmt: ast.ExecuteImmediateStmt) -> None:
        """Bind `USING 2 AS a` to `@a`, as a query parameter of the dynamic statement."""
        named = [_NAMED.fullmatch(each) for each in stmt.using_exprs]
        if not named or not all(named):
            await super()._exec_execute_immediate(stmt)
            return
        visible, outer = self._frames.all_visible(), self._script.parameters
        types: dict[str, SqlType] = {}
        values: dict[str, tuple[str, Any]] = {}
        for match in named:
            if match is None:
                continue
            found = self._script.statement(f"SELECT {match['value']}", visible)
            name = match["name"].strip("`")
            kind = found.columns[0][1] if found is not None else None
            if kind is not None:
                types[name.casefold()] = kind
            values[name] = (str(kind or "ANY"), await self._eval_expr_scalar(match["value"]))
        self._frames.push("block")
        self._script.parameters = types if len(types) == len(values) else {}
        try:
            for name, (text, value) in values.items():
                self._frames.declare(f"@{name}", text, value)
            await super()._exec_execute_immediate(dataclasses.replace(stmt, using_exprs=()))
        finally:
            self._frames.pop()
            self._script.parameters = outer

    async def _exec_for(self, stmt: ast.ForStmt) -> None:
        visible = self._frames.all_visible()
        self._script.declare_rows(stmt.loop_var, stmt.source_sql, visible)
        await super()._exec_for(stmt)

    async def _exec_sql(self, sql: str) -> None:
        await self._as_child(sql, child_jobs.kind_of(sql), self._exec_one(sql))

    async def _exec_one(self, sql: str) -> None:
        if assignment := _ASSIGNMENT.match(sql):
            value = await super()._eval_expr_scalar(assignment["value"])
            system_variables.assign(assignment["name"].lower(), value)
            return
        found = self._analyze(sql)
        sql = default_dataset.qualified(sql, *self._default_dataset(), self._temp_tables)
        if await self._by_hook(sql):
            return
        declared = declared_columns.parts(sql, grammar.look(sql))
        for part in (sql,) if declared is None else (declared.create, declared.insert):
            await super()._exec_sql(part)
        self._shape(found)

    async def _run_statement_with_params(self, bq_sql: str, using_values: list[Any]) -> None:
        work = super()._run_statement_with_params(bq_sql, using_values)
        await self._as_child(bq_sql, child_jobs.kind_of(bq_sql), work)

    async def _exec_create_function(self, stmt: ast.CreateFunctionStmt) -> None:
        if "." in stmt.name:
            work = super()._exec_create_function(stmt)
            await self._as_child(f"CREATE FUNCTION {stmt.name}", "CREATE_FUNCTION", work)
            return
        child_jobs.RECORD.get().has_functions = True
        await super()._exec_create_function(stmt)

    async def _exec_create_procedure(self, stmt: ast.CreateProcedureStmt) -> None:
        work = super()._exec_create_procedure(stmt)
        await self._as_child(f"CREATE PROCEDURE {stmt.name}", "CREATE_PROCEDURE", work)

    async def _exec_set(self, stmt: ast.SetStmt) -> None:
        """Assign one value, or the fields of a row: `SET (x, y) = (SELECT AS STRUCT …)`.

        dbt finds the partitions to overwrite with `SET (x) = (SELECT AS STRUCT …)`. The emulator
        forgets the parentheses of x.
        Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language#set
        """
        is_row = _ROW.match(stmt.source_expr) and not self._is_struct(stmt.targets[0])
        if len(stmt.targets) == 1 and not is_row:
            known = self._frames.all_visible().get(stmt.targets[0])
            if known is not None:
                self._analyze_assignment(stmt.source_expr, known.type_name)
                source = _as_type(stmt.source_expr, known.type_name)
                stmt = dataclasses.replace(stmt, source_expr=source)
            await super()._exec_set(stmt)
            return
        source = stmt.source_expr.strip().removeprefix("STRUCT")
        source = source[1:-1] if source.startswith("(") and source.endswith(")") else source
        query = source if _QUERY.match(source) else f"SELECT {source}"
        rows: list[dict[str, Any]] = []

        async def evaluate() -> None:
            rows.extend((await self._run_query(query)).slice(0, 1).to_pylist())

        await self._as_child(query, "SELECT", evaluate(), evaluation="EXPRESSION")
        values = list(rows[0].values()) if rows else [None] * len(stmt.targets)
        if len(values) != len(stmt.targets):
            raise InvalidQueryError(
                f"The number of values ({len(values)}) does not match the number of variables "
                f"({len(stmt.targets)}) in SET",
                location="query",
            )
        for name, value in zip(stmt.targets, values, strict=True):
            self._frames.set(name, value)

    def _is_struct(self, name: str) -> bool:
        variable = self._frames.all_visible().get(name)
        return variable is not None and variable.type_name.strip().upper().startswith("STRUCT")

    async def _eval_expr_scalar(self, expr: str) -> Any:
        self._analyze(f"SELECT {expr}")
        tree = grammar.parse(f"SELECT {expr}")
        if tree is not None:
            ask(Asked.STATEMENT, tree, self._context)
        if "select" not in expr.casefold():
            return await super()._eval_expr_scalar(expr)
        value: list[Any] = []

        async def evaluate() -> None:
            value.append(await super(Interpreter, self)._eval_expr_scalar(expr))

        await self._as_child(f"SELECT {expr}", "SELECT", evaluate(), evaluation="EXPRESSION")
        return value[0]

    async def _as_child(
        self, sql: str, kind: str, work: Awaitable[None], evaluation: str = "STATEMENT"
    ) -> None:
        """Run a statement, and record it as a child job."""
        clock = self._ctx.clock

        async def run() -> pa.Table | None:
            self._last_rows = None
            await work
            return self._last_rows

        statement = child_jobs.Statement(sql, kind, clock.now(), evaluation=evaluation)
        await child_jobs.recorded(statement, run, clock)
        if statement.num_affected is not None:
            system_variables.values()["row_count"] = statement.num_affected

    def _default_dataset(self) -> tuple[str, str]:
        """What the script has set; "" = nothing."""
        values = system_variables.values()
        return values["dataset_project_id"] or self._project_id, values["dataset_id"] or ""

    def _temp_tables(self) -> set[str]:
        return default_dataset.temp_tables(self._ctx.engine.connection)

    async def _exec_call(self, stmt: ast.CallStmt) -> None:
        text = f"CALL {stmt.routine_ref}({', '.join(stmt.arg_exprs)})"
        await self._as_child(text, "CALL", self._call(stmt))

    async def _call(self, stmt: ast.CallStmt) -> None:
        procedure = sql_functions.find_procedure(stmt.routine_ref)
        if procedure is None:
            await super()._exec_call(stmt)
            self._last_rows = self._final_table
            return
        arguments = [await self._eval_expr_scalar(text) for text in stmt.arg_exprs]
        procedure.call(arguments, self._context)
        self._final_table = None

    async def _run_query(self, bq_sql: str) -> pa.Table:
        try:
            rows = await self._rewritten(bq_sql, [])
            self._last_rows = rows if rows is not None else await super()._run_query(bq_sql)
        except DomainError as error:
            known = api_errors.carried() or error
            if isinstance(known, InvalidQueryError):
                raise locate(known, bq_sql, self._source) from error
            raise known from error
        return self._last_rows

    async def _run_query_with_params(self, bq_sql: str, using_values: list[Any]) -> pa.Table:
        self._analyze(bq_sql, using_values)
        rows = await self._rewritten(bq_sql, using_values)
        if rows is not None:
            return rows
        return await super()._run_query_with_params(bq_sql, using_values)

    async def _run_dynamic(self, bq_sql: str, using_values: list[Any]) -> bool:
        found = self._analyze(bq_sql, using_values)
        if await self._by_hook(bq_sql):
            return False
        rows = await self._rewritten(bq_sql, using_values)
        if rows is None:
            is_ddl = await super()._run_dynamic(bq_sql, using_values)
        else:
            self._final_table = rows if plain._is_row_producing(bq_sql) else None  # noqa: SLF001
            is_ddl = True
        self._shape(found)
        return is_ddl

    async def _by_hook(self, sql: str) -> bool:
        tree = grammar.parse(sql)
        if tree is None:
            return False
        if self._transaction is not None:
            ask(Asked.TRANSACTION, tree)
        api_errors.forget()
        outcome = await hooks.execute(tree, self._context)
        if outcome is None:
            return False
        self._final_table = None
        return True

    async def _rewritten(self, sql: str, using_values: list[Any]) -> pa.Table | None:
        api_errors.forget()
        if execute.involved_tree(sql, self._context) is None:
            return None
        named = scripts.name_positions(self._rewrite_temp_calls(sql))
        rewritten, values = scripts._rewrite_vars_to_params(named, self._frames)  # noqa: SLF001
        known = {str(number): value for number, value in enumerate(values, 1)}
        known |= {scripts.positional(number): value for number, value in enumerate(using_values)}
        tree = grammar.parse(rewritten)
        return await execute.run(tree, self._context, execute.script_parameters(known))


def _as_type(expression: str, kind: str) -> str:
    """A value with the names of the fields of a variable; its own ones do not count."""
    if not kind.strip().upper().startswith(("STRUCT<", "ARRAY<STRUCT<")):
        return expression
    return f"CAST(({expression}) AS {kind})"


def _read_type_name(self: Any) -> str:
    """Read the type of an argument, also `ANY TYPE`."""
    cursor = self._cursor
    if cursor.current.value.upper() == "ANY" and cursor.peek().value.upper() == "TYPE":
        cursor.advance()
        cursor.advance()
        return "ANY TYPE"
    return str(_plain_read_type_name(self))


def _parse_set(self: Any) -> ast.Statement:
    """Parse the assignment of a system variable as a plain statement."""
    if self._cursor.peek().kind == "AT_AT":
        statement: ast.SqlStmt = self._parse_sql_statement()
        return statement
    return _plain_parse_set(self)  # type: ignore[no-any-return]


def _parse_create(self: Any) -> ast.Statement:
    """Parse a remote function as a plain statement: the emulator expects a body of each function."""
    start = self._cursor._pos  # noqa: SLF001
    statement: ast.SqlStmt = self._parse_sql_statement()
    tree = grammar.parse(statement.sql) if "remote" in statement.sql.casefold() else None
    if isinstance(tree, exp.Create) and tree.find(exp.RemoteWithConnectionModelProperty):
        return statement
    self._cursor._pos = start  # noqa: SLF001
    return _plain_parse_create(self)  # type: ignore[no-any-return]


_plain_read_type_name: Any = Parser._read_type_name  # noqa: SLF001
_plain_parse_set: Any = Parser._parse_set  # noqa: SLF001
_plain_parse_create: Any = Parser._parse_create_or_sql  # noqa: SLF001


def apply() -> None:
    """Run scripts with this interpreter."""
    PATCHES.replace("bqemulator.scripting.parser:Parser._parse_create_or_sql", _parse_create)
    PATCHES.replace("bqemulator.scripting.parser:Parser._parse_set", _parse_set)
    PATCHES.replace("bqemulator.scripting.parser:Parser._read_type_name", _read_type_name)
    PATCHES.replace("bqemulator.scripting.interpreter:ScriptInterpreter", Interpreter)
    PATCHES.replace("bqemulator.jobs.executor:ScriptInterpreter", Interpreter)
