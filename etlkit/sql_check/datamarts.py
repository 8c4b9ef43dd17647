"""Checks of datamarts: their statements, or the rows of their SELECT and the table these go into."""

from __future__ import annotations

from collections.abc import Mapping

from etlkit.api.checks import as_check
from etlkit.api.datamart import Datamart
from etlkit.bigquery.datamart.insert import check_keys, sink_options
from etlkit.bigquery.datamart.plan import Plan, Step, make_plan
from etlkit.bigquery.datamart.schema_evolution import check_columns, policy
from etlkit.errors import ConfigError
from etlkit.rows.columns import check_names
from etlkit.sql_check.checked_job import CheckedJob, NotDescribedError
from etlkit.sql_check.data_checks import expanded
from etlkit.sql_check.known import Columns, KnownColumn, as_columns
from etlkit.sql_check.sql_text import SqlText
from etlkit.sql_check.statements import Statements
from etlkit.sql_check.targets import (
    check_before_load,
    check_checks,
    known_target,
    leave_table,
    staged_edits,
)
from etlkit.variables.definitions import Value


def check_datamart(checked: CheckedJob, job: Datamart, values: Mapping[str, Value]) -> None:
    """Check a datamart.

    Args:
        checked: Its report and the tables that there are.
        job: What it is.
        values: The value of each variable.

    Raises:
        NotDescribedError: Its description is wrong.
    """
    file = job.path
    try:
        text = SqlText(job.text(), checked.origin("" if file else "SQL", file))
    except ConfigError as error:
        raise NotDescribedError(str(error)) from error
    if checked.refuse_unreadable(text):
        return
    plan = _plan(checked, job)
    edits = [edit for step in plan.steps for edit in _shifted(text, step)]
    text = text.edited(edits)
    used = frozenset(plan.variables)
    if job.query_mode == "insert":
        _check_insert(checked, job, plan, text, values, used)
        return
    for step in plan.steps:
        start = _start(text, step)
        found = Statements(checked, checked.types_of(step.parameters), used).analyze(
            text, start, start + len(step.statement.text)
        )
        if found is not None and found[1].columns is not None:
            checked.report.columns_out = found[1].columns


def _plan(checked: CheckedJob, job: Datamart) -> Plan:
    item = checked.job
    try:
        return make_plan(
            job,
            given=item.given,
            queued_at=item.queued_at,
            started_at=item.queued_at,
            inherited=item.values({}) if item.loop is None else dict(item.inherited),
            needed=item.needed,
        )
    except ConfigError as error:
        raise NotDescribedError(str(error)) from error


def _start(text: SqlText, step: Step) -> int:
    """Where a step begins in the text."""
    start = 0
    for _ in range(step.statement.line - 1):
        start = text.written.index("\n", start) + 1
    return start + step.statement.column - 1


def _shifted(text: SqlText, step: Step) -> list[tuple[int, int, str]]:
    start = _start(text, step)
    return [(begin + start, end + start, new) for begin, end, new in step.edits]


def _check_insert(
    checked: CheckedJob,
    job: Datamart,
    plan: Plan,
    text: SqlText,
    values: Mapping[str, Value],
    used: frozenset[str],
) -> None:
    (step,) = plan.steps
    start = _start(text, step)
    parameters = checked.types_of(step.parameters)
    found = Statements(checked, parameters, used).analyze(
        text, start, start + len(step.statement.text)
    )
    try:
        options = sink_options(plan.job)
    except ConfigError as error:
        raise NotDescribedError(str(error)) from error
    checked.writes(options.table)
    columns: Columns | None = None
    is_complete = False
    if found is not None:
        statement, analysis = found
        is_complete = not checked.is_open(statement, analysis)
        if analysis.columns is None:
            checked.find(
                "query_mode='insert' takes one SELECT; other statements run with query_mode='query'",
                statement.place(None, None),
            )
        else:
            columns = checked.result_columns(statement, analysis)
            _check_rows(checked, plan.job, columns or (), statement, is_complete=is_complete)
    checks = [as_check(each).sql for each in job.checks]
    texts = []
    for number, sql in enumerate(checks, 1):
        name = "check" if len(checks) == 1 else f"check {number}"
        written, _, _ = _literals(SqlText(sql, checked.origin(name)), values)
        texts.append(written.edited(staged_edits(sql)))
    if columns is not None or found is None:
        check_checks(checked, texts, columns, is_complete=is_complete)
    if job.before_load is not None and checked.world.find(options.table) is not None:
        before, _, _ = _literals(SqlText(job.before_load, checked.origin("before_load")), values)
        check_before_load(checked, job.before_load, before)
    if columns is not None:
        checked.report.columns_out = columns
        checked.report.is_complete = is_complete
        more: Columns = ()
        if job.write_disposition == "scd_type_2":
            kinds = ("TIMESTAMP", "TIMESTAMP", "BOOL")
            names = zip(job.validity_columns.names, kinds, strict=True)
            more = tuple(KnownColumn(name, kind) for name, kind in names)
        leave_table(checked, options, policy(job), (*columns, *more), is_complete=is_complete)


def _literals(text: SqlText, values: Mapping[str, Value]) -> tuple[SqlText, object, object]:
    return expanded(text, values, as_literals=True)


def _check_rows(
    checked: CheckedJob,
    job: Datamart,
    columns: Columns,
    text: SqlText,
    *,
    is_complete: bool,
) -> None:
    """Whether the rows have what the job needs, and fit its table."""
    place = text.place(None, None)
    _check_lookback(checked, job, columns, text)
    with checked.refusals(place):
        rows = as_columns(columns)
        check_names(rows)
        if not is_complete or not rows:
            return
        check_keys(job, rows)
        options = sink_options(job)
        target = known_target(checked, options, policy(job))
        target.check_mode()
        checked.report.changes += check_columns(job, target, rows)
        staged = rows
        if job.write_disposition == "scd_type_2":
            kinds = zip(job.validity_columns.names, ("TIMESTAMP", "TIMESTAMP", "BOOL"), strict=True)
            staged = (*rows, *as_columns([KnownColumn(name, kind) for name, kind in kinds]))
        target.check_fit(staged)
        checked.report.changes += target.changes(staged)


def _check_lookback(checked: CheckedJob, job: Datamart, columns: Columns, text: SqlText) -> None:
    if job.lookback is None or not columns:
        return
    by_name = {each.name.casefold(): each for each in columns}
    found = by_name.get(job.lookback.column.casefold())
    shown = f"Lookback(column={job.lookback.column!r})"
    if found is None:
        names = ", ".join(each.name for each in columns)
        checked.find(
            f"{shown}: the query has no such column; it has {names}", text.place(None, None)
        )
    elif found.type != job.lookback.column_type:
        checked.find(
            f"{shown}: the column is {found.type}, and column_type says {job.lookback.column_type}",
            text.place(None, None),
        )
