"""The texts of a source query: what is dry-run, and what is frozen."""

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud.bigquery import SchemaField

from etlkit import BigQuerySource, ConfigError, EtlBase, SourceError, TransferJob
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.bigquery.names import TableName
from etlkit.bigquery.sink import BigQuerySink
from etlkit.bigquery.source import BigQueryReader
from etlkit.bigquery.sql import frozen_rows

TABLE = TableName("p", "w", "src")


class Connection:
    """Answers dry runs from a script, and remembers them."""

    project = "p"
    location = None

    def __init__(self, *names, refuses=()):
        self.schema = [SchemaField(name, "INTEGER") for name in names]
        self.refuses = refuses
        self.location = None
        self.total_bytes_processed = 7
        self.referenced_tables = ()
        self.sent = []

    def dry_run(self, text, _parameters):
        self.sent.append(text)
        if len(self.sent) > 1 and self.refuses:
            raise BadRequest(f"Unrecognized name: {self.refuses}")
        return self


def opened(query, connection):
    with Run(RunRequest("job", Settings())) as run:
        return BigQueryReader(BigQuerySource(query), run, connection)


FUNCTION = "CREATE TEMP FUNCTION plus(x INT64) AS (x + 1)"


def test_temporary_functions_stand_before_the_snapshot():
    """They cannot be inside a CREATE TABLE; the dry run gets the text as the user wrote it."""
    query = f"-- about\n{FUNCTION};\nSELECT plus(1) AS a; -- end"
    connection = Connection("a")
    opened(query, connection)
    assert connection.sent == [f"-- about\n{FUNCTION};\nSELECT plus(1) AS a"]
    text = frozen_rows.snapshot(TABLE, query, None)
    assert text.startswith(f"{FUNCTION};\nCREATE TABLE IF NOT EXISTS `p.w.src`")
    assert text.endswith("q.* FROM (\nSELECT plus(1) AS a\n) AS q")
    assert frozen_rows.source_rows(query, 5).startswith(f"{FUNCTION};\nSELECT GENERATE_UUID()")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("CREATE TABLE d.t (a INT64); SELECT 1 AS a", "another statement, in line 1: CREATE TABLE"),
        ("SELECT 1 AS a;\nSELECT 2 AS a", "another statement, in line 1: SELECT 1"),
        ("-- nothing", "there is no statement"),
    ],
)
def test_other_statements(query, message):
    """One SELECT is read; nothing is sent."""
    connection = Connection("a")
    with pytest.raises(ConfigError, match=message):
        opened(query, connection)
    assert connection.sent == []


def test_columns_without_a_name():
    """A dry run calls them `f0_`; SQL cannot read them by that name."""
    connection = Connection("a", "f0_", "f1_", refuses="f0_")
    with pytest.raises(SourceError, match="column 2, 3 of the source query has no name: name your"):
        opened("SELECT 1 AS a, 2, 3", connection)


def test_a_column_that_is_really_called_so():
    """It can be read, so it is one."""
    connection = Connection("f0_")
    assert [c.name for c in opened("SELECT 1 AS f0_", connection).columns] == ["f0_"]
    assert len(connection.sent) == 2


def test_the_query_runs_where_the_target_is(monkeypatch):
    """A query without tables would run in the US; the target's location is asked for first."""

    class Found(Connection):
        def find_dataset(self, dataset_id):
            assert dataset_id == "p.d"
            return type("Dataset", (), {"location": "asia-northeast1"})

        def look_ahead(self, datasets, tables):
            ahead.extend([*datasets, *map(str, tables)])

        def dry_run(self, text, parameters):
            assert self.location == "asia-northeast1"
            assert "p.d.t" in ahead
            return super().dry_run(text, parameters)

    ahead = []
    connection = Found("a")
    monkeypatch.setattr("etlkit.bigquery.source.connect", lambda _: connection)
    job = TransferJob(
        source=BigQuerySource("SELECT 1 AS a"), transform=EtlBase, sink=BigQuerySink("d.t")
    )
    with Run(RunRequest("job", Settings())) as run:
        reader = job.source.open(job, run)
    assert reader.num_bytes == 7


class Frozen(Connection):
    """Its snapshot has this many bytes."""

    def __init__(self, num_bytes):
        super().__init__("a")
        self._num_bytes = num_bytes

    def make_dataset(self, _dataset_id):
        return

    def query(self, *_, **__):
        return

    def find_table(self, _name):
        return type("Table", (), {"num_rows": 3, "num_bytes": self._num_bytes})


@pytest.mark.parametrize(
    ("query", "num_bytes", "streams"),
    [
        ("SELECT a FROM t", 1000, 1),
        ("SELECT a FROM t", 100 * 1024 * 1024, 2),
        ("SELECT a FROM t", 10**12, 4),
        ("SELECT a FROM t ORDER\n BY a", 10**12, 1),
        ("SELECT a FROM t -- order by a", 10**12, 1),
    ],
)
def test_many_rows_are_read_in_several_streams(monkeypatch, query, num_bytes, streams):
    """Not those of a query that asks for an order, as far as its text tells."""
    asked = []
    monkeypatch.setattr(
        "etlkit.bigquery.storage.read_rows.read_table",
        lambda *_, max_streams: asked.append(max_streams) or iter(()),
    )
    reader = opened(query, Frozen(num_bytes))
    reader.freeze()
    assert [*reader.batches_in_any_order()] == [*reader.batches()] == []
    assert asked == [streams, 1]
