"""A `Connection` without BigQuery: tables in memory, statements recorded and answered by the test.

What it promises about tables is a contract (`connection_contract.py`), which the real connection keeps
too, against the local server.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import bigquery

from etlkit.bigquery.names import TableName

DATASET = ("p", "etlkit_work")


@dataclass(frozen=True)
class Statement:
    """A statement that was sent.

    Attributes:
        sql: Its text.
        purpose: Of the job; empty = a SELECT without a job of ours.
        parameters: Values of its query parameters, by name.
        job_id: The whole id that was asked for; None = the connection makes one.
    """

    sql: str
    purpose: str
    parameters: dict[str, Any]
    job_id: str | None = None


@dataclass
class Answer:
    """What a statement with `part` in it does and gives; an exception is raised."""

    part: str
    rows: Any
    times: int | None = None


class FakeClient:
    """The requests that modules make of the client itself."""

    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection

    def get_table(self, name: str, **_: Any) -> bigquery.Table:
        self._connection.meet("get_table", name)
        return self._connection.load(name)

    def update_table(self, table: bigquery.Table, fields: list[str], **_: Any) -> bigquery.Table:
        self._connection.meet("update_table", str(table.reference))
        return self._connection.change(table, fields)

    def list_tables(self, dataset: str, **_: Any) -> list[bigquery.Table]:
        return [
            self._connection.load(name)
            for name in self._connection.tables
            if name.startswith(f"{dataset}.")
        ]


@dataclass
class FakeConnection:
    """See the module.

    Attributes:
        now: BigQuery's time; the test moves it.
        tables: By full name, as BigQuery's API gives them.
        statements: What was sent, in order.
        answers: What statements give; the first that fits.
        on_request: Called with `get_table` or `update_table` and the table's name, before it is done.
    """

    now: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    labels: dict[str, str] = field(default_factory=dict)
    location: str | None = None
    project: str = "p"
    tables: dict[str, dict] = field(default_factory=dict)
    datasets: set[str] = field(default_factory=set)
    statements: list[Statement] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    on_request: Callable[[str, str], None] | None = None
    _changes: int = 0

    def __post_init__(self) -> None:
        self.client = FakeClient(self)

    def pass_time(self, seconds: float) -> None:
        """Move BigQuery's clock on."""
        self.now += timedelta(seconds=seconds)

    def meet(self, kind: str, name: str) -> None:
        """A request is on its way."""
        if self.on_request is not None:
            self.on_request(kind, name)

    def load(self, name: str) -> bigquery.Table:
        """A table as BigQuery's API gives it."""
        if name not in self.tables:
            raise NotFound(f"Not found: Table {name}")
        return bigquery.Table.from_api_repr(copy.deepcopy(self.tables[name]))

    def _save(self, name: str, resource: dict) -> bigquery.Table:
        self._changes += 1
        changed = {
            "etag": f"etag-{self._changes}",
            "lastModifiedTime": str(int(self.now.timestamp() * 1000)),
        }
        self.tables[name] = {**resource, **changed}
        return self.load(name)

    def change(self, table: bigquery.Table, fields: list[str]) -> bigquery.Table:
        """`tables.patch` with an etag."""
        name = str(table.reference)
        resource = self.load(name).to_api_repr()
        if table.etag is not None and table.etag != resource["etag"]:
            raise PreconditionFailed(f"{name} did not meet condition IF_MATCH")
        wanted = table.to_api_repr()
        keys = {"view_query": "view"}
        return self._save(name, resource | {keys.get(f, f): wanted[keys.get(f, f)] for f in fields})

    def answer(self, part: str, rows: Any, times: int | None = None) -> None:
        """Statements with `part` in them give these rows; see `Answer`."""
        self.answers.append(Answer(part, rows, times))

    def texts(self) -> list[str]:
        """The statements that were sent."""
        return [statement.sql for statement in self.statements]

    def _send(self, statement: Statement) -> Any:
        self.statements.append(statement)
        for answer in self.answers:
            if answer.part not in statement.sql or answer.times == 0:
                continue
            if answer.times is not None:
                answer.times -= 1
            rows = answer.rows() if callable(answer.rows) else answer.rows
            if isinstance(rows, BaseException):
                raise rows
            return rows
        return []

    # What `etlkit.bigquery.client.Connection` has.

    def query(self, sql, purpose, *, parameters=None, maximum_bytes_billed=None, job_id=None):
        return self._send(Statement(sql, purpose, _values(parameters), job_id))

    def select(self, sql, parameters=None, *, max_rows=None):
        if "CURRENT_TIMESTAMP() AS now" in sql and "FROM" not in sql:
            return [{"now": self.now}]
        return self._send(Statement(sql, "", _values(parameters)))

    @staticmethod
    def retry():
        return None

    def find_table(self, name: TableName):
        try:
            return self.client.get_table(str(name))
        except NotFound:
            return None

    def make_table(self, table: bigquery.Table):
        name = str(table.reference)
        if name in self.tables:
            return self.load(name)
        resource = table.to_api_repr()
        kind = "VIEW" if "view" in resource else "TABLE"
        return self._save(name, {**resource, "type": kind})

    def find_or_make_table(self, table: bigquery.Table):
        name = TableName(table.project, table.dataset_id, table.table_id)
        return self.find_table(name) or self.make_table(table)

    def look_ahead(self, datasets, tables):
        """What is asked for later is looked up then."""

    def update(self, table, fields):
        return self.client.update_table(table, fields)

    def drop_work_table(self, name: TableName):
        self.tables.pop(str(name), None)

    def close(self):
        """Nothing goes on beside it."""

    def drop_beside(self, names, then=None):
        for name in names:
            self.drop_work_table(name)
        if then is not None:
            then()

    def find_dataset(self, dataset_id):
        return bigquery.Dataset(dataset_id) if dataset_id in self.datasets else None

    def make_dataset(self, dataset_id, location=None):
        self.datasets.add(dataset_id)


def _values(parameters) -> dict[str, Any]:
    return {
        each.name: each.values if isinstance(each, bigquery.ArrayQueryParameter) else each.value
        for each in parameters or ()
    }
