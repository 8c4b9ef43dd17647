"""Hooks that see every statement before the emulator does.

A statement hook executes statements that the emulator does not have (`CREATE EXTERNAL TABLE`,
`CREATE MODEL`). A query hook rewrites relations and functions within any query. Hooks may block: only
the REST API of the local BigQuery waits for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from etlkit.local.bigquery.rules.registry import Asked, ask

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext

    Name = tuple[str, str, str]

    StatementHook = Callable[[exp.Expr, StatementContext], Awaitable["StatementResult | None"]]
    StartHook = Callable[[Any], None]
    Predicate = Callable[[exp.Expr, StatementContext], bool]


@dataclass(frozen=True)
class StatementResult:
    """What a job reports about a statement that a hook has executed.

    Attributes:
        statement_type: E.g. CREATE_MODEL.
        operation: CREATE, REPLACE, SKIP or DROP; "" = the statement is not DDL.
        table: The table or model that it created, replaced or dropped; None = none.
        routine: The function that it created, replaced or dropped; None = none.
    """

    statement_type: str
    operation: str = ""
    table: Name | None = None
    routine: Name | None = None

    def statistics(self) -> dict[str, Any]:
        """Fields of `statistics.query`.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatistics2
        """
        fields: dict[str, Any] = {"statementType": self.statement_type}
        if self.operation:
            fields["ddlOperationPerformed"] = self.operation
        if self.table is not None:
            fields["ddlTargetTable"] = _reference(self.table, "tableId")
        if self.routine is not None:
            fields["ddlTargetRoutine"] = _reference(self.routine, "routineId")
        return fields


STATEMENTS: Final[list[StatementHook]] = []
"""Called in order, until one returns a `StatementResult`: it has executed the statement."""

STARTS: Final[list[StartHook]] = []
"""Each gets the DuckDB connection when the engine starts, e.g. to register functions."""

INVOLVED: Final[list[Predicate]] = []
"""Whether a tree needs query hooks. A view whose body does is expanded at each query."""


async def ask_rules(tree: exp.Expr, context: StatementContext) -> None:
    """A statement hook that lets the rules refuse a statement."""
    ask(Asked.STATEMENT, tree, context)


def is_involved(tree: exp.Expr, context: StatementContext) -> bool:
    """Whether a tree needs query hooks."""
    return any(needs_hooks(tree, context) for needs_hooks in INVOLVED)


async def execute(tree: exp.Expr, context: StatementContext) -> StatementResult | None:
    """Let a statement hook execute a statement; None = no hook did."""
    for hook in STATEMENTS:
        outcome = await hook(tree, context)
        if outcome is not None:
            return outcome
    return None


def innermost_first(tree: exp.Expr, kind: type[exp.Expr]) -> list[Any]:
    """Nodes of a class in the order in which they can be computed.

    A node comes after the nodes within it, and a query after the tables of its WITH.
    """
    found: list[Any] = []
    stack: list[tuple[Any, bool]] = [(tree, False)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            found.append(node)
            continue
        if isinstance(node, kind):
            stack.append((node, True))
        children = [*node.iter_expressions()]
        children.sort(key=lambda child: not isinstance(child, exp.With))
        stack.extend((child, False) for child in reversed(children))
    return found


def _reference(name: Name, key: str) -> dict[str, str]:
    return {"projectId": name[0], "datasetId": name[1], key: name[2]}
