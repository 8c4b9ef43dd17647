"""Whether the rows of a job fit its target, and what the target is afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from etlkit.api.checks import STAGED
from etlkit.api.policies import OnSchemaChange
from etlkit.bigquery.modes import MODES, ExistingTable, TargetOptions
from etlkit.bigquery.names import parse_table
from etlkit.bigquery.publish.target import KnownTarget
from etlkit.bigquery.table_definition import definition_of_resource
from etlkit.errors import SinkError
from etlkit.sql_check.checked_job import CheckedJob
from etlkit.sql_check.known import Columns, KnownTable, as_columns
from etlkit.sql_check.sql_text import SqlText
from etlkit.sql_check.statements import Statements
from etlkit.variables.sql_tokens import statements, tokenize

STAGED_NAME = "etlkit_staged.rows"
"""What `{staged}` becomes in the SQL of a check: the name of a table with the columns of the rows."""


def known_target(
    checked: CheckedJob, options: TargetOptions, policy: OnSchemaChange
) -> KnownTarget:
    """The target as it is when the job begins.

    Raises:
        ConfigError: Its columns are of a type that rows cannot hold.
        SinkError: It is no table that rows can be written to.
    """
    name = parse_table(options.table, checked.world.project)
    found = checked.world.find(options.table)
    if found is not None and not (isinstance(found, KnownTable) and not found.is_view):
        raise SinkError(f"{name} is no table that rows can be written to", stage="open")
    table = None
    if isinstance(found, KnownTable) and found.is_complete:
        table = ExistingTable(
            name,
            as_columns(found.columns),
            definition_of_resource(found.resource),
            defaults=frozenset(each.name for each in found.columns if each.has_default),
        )
    return KnownTarget(options, policy, name, table)


def leave_table(
    checked: CheckedJob,
    options: TargetOptions,
    policy: OnSchemaChange,
    columns: Columns,
    *,
    is_complete: bool,
) -> None:
    """Note the target as it is after the job.

    Args:
        checked: The job.
        options: What it says about its target.
        policy: Its `on_schema_change`.
        columns: Of the rows, as far as they are known.
        is_complete: Whether these are all columns of the rows.
    """
    there = checked.world.find_table(options.table)
    name, why = checked.world.shown(options.table), tuple(checked.report.notes)
    if checked.report.kind == "transfer" and columns:
        reason = f"the transform of {checked.report.name} decides about the columns of {name}"
        why = (f"{reason}: declare them in its output_schema",)
    replaces = MODES[options.mode].replaces and policy == "add_columns"
    if there is None:
        made = KnownTable(columns, is_complete=is_complete)
    elif replaces and is_complete:
        made = replace(there, columns=columns, is_complete=True)
    elif policy != "add_columns":
        made = there
    else:
        old = {each.name for each in there.columns}
        more = tuple(each for each in columns if each.name not in old)
        made = replace(
            there, columns=(*there.columns, *more), is_complete=there.is_complete and is_complete
        )
    checked.world.make({options.table: replace(made, maker=checked.report.name, why=why)})


def check_before_load(checked: CheckedJob, written: str | None, text: SqlText | None) -> None:
    """Analyze `before_load`, which runs if the target exists.

    Args:
        checked: The job.
        written: As the user wrote it; None = there is none.
        text: With its variables expanded.
    """
    if written is None or text is None:
        return
    parts = statements(tokenize(written))
    for part in parts:
        Statements(checked, {}).analyze(text, part[0].start, part[-1].end)


def check_checks(
    checked: CheckedJob, texts: Sequence[SqlText], columns: Columns | None, *, is_complete: bool
) -> None:
    """Analyze the checks over the rows of the job.

    Args:
        checked: The job.
        texts: The checks, their variables expanded.
        columns: Of the rows; None = not known.
        is_complete: Whether these are all columns.
    """
    if not texts:
        return
    if columns is None:
        checked.note("its checks read rows whose columns are not known: declare output_schema")
        return
    rows = KnownTable(columns, is_complete=is_complete)
    for text in texts:
        parts = statements(tokenize(text.sql))
        if len(parts) != 1:
            checked.find("a check is one SELECT", text.place(None, None))
            continue
        checked.analyze(text, {}, more={STAGED_NAME: rows})


def staged_edits(sql: str) -> list[tuple[int, int, str]]:
    """What stands instead of each `{staged}` in the SQL of a check."""
    edits, start = [], sql.find(STAGED)
    while start >= 0:
        edits.append((start, start + len(STAGED), STAGED_NAME))
        start = sql.find(STAGED, start + 1)
    return edits
