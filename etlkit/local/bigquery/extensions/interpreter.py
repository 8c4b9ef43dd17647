"""Call the hooks for the statements of scripts, of EXECUTE IMMEDIATE and of procedures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bqemulator.scripting.interpreter as plain
from bqemulator.domain.errors import DomainError, InvalidQueryError
from bqemulator.scripting.parser import Parser
from sqlglot import exp

from etlkit.local.bigquery.extensions import (
    api_errors,
    declared_columns,
    execute,
    grammar,
    hooks,
    sql_functions,
)
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

    async def _exec_sql(self, sql: str) -> None:
        if await self._by_hook(sql):
            return
        declared = declared_columns.parts(sql, grammar.parse(sql))
        for part in (sql,) if declared is None else (declared.create, declared.insert):
            await super()._exec_sql(part)

    async def _exec_call(self, stmt: ast.CallStmt) -> None:
        procedure = sql_functions.find_procedure(stmt.routine_ref)
        if procedure is None:
            await super()._exec_call(stmt)
            return
        arguments = [await self._eval_expr_scalar(text) for text in stmt.arg_exprs]
        procedure.call(arguments, self._context)
        self._final_table = None

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
        rows = await self._rewritten(bq_sql, using_values)
        if rows is not None:
            return rows
        return await super()._run_query_with_params(bq_sql, using_values)

    async def _run_dynamic(self, bq_sql: str, using_values: list[Any]) -> bool:
        if await self._by_hook(bq_sql):
            return False
        rows = await self._rewritten(bq_sql, using_values)
        if rows is None:
            return await super()._run_dynamic(bq_sql, using_values)
        self._final_table = rows if plain._is_row_producing(bq_sql) else None  # noqa: SLF001
        return True

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
