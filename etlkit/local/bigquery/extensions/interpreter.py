"""Call the hooks for the statements of scripts, of EXECUTE IMMEDIATE and of procedures."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import bqemulator.scripting.interpreter as plain
from bqemulator.domain.errors import DomainError, InvalidQueryError
from bqemulator.scripting.parser import Parser
from sqlglot import exp

from etlkit.local.bigquery import googlesql
from etlkit.local.bigquery.extensions import (
    api_errors,
    declared_columns,
    execute,
    grammar,
    hooks,
    result_columns,
    sql_functions,
)
from etlkit.local.bigquery.extensions.script_analysis import ScriptAnalysis
from etlkit.local.bigquery.extensions.statement_context import StatementContext
from etlkit.local.bigquery.patches import scripts
from etlkit.local.bigquery.patches.messages import locate
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.transaction import NO_DDL

if TYPE_CHECKING:
    import pyarrow as pa
    from bqemulator.scripting import ast


class Interpreter(scripts.Interpreter):
    """The patched interpreter, which calls the hooks before each statement."""

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
        return self._script.statement(sql, self._frames.all_visible(), using)

    def _shape(self, found: googlesql.Analysis | None) -> None:
        """Give the rows of the last statement the names and types that the analyzer found."""
        if found is not None and self._final_table is not None:
            self._final_table = result_columns.shape(self._final_table, found)

    def _analyze_assignment(self, expression: str, target: str) -> None:
        self._script.assignment(expression, target, self._frames.all_visible())

    async def _exec_declare(self, stmt: ast.DeclareStmt) -> None:
        if stmt.default_expr is not None:
            self._analyze_assignment(stmt.default_expr, stmt.type_name)
        await super()._exec_declare(stmt)

    async def _exec_set(self, stmt: ast.SetStmt) -> None:
        known = self._frames.all_visible().get(stmt.targets[0])
        if len(stmt.targets) == 1 and known is not None:
            self._analyze_assignment(stmt.source_expr, known.type_name)
        await super()._exec_set(stmt)

    async def _exec_for(self, stmt: ast.ForStmt) -> None:
        visible = self._frames.all_visible()
        self._script.declare_rows(stmt.loop_var, stmt.source_sql, visible)
        await super()._exec_for(stmt)

    async def _exec_sql(self, sql: str) -> None:
        found = self._analyze(sql)
        if await self._by_hook(sql):
            return
        declared = declared_columns.parts(sql, grammar.parse(sql))
        for part in (sql,) if declared is None else (declared.create, declared.insert):
            await super()._exec_sql(part)
        self._shape(found)

    async def _exec_call(self, stmt: ast.CallStmt) -> None:
        procedure = sql_functions.find_procedure(stmt.routine_ref)
        if procedure is None:
            await super()._exec_call(stmt)
            return
        arguments = [await self._eval_expr_scalar(text) for text in stmt.arg_exprs]
        procedure.call(arguments, self._context)
        self._final_table = None

    async def _eval_expr_scalar(self, expr: str) -> Any:
        self._analyze(f"SELECT {expr}")
        return await super()._eval_expr_scalar(expr)

    async def _run_query(self, bq_sql: str) -> pa.Table:
        try:
            rows = await self._rewritten(bq_sql, [])
            return rows if rows is not None else await super()._run_query(bq_sql)
        except DomainError as error:
            known = api_errors.carried() or error
            if isinstance(known, InvalidQueryError):
                raise locate(known, bq_sql, self._source) from error
            raise known from error

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
        if self._transaction is not None and scripts._is_permanent_ddl(tree):  # noqa: SLF001
            raise InvalidQueryError(NO_DDL)
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


def _parse_create(self: Any) -> ast.Statement:
    """Parse a remote function as a plain statement: the emulator expects a body of each function."""
    start = self._cursor._pos  # noqa: SLF001
    statement: ast.SqlStmt = self._parse_sql_statement()
    tree = grammar.parse(statement.sql) if "remote" in statement.sql.casefold() else None
    if isinstance(tree, exp.Create) and tree.find(exp.RemoteWithConnectionModelProperty):
        return statement
    self._cursor._pos = start  # noqa: SLF001
    return _plain_parse_create(self)  # type: ignore[no-any-return]


_plain_parse_create: Any = Parser._parse_create_or_sql  # noqa: SLF001


def apply() -> None:
    """Run scripts with this interpreter."""
    PATCHES.replace("bqemulator.scripting.parser:Parser._parse_create_or_sql", _parse_create)
    PATCHES.replace("bqemulator.scripting.interpreter:ScriptInterpreter", Interpreter)
    PATCHES.replace("bqemulator.jobs.executor:ScriptInterpreter", Interpreter)
