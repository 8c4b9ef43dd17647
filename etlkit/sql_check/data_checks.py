"""Checks of a workflow's own queries: `DataCheck`, and the query of a loop."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from etlkit.errors import ConfigError
from etlkit.sql_check.checked_job import CheckedJob, NotDescribedError, NotKnownError
from etlkit.sql_check.sql_text import SqlText
from etlkit.variables.definitions import Value
from etlkit.variables.sql_tokens import one_query
from etlkit.variables.substitution import expand_sql
from etlkit.variables.values import bare_name
from etlkit.workflow.data_check import DataCheck
from etlkit.workflow.precheck import STAND_IN

_NUMBERS = frozenset({"INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC"})

_EXAMPLES: Mapping[str, Any] = {
    "INT64": 1,
    "FLOAT64": 1.0,
    "BOOL": True,
    "NUMERIC": Decimal(1),
    "DATE": date(2000, 1, 1),
    "DATETIME": datetime(2000, 1, 1),  # noqa: DTZ001 - it has no zone
    "TIMESTAMP": datetime(2000, 1, 1, tzinfo=UTC),
    "TIME": time(),
}
"""A value of each type, for variables that the rows of a loop's query tell."""


def expanded(
    text: SqlText, values: Mapping[str, Value], *, as_literals: bool = False
) -> tuple[SqlText, dict[str, Any], frozenset[str]]:
    """A text with its variables expanded, its query parameters, and the variables in it.

    Raises:
        NotDescribedError: An unknown variable, or a value that does not go there.
    """
    try:
        found = expand_sql(text.written, values, as_literals=as_literals)
    except ConfigError as error:
        raise NotDescribedError(str(error)) from error
    return text.edited(found.edits), found.parameters, found.used


def check_data_check(checked: CheckedJob, check: DataCheck, values: Mapping[str, Value]) -> None:
    """Check the query of a `DataCheck`: with an operator it gives one number."""
    text, parameters, used = expanded(
        SqlText(check.sql, checked.origin("query of the check")), values
    )
    found = checked.analyze(text, checked.types_of(parameters), used=used)
    if found is None or found.columns is None:
        return
    checked.report.columns_out = found.columns
    if check.operator is None:
        return
    if len(found.columns) != 1 or found.columns[0].type not in _NUMBERS:
        shown = ", ".join(each.text.strip() for each in found.columns)
        checked.find(
            f"the check compares one number ({check.rule}); its query gives {shown}",
            text.place(None, None),
        )


def loop_values(checked: CheckedJob) -> dict[str, Any]:
    """Stand-ins for what the rows of a loop's query tell, with the types of its columns.

    Raises:
        NotKnownError: The query is refused, or nothing can be said of it.
    """
    loop = checked.job.loop
    if loop is None or loop.query is None:
        return {}
    written = SqlText(loop.query, checked.origin("query of the loop"))
    text, parameters, used = expanded(written, checked.job.inherited)
    one_query(loop.query)
    found = checked.analyze(text, checked.types_of(parameters), used=used)
    if found is None or found.columns is None:
        raise NotKnownError("the query of its loop tells its variables, and is not known")
    return {bare_name(each.name): _EXAMPLES.get(each.type, STAND_IN) for each in found.columns}
