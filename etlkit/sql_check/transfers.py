"""Checks of transfers: the source's query, the transform's columns, and the table they go into."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etlkit.api.checks import as_check
from etlkit.api.job import TransferJob
from etlkit.api.run import Run, RunRequest
from etlkit.bigquery.http_sink.sink import HttpSink
from etlkit.bigquery.http_sink.sql import RESPONSE_COLUMNS
from etlkit.bigquery.names import parse_table
from etlkit.bigquery.publish.rejects import REJECTS_COLUMNS, rejects_table
from etlkit.bigquery.sink import BigQuerySink
from etlkit.bigquery.source import BigQuerySource
from etlkit.engine.expansion import expand_transfer
from etlkit.engine.transform_spec import TransformSpec
from etlkit.errors import ConfigError, EtlkitError
from etlkit.rows.columns import check_names
from etlkit.sql_check.checked_job import CheckedJob, NotDescribedError
from etlkit.sql_check.data_checks import expanded
from etlkit.sql_check.known import Columns, KnownTable, as_columns, from_rows
from etlkit.sql_check.sql_text import Place, SqlText
from etlkit.sql_check.statements import Statements
from etlkit.sql_check.targets import (
    check_before_load,
    check_checks,
    known_target,
    leave_table,
    staged_edits,
)
from etlkit.variables.definitions import Value
from etlkit.variables.sql_tokens import one_query


def check_transfer(checked: CheckedJob, job: TransferJob, values: Mapping[str, Value]) -> None:
    """Check a transfer.

    Args:
        checked: Its report and the tables that there are.
        job: What it is.
        values: The value of each variable.

    Raises:
        NotDescribedError: Its description is wrong.
    """
    plain = _expanded(checked, job)
    spec = _spec(job)
    source, is_complete = _source_columns(checked, job, values, plain)
    checked.report.columns_in = source
    columns: Columns | None = None
    all_columns = False
    where = _place_of(job.transform, checked)
    if source is not None and is_complete:
        with checked.refusals(where):
            rows = as_columns(source)
            spec.read_columns(rows)
            spec.check_passing(rows)
    if spec.output_schema is not None:
        columns, all_columns = from_rows(spec.output_schema), True
    elif source is not None:
        columns = source
    checked.report.columns_out = columns
    checked.report.is_complete = all_columns
    _check_sink(checked, job, plain, values, source, columns, where, all_columns=all_columns)


def _expanded(checked: CheckedJob, job: TransferJob) -> TransferJob:
    item = checked.job
    try:
        expanded_job, _ = expand_transfer(
            job,
            given=item.given,
            queued_at=item.queued_at,
            started_at=item.queued_at,
            inherited=item.inherited,
            needed=item.needed,
        )
    except ConfigError as error:
        raise NotDescribedError(str(error)) from error
    return expanded_job


def _spec(job: TransferJob) -> TransformSpec:
    try:
        return TransformSpec(job)
    except EtlkitError as error:
        raise NotDescribedError(str(error)) from error
    except Exception as error:  # a factory is the user's code
        raise NotDescribedError(f"its transform cannot be made: {error!r}") from error


def _source_columns(
    checked: CheckedJob, job: TransferJob, values: Mapping[str, Value], plain: TransferJob
) -> tuple[Columns | None, bool]:
    """The columns of the source, and whether these are all; None = they are not known."""
    if not isinstance(job.source, BigQuerySource):
        return _file_columns(checked, plain), True
    written = SqlText(job.source.query, checked.origin("source query"))
    if checked.refuse_unreadable(written):
        return None, False
    try:
        one_query(job.source.query)
    except ConfigError as error:
        checked.find(str(error), written.place(None, None))
        return None, False
    text, parameters, used = expanded(written, values)
    types = checked.types_of({**job.source.parameters, **parameters})
    found = Statements(checked, types, used).analyze(text, 0, len(written.written))
    if found is None:
        return None, False
    statement, analysis = found
    columns = checked.result_columns(statement, analysis)
    if columns is None:
        return None, False
    with checked.refusals(statement.place(None, None)):
        check_names(as_columns(columns))
    return columns, not checked.is_open(statement, analysis)


def _file_columns(checked: CheckedJob, job: TransferJob) -> Columns | None:
    """The columns of files on this machine; None = they are elsewhere, or not there yet."""
    paths = getattr(job.source, "paths", None)
    if paths is None or any("://" in str(path) for path in paths):
        checked.note("the columns of its source are known when it is read")
        return None
    try:
        with Run(RunRequest(checked.report.name)) as run:
            reader = job.source.open(job, run)
            try:
                return from_rows(reader.columns)
            finally:
                reader.close(succeeded=True)
    except ConfigError as error:
        raise NotDescribedError(str(error)) from error
    except EtlkitError as error:
        checked.note(f"its source cannot be read: {error}")
        return None


def _place_of(transform: Any, checked: CheckedJob) -> Place:
    """The class of a transform in its file."""
    try:
        file = Path(inspect.getfile(transform))
        lines, number = inspect.getsourcelines(transform)
    except (OSError, TypeError):
        return Place(checked.report.file)
    with contextlib.suppress(ValueError):
        file = file.relative_to(Path.cwd())
    return Place(str(file), number, 1, lines[0].rstrip(), len(lines[0].rstrip()))


def _check_sink(
    checked: CheckedJob,
    job: TransferJob,
    plain: TransferJob,
    values: Mapping[str, Value],
    source: Columns | None,
    columns: Columns | None,
    where: Place,
    *,
    all_columns: bool,
) -> None:
    texts = []
    for number, check in enumerate(map(as_check, job.checks), 1):
        name = "check" if len(job.checks) == 1 else f"check {number}"
        texts.append(SqlText(check.sql, checked.origin(name)).edited(staged_edits(check.sql)))
    check_checks(checked, texts, columns, is_complete=all_columns)
    sink = plain.sink
    if isinstance(sink, HttpSink):
        _leave_others(checked, sink.name, job)
        if sink.responses is not None:
            checked.world.make(
                {sink.responses: KnownTable(from_rows(RESPONSE_COLUMNS), maker=checked.report.name)}
            )
    if not isinstance(sink, BigQuerySink):
        return
    checked.writes(sink.table)
    _leave_others(checked, sink.table, job)
    written = getattr(job.sink, "before_load", None)
    if written is not None and checked.world.find(sink.table) is not None:
        before, _, _ = expanded(
            SqlText(written, checked.origin("before_load")), values, as_literals=True
        )
        check_before_load(checked, written, before)
    with checked.refusals(where):
        target = known_target(checked, sink, job.on_schema_change)
        target.check_mode()
        if all_columns and columns is not None:
            rows = as_columns(columns)
            target.check_fit(rows)
            checked.report.changes += target.changes(rows)
        elif source is not None:
            target.check_known(as_columns(source))
    leave_table(checked, sink, job.on_schema_change, columns or (), is_complete=all_columns)


def _leave_others(checked: CheckedJob, table: str, job: TransferJob) -> None:
    """Note the table of rejected rows, if the job has one."""
    if job.on_row_error == "reject":
        name = str(rejects_table(parse_table(table, checked.world.project)))
        checked.world.make(
            {name: KnownTable(from_rows(REJECTS_COLUMNS), maker=checked.report.name)}
        )
