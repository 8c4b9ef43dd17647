"""The results of queries as tables, and their dataset.

Real BigQuery: the rows of a query are in an anonymous table, which the job names and the Storage Read
API reads. That is how clients fetch large results. Its dataset is hidden, but clients may put tables of
their own there, which expire; ibis does. The emulator: it keeps the rows by the id of the job, only
`tables.get` knew the name that it gave to clients, and there was no such dataset.

What remains: tables in the hidden dataset are kept until the server ends, not for 24 hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
from bqemulator import server
from bqemulator.api.routes import datasets as routes
from bqemulator.jobs import executor
from bqemulator.storage.sql_identifiers import quoted_schema

from etlkit.local.bigquery.patches.table import PATCHES
from etlkit.local.server.endpoints import PROJECT

if TYPE_CHECKING:
    import pyarrow as pa

ANONYMOUS: Final = executor._ANONYMOUS_RESULTS_DATASET  # noqa: SLF001

_TYPE_MARK: Final = b"bqemu.duckdb_type"
"""How the engine marks the fields whose type Arrow does not have."""


@dataclass(frozen=True)
class ResultTable:
    """The rows of a finished query.

    Attributes:
        rows: As DuckDB gave them.
    """

    rows: pa.Table

    name: Final = '"result"'

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Give a DuckDB of its own in which the rows are the table `name`.

        It reaches no file: the client's filter is part of what it runs.
        """
        with duckdb.connect(config={"python_enable_replacements": False}) as connection:
            if any("GEOMETRY" in (_mark(field) or "") for field in self.rows.schema):
                connection.load_extension("spatial")
            connection.execute("SET enable_external_access = false; SET lock_configuration = true")
            connection.register("result", self.rows)
            yield connection

    def columns(self, connection: Any) -> list[tuple[str, Any, bool]]:
        """Name, DuckDB type and NOT NULL of each column."""
        described = connection.execute(f"SELECT * FROM {self.name} LIMIT 0").description
        return [
            (name, duckdb.type(_mark(field) or str(kind)), False)
            for (name, kind, *_), field in zip(described, self.rows.schema, strict=True)
        ]


def find_result(dataset: str, table: str) -> ResultTable | None:
    """Look up the result that has this name; None = there is none, or it is no longer kept."""
    if dataset != ANONYMOUS:
        return None
    for job_id, rows in list(executor.JOB_RESULTS.items()):  # other threads add to it
        if f"anon{job_id.replace('-', '')}" == table:
            return ResultTable(rows)
    return None


def _mark(field: pa.Field) -> str | None:
    mark = (field.metadata or {}).get(_TYPE_MARK)
    return None if mark is None else mark.decode()


def list_datasets(
    project_id: str,
    ctx: routes._Ctx,
    maxResults: int = 1000,  # noqa: N803
    all: bool = False,  # noqa: A002 - the name of the parameter
) -> dict[str, Any]:
    """Handle `datasets.list`: hidden datasets are only listed if `all` asks for them.

    Source: https://cloud.google.com/bigquery/docs/datasets#hidden_datasets
    """
    answer: dict[str, Any] = routes.list_datasets(project_id, ctx, maxResults=maxResults + 1)
    shown = [
        each
        for each in answer["datasets"]
        if all or not each["datasetReference"]["datasetId"].startswith("_")
    ]
    return {**answer, "datasets": shown[:maxResults], "totalItems": len(shown)}


def _make_dataset(ctx: Any) -> None:
    """Make the hidden dataset anew: an earlier server may have left tables in it."""
    schema = quoted_schema(PROJECT, ANONYMOUS)
    ctx.engine.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    if ctx.catalog.get_dataset(PROJECT, ANONYMOUS) is not None:
        ctx.catalog.delete_dataset(PROJECT, ANONYMOUS, delete_contents=True)
    ctx.engine.execute(f"CREATE SCHEMA {schema}")
    reference = {"datasetReference": {"projectId": PROJECT, "datasetId": ANONYMOUS}}
    ctx.catalog.create_dataset(routes._rest_to_dataset_meta(PROJECT, reference, ctx.clock))  # noqa: SLF001


def apply() -> None:
    """Make the dataset when the server starts, and hide it."""
    plain_create_app: Any = server.create_app

    def create_app(ctx: Any) -> Any:
        _make_dataset(ctx)
        return plain_create_app(ctx)

    PATCHES.replace("bqemulator.server:create_app", create_app)
    PATCHES.replace_route("bqemulator.api.routes.datasets:list_datasets", list_datasets)
