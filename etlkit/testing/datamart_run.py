"""`datamart_rows`: a datamart's SQL on given rows, in the local BigQuery."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError
from etlkit.rows.columns import parse_schema
from etlkit.rows.inference import infer_columns
from etlkit.testing.arguments import given_rows, short
from etlkit.testing.frozen_sql import frozen
from etlkit.testing.frozen_time import frozen_moment, going_on
from etlkit.testing.made_tables import make_table

if TYPE_CHECKING:
    from etlkit.api.datamart import Datamart
    from etlkit.api.report import DatamartReport
    from etlkit.bigquery.client import Connection
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row


_made_in_tests: dict[tuple[str, str], str] = {}
"""Which test made a table: the address of the table's BigQuery, and its name."""

_GIVEN = {
    "given": "{'demo.orders': [{'id': 1}]}",
    "schemas": "{'demo.orders': {'id': 'INT64'}}",
    "variables": "{'day': '2026-01-03'}",
}


def datamart_rows(
    job: Datamart,
    given: Mapping[str, Sequence[Row]] | None = None,
    *,
    schemas: Mapping[str, Mapping[str, str]] | None = None,
    variables: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> list[Row]:
    """Run a datamart on given rows, and return what it gives. For the local BigQuery only.

    The given tables are made anew, whatever was in them. So is the destination, unless it is given.
    Under pytest, the tables of an earlier test are dropped first, so that a test sees only its own.

    Args:
        job: What to test.
        given: Table to its rows, e.g. `{"demo.orders": [{"id": 1}]}`.
        schemas: Table to its columns, as in `EtlBase.output_schema`; needed for a table without rows,
            or whose types cannot be told from them. A table that is only named here is empty.
        variables: Values of custom variables.
        now: An aware time: what CURRENT_DATE, CURRENT_TIMESTAMP and so on give, and the time of the run
            for variables. None = the moment of `freeze_time`, or the clock.

    Returns:
        The destination's rows; in query mode those of the last SELECT. They have no order, unless the
        SELECT has one.

    Raises:
        ConfigError: This is not the local BigQuery, an argument is of another kind, or the types of a
            table are not known.
        EtlkitError: The datamart failed.
    """
    from etlkit.api.datamart import Datamart

    if not isinstance(job, Datamart):
        raise ConfigError(f"datamart_rows({short(job)}): give a Datamart")
    for name, value in {"given": given, "schemas": schemas, "variables": variables}.items():
        if value is not None and not isinstance(value, Mapping):
            raise ConfigError(
                f"datamart_rows: {name}={short(value)}: it is a dict, e.g. {_GIVEN[name]}"
            )
    if now is not None and (not isinstance(now, datetime) or now.tzinfo is None):
        raise ConfigError(
            f"datamart_rows: now={short(now)}: it is a time with its timezone, e.g. "
            "datetime(2026, 1, 3, tzinfo=UTC)"
        )
    rows = {table: given_rows(f"datamart_rows: {table}", r) for table, r in (given or {}).items()}
    return run_on_rows(job, rows, schemas or {}, variables, now)[0]


def run_on_rows(
    job: Datamart,
    given: Mapping[str, Sequence[Row]],
    schemas: Mapping[str, Mapping[str, str]],
    variables: Mapping[str, Any] | None,
    now: datetime | None,
) -> tuple[list[Row], tuple[Column, ...]]:
    """As `datamart_rows`, with the columns of the rows."""
    from etlkit.runner import run_datamart

    now = frozen_moment() if now is None else now
    with going_on(), _connection() as connection:
        _prepare(connection, job, given, schemas)
        if now is not None:
            job = replace(job, sql=frozen(job.text(), now), file=None)
        report = run_datamart(job, variables=variables, queued_at=now)
        return _result(connection, report)


@contextmanager
def _connection() -> Iterator[Connection]:
    from etlkit.api.run import Run, RunRequest
    from etlkit.bigquery.client import EMULATOR_VARIABLE, connect
    from etlkit.runner import environment

    settings = environment()
    if not settings.environ.get(EMULATOR_VARIABLE):
        raise ConfigError(
            "datamart_rows makes tables anew, so it runs on the local BigQuery only: use the fixture "
            "local_bigquery, or etlkit.local_world"
        )
    with Run(RunRequest("datamart_rows", settings)) as run:
        yield connect(run)


def _prepare(
    connection: Connection,
    job: Datamart,
    given: Mapping[str, Sequence[Row]],
    schemas: Mapping[str, Mapping[str, str]],
) -> None:
    from etlkit.bigquery.names import parse_table

    tables = {**{name: [] for name in schemas}, **given}
    made = [str(parse_table(name, connection.project)) for name in tables]
    if job.destination is not None:
        destination = parse_table(job.destination, connection.project)
        connection.make_dataset(destination.dataset_id)
        made.append(str(destination))
        connection.client.delete_table(str(destination), not_found_ok=True)
    _drop_those_of_other_tests(connection, made)
    for name, rows in tables.items():
        make_table(connection, name, _columns(name, rows, schemas), rows)


def _drop_those_of_other_tests(connection: Connection, made: Sequence[str]) -> None:
    """A test must not pass on rows that an earlier one has left: a name may be misspelt."""
    from etlkit.bigquery.client import EMULATOR_VARIABLE
    from etlkit.runner import environment

    address = environment().environ[EMULATOR_VARIABLE]
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    if not test.endswith("(call)"):  # a fixture may make tables for several tests
        for name in made:
            _made_in_tests.pop((address, name), None)
        return
    for (where, name), maker in list(_made_in_tests.items()):
        if where == address and maker != test:
            connection.client.delete_table(name, not_found_ok=True)
            del _made_in_tests[where, name]
    _made_in_tests.update(((address, name), test) for name in made)


def _columns(
    name: str, rows: Sequence[Row], schemas: Mapping[str, Mapping[str, str]]
) -> Sequence[Column]:
    if name in schemas:
        return parse_schema(schemas[name])
    if not rows:
        raise ConfigError(
            f"{name} is given without rows: say its columns (schemas; in YAML schema)"
        )
    return infer_columns(rows, {})


def _result(connection: Connection, report: DatamartReport) -> tuple[list[Row], tuple[Column, ...]]:
    from etlkit.bigquery.datamart.read_back import last_select
    from etlkit.bigquery.schema_fields import from_schema_fields

    rows: Any
    job_id = last_select(report)
    if report.target:
        rows = connection.client.list_rows(connection.client.get_table(report.target))
    elif job_id is not None:
        job: Any = connection.client.get_job(job_id, location=connection.location)
        rows = job.result()
    else:
        raise ConfigError(f"{report.job} has neither a destination nor a SELECT: there are no rows")
    return [dict(row) for row in rows], from_schema_fields(rows.schema)
