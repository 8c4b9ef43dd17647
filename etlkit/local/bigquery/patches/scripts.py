"""Multi-statement scripts.

Real BigQuery: query parameters, `ASSERT` and `@@error.message` work in scripts. Transactions are real,
refuse DDL, and are rolled back if they are open when the script ends. Temporary tables end with the
script, too. The emulator: the first three failed, transactions were copies of tables and accepted DDL,
an open one was committed, and temporary tables stayed and were seen by all.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

import bqemulator.scripting.interpreter as plain
import sqlglot
from bqemulator.catalog import ddl_sync
from bqemulator.domain.errors import DomainError, InvalidQueryError
from bqemulator.jobs import executor
from bqemulator.scripting import ast
from bqemulator.scripting.exceptions import ScriptRaise
from bqemulator.sql.parameters import _extract_value
from sqlglot import exp
from sqlglot.tokens import TokenType

from etlkit.local.bigquery.extensions import grammar
from etlkit.local.bigquery.first_words import first_word
from etlkit.local.bigquery.patches.messages import at_statement, locate
from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.bigquery.patches.table_options import sync_table
from etlkit.local.bigquery.patches.transaction import Transaction
from etlkit.local.bigquery.patches.types import quote
from etlkit.local.bigquery.patches.work import check, interruptible
from etlkit.local.bigquery.rules.concurrency import is_mutating
from etlkit.local.bigquery.rules.registry import Asked, ask
from etlkit.local.bigquery.rules.statements import NO_DDL
from etlkit.local.bigquery.rules.writes import checked

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_TEXTS = 256
"""Of scripts that are not parsed again. Their statements cannot be changed."""

_ONLY_IN_SCRIPTS = {"ASSERT", "BEGIN", "START", "COMMIT", "END", "ROLLBACK"}


_ERROR_FIELDS: Final = {
    "message": "__error_message__",
    "statement_text": "__error_statement__",
    "formatted_stack_trace": "__error_trace__",
}
"""Fields of `@@error`, and the variables that have their values."""

SESSION: ContextVar[Interpreter | None] = ContextVar("SESSION", default=None)
"""The interpreter of the session of the running request; None = each script has its own."""


@dataclass(frozen=True, slots=True)
class ScriptOnlyStmt(ast.Statement):
    """A statement that must run as a script, because DuckDB does not have it."""

    sql: str


@dataclass(frozen=True, slots=True)
class _Write:
    """What a statement writes.

    Attributes:
        tables: Project, dataset and name of each table that it writes to.
        is_mutating: Whether it changes or removes rows that are there.
    """

    tables: tuple[tuple[str, str, str], ...] = ()
    is_mutating: bool = False


class Interpreter(plain.ScriptInterpreter):
    """The emulator's interpreter with the patches of this module.

    Attributes:
        new_transaction: Begins a transaction.
    """

    new_transaction: ClassVar[Any] = Transaction

    _source = ""
    _failed = ""
    _depth: ClassVar[int] = 0
    _has_temp_tables: ClassVar[bool] = False

    def declare_parameters(self, parameters: list[dict[str, Any]]) -> None:
        """Bind query parameters. `name_positions` gives positional ones their names."""
        for number, parameter in enumerate(parameters):
            name = f"@{parameter.get('name') or positional(number)}"
            kind = parameter["parameterType"].get("type", "ANY")
            value = _extract_value(parameter)
            if self._frames.has(name):  # of an earlier job of the session
                self._frames.set(name, value)
            else:
                self._frames.declare(name, kind, value)

    async def run(self, source: str) -> plain.ScriptResult:
        """Run the script. Roll back a transaction that it leaves open, and drop temporary tables."""
        self._source = source
        outer = self._transaction
        Interpreter._depth += 1
        try:
            return await super().run(source)
        finally:
            Interpreter._depth -= 1
            if outer is None and self._transaction is not None:
                self._transaction.rollback()
            if not Interpreter._depth and SESSION.get() is None:
                self._drop_temp_tables()

    def _drop_temp_tables(self) -> None:
        if not Interpreter._has_temp_tables:
            return
        Interpreter._has_temp_tables = False
        listed = "SELECT table_name FROM duckdb_tables() WHERE temporary"
        for (name,) in self._ctx.engine.execute(listed).fetchall():
            self._ctx.engine.execute(f"DROP TABLE temp.{quote(name)}")

    @property
    def _transaction(self) -> Transaction | None:
        engine: Any = self._ctx.engine
        found: Transaction | None = engine.transaction
        return None if found is None or found.is_implicit else found

    async def _exec_statement(self, stmt: ast.Statement) -> None:
        check()  # a loop with an EXCEPTION handler would go on for ever
        if self._transaction is not None and isinstance(
            stmt, ast.CreateFunctionStmt | ast.CreateProcedureStmt
        ):
            raise InvalidQueryError(NO_DDL)
        await super()._exec_statement(stmt)

    async def _exec_raise(self, stmt: ast.RaiseStmt) -> None:
        """Raise an error; without a message, the one that the handler is for."""
        message = self._frames.all_visible().get(_ERROR_FIELDS["message"])
        if stmt.message_expr is None and message is not None:
            raise ScriptRaise(InvalidQueryError(message.value), message_override=message.value)
        await super()._exec_raise(stmt)

    async def _exec_sql(self, sql: str) -> None:
        try:
            await self._exec_one_sql(sql)
        except DomainError:
            self._failed = sql
            raise

    async def _exec_one_sql(self, sql: str) -> None:
        if _first_word(sql) == "ASSERT":
            await self._assert(sql)
            return
        write = self._prepare(sql)
        with checked(grammar.look(sql), self._project_id, self._ctx):
            await super()._exec_sql(sql)
        self._record(write)

    async def _run_statement_with_params(self, bq_sql: str, using_values: list[Any]) -> None:
        """Run EXECUTE IMMEDIATE, and update the catalog after DDL, as the emulator did not."""
        write = self._prepare(bq_sql)
        with checked(grammar.look(bq_sql), self._project_id, self._ctx):
            if not await self._run_dynamic(bq_sql, using_values):
                return
            ddl_sync.sync_created_schema(bq_sql, self._project_id, self._ctx)
            sync_table(bq_sql, self._project_id, self._ctx)
            ddl_sync.sync_created_view(bq_sql, self._project_id, self._ctx)
            ddl_sync.sync_dropped_object(bq_sql, self._project_id, self._ctx)
        self._record(write)

    async def _run_dynamic(self, bq_sql: str, using_values: list[Any]) -> bool:
        """Run a dynamic statement. Returns whether the catalog may have to be updated."""
        with interruptible():
            await super()._run_statement_with_params(bq_sql, using_values)
        return True

    async def _run_query(self, bq_sql: str) -> pa.Table:
        try:
            return await super()._run_query(bq_sql)
        except InvalidQueryError as error:
            raise locate(error, bq_sql, self._source) from error

    def _prepare(self, sql: str) -> _Write:
        """Check a statement against the open transaction, and return what it writes."""
        try:
            tree = sqlglot.parse_one(sql, read="bigquery")
        except sqlglot.errors.SqlglotError:
            return _Write()
        Interpreter._has_temp_tables |= is_temp_table(tree)
        targets = executor._dml_target_tables(tree, self._project_id)  # noqa: SLF001
        write = _Write(tuple(targets), is_mutating(tree))
        if self._transaction is None and write.is_mutating:
            self._ctx.engine.concurrency.refuse_held(write.tables)
        if self._transaction is not None:
            ask(Asked.TRANSACTION, tree)
            if write.tables:
                self._transaction.refuse_if_lost()
            if write.is_mutating:
                self._mutate(self._transaction, write, sql)
        return write

    def _mutate(self, transaction: Transaction, write: _Write, sql: str) -> None:
        try:
            transaction.mutate(write.tables)
        except InvalidQueryError as error:
            raise at_statement(error, sql, self._source) from error

    def _record(self, write: _Write) -> None:
        if self._transaction is not None:
            self._transaction.changed.update(write.tables)
            return
        if write.is_mutating:
            self._ctx.engine.concurrency.mutated(write.tables)
        for table in write.tables:
            self._ctx.snapshots.record_change(*table)

    async def _assert(self, sql: str) -> None:
        tokens = sqlglot.tokenize(sql, read="bigquery")
        condition, message = sql[tokens[0].end + 1 :], ""
        if [token.token_type for token in tokens[-2:]] == [TokenType.ALIAS, TokenType.STRING]:
            condition = sql[tokens[0].end + 1 : tokens[-2].start]
            message = f": {tokens[-1].text}"
        if await self._eval_expr_scalar(condition) is not True:
            raise InvalidQueryError(f"Assertion failed{message}", location="query")
        self._final_table = None

    async def _handle_txn_statement(self, op: str) -> None:
        transaction = self._transaction
        if op == "BEGIN":
            if transaction is not None:
                raise InvalidQueryError("Nested transactions are not supported")
            self.new_transaction(self._ctx)
        elif transaction is None:
            raise InvalidQueryError(f"There is no active transaction for {op} TRANSACTION")
        elif op == "COMMIT":
            transaction.commit()
        else:
            transaction.rollback()

    async def _drop_txn_snapshots(self) -> None:
        """Called when an EXCEPTION handler starts, and no longer for anything else."""
        name = _ERROR_FIELDS["statement_text"]
        if self._frames.has(name):
            self._frames.set(name, self._failed)
        else:
            self._frames.declare(name, "STRING", self._failed)
        if self._transaction is not None:
            self._transaction.check_after_error()


def _first_word(sql: str) -> str:
    word = first_word(sql)
    if word:
        return word
    try:
        tokens = sqlglot.tokenize(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return ""
    return tokens[0].text.upper().split()[0] if tokens else ""  # BEGIN TRANSACTION is one token


def is_lone_assert(sql: str) -> bool:
    """Whether a text is a single ASSERT statement."""
    if _first_word(sql) != "ASSERT":
        return False
    tokens = sqlglot.tokenize(sql, read="bigquery")
    return all(token.token_type is not TokenType.SEMICOLON for token in tokens[:-1])


def split_functions(sql: str) -> tuple[str, str]:
    """The temporary functions in front of a query, and the query; "" = it has none."""
    script = _plain_parse_script(sql)
    *functions, query = script.statements or (None,)
    if not functions or not isinstance(query, ast.SqlStmt):
        return "", sql
    if not all(
        isinstance(each, ast.CreateFunctionStmt) and "." not in each.name for each in functions
    ):
        return "", sql
    begin = sql.rfind(query.sql)
    return sql[:begin], sql[begin:]


def is_temp_table(tree: Any) -> bool:
    """Whether a statement creates a temporary table."""
    if not isinstance(tree, exp.Create) or tree.kind != "TABLE":
        return False
    properties = tree.args.get("properties")
    return properties is not None and properties.find(exp.TemporaryProperty) is not None


def positional(number: int) -> str:
    """The name that `name_positions` gives to a positional parameter, counted from 0."""
    return f"etlkit_{number}"


def name_positions(sql: str) -> str:
    """Replace each `?` by a name, so that it keeps its value wherever its statement runs."""
    if "?" not in sql:
        return sql
    try:
        tokens = sqlglot.tokenize(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return sql
    marks = [token for token in tokens if token.token_type is TokenType.PLACEHOLDER]
    for number, mark in reversed([*enumerate(marks)]):
        sql = f"{sql[: mark.start]}@{positional(number)}{sql[mark.end + 1 :]}"
    return sql


def _rewrite_vars_to_params(sql: str, frames: Any) -> tuple[str, list[Any]]:
    """Replace variables, query parameters and `@@error` by numbered placeholders."""
    visible = frames.all_visible()
    try:
        tree = sqlglot.parse_one(sql, read="bigquery")
    except sqlglot.errors.SqlglotError:
        return sql, []
    values: list[Any] = []
    found = False
    for node in list(tree.find_all(exp.Dot, exp.Parameter, exp.Column)):
        if isinstance(node, exp.Column) and _is_json_field(node, visible):
            variable = visible[node.parts[0].name]
            value = _build_placeholder(variable.value, variable.type_name, values)
            path = "".join(f'."{part.name}"' for part in node.parts[1:])
            query = exp.func("JSON_QUERY", value, exp.Literal.string(f"${path}"))
            shown: exp.Expression = exp.ParseJSON(this=query)
            if isinstance(node.parent, exp.Select):
                shown = exp.alias_(shown, node.name)
            node.replace(shown)
            found = True
        elif isinstance(node, exp.Column):
            found |= plain._rewrite_one_column(node, visible, values)  # noqa: SLF001
        else:
            found |= _rewrite_parameter(node, visible, values)
    return (tree.sql(dialect="bigquery") if found else sql), values


def _is_json_field(column: exp.Column, visible: dict[str, Any]) -> bool:
    """Whether it is a path into a variable with a JSON value."""
    variable = visible.get(column.parts[0].name) if len(column.parts) > 1 else None
    return variable is not None and str(variable.type_name).upper() == "JSON"


def _rewrite_parameter(node: exp.Expression, visible: dict[str, Any], values: list[Any]) -> bool:
    name = node.name
    if isinstance(node, exp.Dot):
        inner = node.this.this if isinstance(node.this, exp.Parameter) else None
        if not isinstance(inner, exp.Parameter) or inner.name.lower() != "error":
            return False
        key = _ERROR_FIELDS.get(name.lower(), "")
    else:
        key = f"@{name}"
        if key not in visible or isinstance(node.this, exp.Parameter):
            return False
    variable = visible.get(key)
    value, kind = (variable.value, variable.type_name) if variable else (None, "STRING")
    placeholder = plain._build_scalar_placeholder(value, kind, values)  # noqa: SLF001
    if isinstance(node, exp.Dot) and isinstance(node.parent, exp.Select):
        placeholder = exp.alias_(placeholder, name)
    node.replace(placeholder)
    return True


def _build_placeholder(value: Any, type_name: str | None, params: list[Any]) -> Any:
    """A value of a variable; a NULL is written as such, which takes DuckDB less than a parameter."""
    if value is None and type_name and type_name.upper() != "ANY":
        try:
            kind = exp.DataType.build(type_name, dialect="bigquery")
        except (sqlglot.errors.SqlglotError, ValueError):
            return _plain_build_placeholder(value, type_name, params)
        return exp.Cast(this=exp.Null(), to=kind)
    return _plain_build_placeholder(value, type_name, params)


async def _run_query_body(
    *,
    project_id: str,
    bq_sql: str,
    query_params: list[dict[str, Any]] | None,
    ctx: Any,
    is_scripted: bool,
    effective_caller: Any,
) -> pa.Table:
    if not is_scripted:
        return await _plain_query_body(
            project_id=project_id,
            bq_sql=bq_sql,
            query_params=query_params,
            ctx=ctx,
            is_scripted=False,
            effective_caller=effective_caller,
        )
    interpreter: Any = SESSION.get() or executor.ScriptInterpreter(
        ctx, project_id, caller=effective_caller
    )
    interpreter.declare_parameters(query_params or [])
    try:
        return await executor._run_script(interpreter, name_positions(bq_sql), ctx)  # noqa: SLF001
    except ScriptRaise as raised:
        raise raised.error from raised


def _parse_script(source: str) -> Any:
    """Let a single ASSERT or transaction statement run as a script, and any one of a session."""
    script = _plain_parse_script(source)
    if len(script.statements) == 1 and isinstance(script.statements[0], ast.SqlStmt):
        sql = script.statements[0].sql
        if SESSION.get() is not None or _first_word(sql) in _ONLY_IN_SCRIPTS:
            return type(script)(statements=(ScriptOnlyStmt(sql),))
    return script


_plain_build_placeholder: Any = plain._build_scalar_placeholder  # noqa: SLF001
_plain_query_body = executor._run_query_body  # noqa: SLF001
_plain_parse_script = lru_cache(_MAX_TEXTS)(executor.parse_script)


def apply() -> None:
    """Run scripts with this interpreter."""
    PATCHES.replace(
        "bqemulator.scripting.interpreter:_rewrite_vars_to_params", _rewrite_vars_to_params
    )
    PATCHES.replace(
        "bqemulator.scripting.interpreter:_build_scalar_placeholder", _build_placeholder
    )
    PATCHES.replace("bqemulator.scripting.interpreter:ScriptInterpreter", Interpreter)
    PATCHES.replace("bqemulator.jobs.executor:ScriptInterpreter", Interpreter)
    PATCHES.replace("bqemulator.jobs.executor:_run_query_body", _run_query_body)
    PATCHES.replace("bqemulator.jobs.executor:parse_script", _parse_script)
    PATCHES.replace("bqemulator.scripting.interpreter:parse_script", _plain_parse_script)
