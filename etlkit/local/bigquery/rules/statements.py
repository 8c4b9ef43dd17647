"""What a statement must say, and how long its text may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.rules.registry import Asked, rule

if TYPE_CHECKING:
    from etlkit.local.bigquery.extensions.statement_context import StatementContext

MAX_QUERY_BYTES: Final = 1024 * 1024

NO_DDL: Final = (
    "DDL statements are not supported in a transaction, except for those creating or dropping "
    "temporary tables or temporary functions."
)

NAMED: Final = (exp.Alias, exp.Column, exp.Dot)
"""Selected expressions that give a column its name."""


@rule(
    Asked.JOB,
    "The text of a query has at most 1 MB.",
    "https://cloud.google.com/bigquery/quotas#query_jobs",
)
def query_length(sql: str) -> None:
    """Refuse longer texts. Comments and white space count, parameters do not."""
    if len(sql.encode()) > MAX_QUERY_BYTES:
        raise InvalidQueryError(
            "The query is too large. The maximum standard SQL query length is 1024.00K characters, "
            "including comments and white space characters."
        )


@rule(
    Asked.STATEMENT,
    "UPDATE and DELETE have a WHERE clause.",
    "reference/standard-sql/dml-syntax#where_keyword",
)
def where_clause(tree: exp.Expr, context: StatementContext) -> None:  # noqa: ARG001
    """Refuse them without one."""
    if isinstance(tree, exp.Update | exp.Delete) and tree.args.get("where") is None:
        verb = "UPDATE" if isinstance(tree, exp.Update) else "DELETE"
        raise api_errors.invalid(f"{verb} must have a WHERE clause at [1:1]")


@rule(
    Asked.STATEMENT,
    "The columns of a query that makes a table or a view have names.",
    "reference/standard-sql/data-definition-language#create_table_statement",
)
def named_columns(tree: exp.Expr, context: StatementContext) -> None:  # noqa: ARG001
    """Refuse `CREATE TABLE … AS SELECT 1`."""
    if not isinstance(tree, exp.Create) or tree.kind not in {"TABLE", "VIEW"}:
        return
    query: Any = tree.expression
    if not isinstance(query, exp.Query) or isinstance(tree.this, exp.Schema):
        return
    for number, selected in enumerate(query.selects, 1):
        if not isinstance(selected, NAMED) and not selected.is_star:
            raise api_errors.invalid(
                f"CREATE {tree.kind} columns must be named, but column {number} has no name"
            )


@rule(
    Asked.TRANSACTION,
    "There is no DDL in a transaction, except for temporary tables and functions.",
    "transactions",
)
def ddl_in_transaction(tree: exp.Expr) -> None:
    """Refuse a statement that creates, changes or drops what stays."""
    if is_permanent_ddl(tree):
        raise InvalidQueryError(NO_DDL)


def is_permanent_ddl(tree: Any) -> bool:
    """Whether a statement creates, changes or drops what stays after its script."""
    if isinstance(tree, exp.Create):
        properties = tree.args.get("properties")
        return properties is None or properties.find(exp.TemporaryProperty) is None
    if isinstance(tree, exp.Drop):
        return bool(tree.this is not None and tree.this.args.get("db"))
    return isinstance(tree, exp.Alter)
