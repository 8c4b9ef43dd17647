"""`DataCheck`: a query whose number must hold, or that must give no rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Literal, get_args

from etlkit.api.quantities import number_of
from etlkit.api.workflow_report import TaskKind
from etlkit.errors import ConfigError, DataCheckFailedError, JobError
from etlkit.variables.sql_tokens import one_query
from etlkit.workflow.conditions import COMPARISONS, Operator, check_operator
from etlkit.workflow.table_references import query_tables
from etlkit.workflow.task_kind import Runnable, Tables, TaskContext
from etlkit.workflow.texts import names_in
from etlkit.workflow.values import is_number

OnNull = Literal["fail", "pass"]


@dataclass(frozen=True)
class DataCheck(Runnable):
    """A condition on data: the task fails if it does not hold.

    With an operator, the query gives one number, and the condition is `number operator value`, e.g.
    `DataCheck("SELECT COUNT(*) FROM d.t", ">", 0)`. Without, the query must give no rows. The task's
    value is the number, or the number of rows.

    Attributes:
        sql: One SELECT, with `$name$` for variables.
        operator: `==`, `!=`, `>`, `>=`, `<` or `<=`; None = there must be no rows.
        value: What the number is compared with.
        on_null: Whether a NULL instead of the number is a failure (`fail`) or fine (`pass`).
        branch_only: Never fail because of the number; an `IfElse` after it decides.
        maximum_bytes_billed: BigQuery refuses the query rather than bill more; None = no limit.
    """

    sql: str
    operator: Operator | None = None
    value: int | float | Decimal | None = None
    on_null: OnNull = field(default="fail", kw_only=True)
    branch_only: bool = field(default=False, kw_only=True)
    maximum_bytes_billed: int | None = field(default=None, kw_only=True)

    kind: ClassVar[TaskKind] = "check"

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        if not isinstance(self.sql, str) or not self.sql.strip():
            raise ConfigError("DataCheck(sql=…) is empty: write a SELECT")
        one_query(self.sql)
        if self.operator is None and self.value is not None:
            raise ConfigError(f"DataCheck(value={self.value!r}) needs an operator, e.g. '>='")
        if self.operator is not None:
            check_operator("DataCheck", self.operator)
            if not is_number(self.value) or not math.isfinite(self.value or 0):
                raise ConfigError(
                    f"DataCheck(operator={self.operator!r}) compares with value={self.value!r}: "
                    "give a number"
                )
        if self.on_null not in get_args(OnNull):
            raise ConfigError(f"DataCheck(on_null={self.on_null!r}): it is 'fail' or 'pass'")

    @property
    def rule(self) -> str:
        """What must hold, in words."""
        if self.operator is None:
            return "the query gives no rows"
        return f"number {self.operator} {self.value}"

    def used_variables(self) -> frozenset[str]:
        """The variables in its query."""
        return frozenset(names_in(self.sql))

    def tables(self, variables: Mapping[str, Any] | None = None) -> Tables:
        """The tables in its query."""
        return query_tables(self.sql, variables or {})

    def run(self, context: TaskContext, /) -> None:
        """Run the query and compare."""
        from etlkit.workflow.task_query import run_query

        context.report.details |= {"SQL": self.sql, "rule": self.rule}
        rows, num_rows = run_query(
            context,
            self.sql,
            "check",
            max_rows=2,
            maximum_bytes_billed=self.maximum_bytes_billed,
        )
        holds = self._compare(context, rows, num_rows)
        context.report.details["result"] = "holds" if holds else "does not hold"
        if not holds and not self.branch_only:
            found = context.report.value
            number = "NULL" if found is None else found
            what = number_of(found, "row") if self.operator is None else f"the number is {number}"
            raise DataCheckFailedError(f"the check does not hold: {what}; it must be: {self.rule}")

    def dry_run(self, context: TaskContext, /) -> bool:
        """Have BigQuery validate the query and estimate its bytes."""
        from etlkit.workflow.task_query import dry_run_query

        context.report.details |= {"SQL": self.sql, "rule": self.rule}
        dry_run_query(context, self.sql)
        return True

    def _compare(self, context: TaskContext, rows: list[dict[str, Any]], num_rows: int) -> bool:
        from etlkit.rows.json_rows import json_number

        if self.operator is None:
            context.report.value = num_rows
            return num_rows == 0
        if num_rows != 1 or len(rows[0]) != 1:
            gave = number_of(num_rows, "row")
            gave += f" of {number_of(len(rows[0]), 'column')}" if rows else ""
            raise JobError(f"the query of a check gives one number; this gave {gave}")
        (number,) = rows[0].values()
        if number is None:
            return self.on_null == "pass"
        if not is_number(number):
            raise JobError(
                f"the query of a check gives one number; this gave a {type(number).__name__}"
            )
        if not math.isfinite(number):
            raise JobError(f"the query of a check gives a finite number; this gave {number}")
        context.report.value = json_number(number)
        if isinstance(number, float) or isinstance(self.value, float):  # 0.1 is not Decimal("0.1")
            return bool(COMPARISONS[self.operator](float(number), float(self.value or 0)))
        return bool(COMPARISONS[self.operator](number, self.value))
