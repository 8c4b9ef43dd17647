"""BigQuery's source and sink keep the same contract as the parts in memory."""

import itertools
import threading

import pytest
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from etlkit import BigQuerySink, BigQuerySource, HttpSink
from etlkit.api.run import Run, RunRequest
from etlkit.bigquery.storage.append_rows import Appender
from etlkit.testing import FaultServer, SinkContract, SourceContract
from etlkit.testing.sink_contract import COLUMNS as WRITTEN
from etlkit.testing.sink_contract import batch_of, counts_of

COLUMNS = [bigquery.SchemaField("name", "STRING"), bigquery.SchemaField("size", "INT64")]


class TestBigQuerySource(SourceContract):
    @pytest.fixture(autouse=True)
    def _world(self, world, dataset):
        self.world = world
        self.dataset = dataset
        self.numbers = itertools.count(1)

    def make_source(self, rows):
        table = f"{self.dataset}.contract_source_{next(self.numbers)}"
        bq = self.world.client
        bq.create_table(bigquery.Table(f"{bq.project}.{table}", schema=COLUMNS))
        if rows:  # a load is free, and its rows are there at once
            config = bigquery.LoadJobConfig(schema=COLUMNS, labels={"etlkit_suite": self.dataset})
            bq.load_table_from_json(rows, table, job_config=config).result()
        query = f"SELECT name, size FROM {table} ORDER BY name -- a comment"
        return BigQuerySource(query, work_dataset=self.world.work)

    def make_run(self, *, limit=None):
        return Run(RunRequest(self.dataset, self.world.settings, limit=limit))

    def _read(self, reader):
        """In the order of the column `size`: a BigQuery table has none of its own."""
        ids, rows = super()._read(reader)
        pairs = sorted(zip(ids, rows, strict=True), key=lambda pair: pair[1]["size"])
        return [row_id for row_id, _ in pairs], [row for _, row in pairs]


class TestBigQuerySink(SinkContract):
    @pytest.fixture(autouse=True)
    def _world(self, world, dataset, bq):
        self.world = world
        self.table = f"{dataset}.contract_sink"
        self.bq = bq

    def make_sink(self, mode):
        return BigQuerySink(self.table, mode=mode, work_dataset=self.world.work)

    def make_request(self, *, resume=None):
        return RunRequest(self.table, self.world.settings, resume=resume)

    def rows(self, sql):
        try:
            return list(self.bq.query(sql).result())
        except NotFound:
            return []

    def visible_rows(self):
        return [dict(row) for row in self.rows(f"SELECT * FROM {self.table}")]

    def visible_rejects(self):
        sql = f"SELECT row_id, error_class FROM {self.table}_rejects"
        return [row.values() for row in self.rows(sql)]

    def test_commit_publishes_rows_that_are_still_on_their_way(self, monkeypatch):
        """A connection that has sent nothing before `commit` is not cut off: its rows come first."""
        waited_for = threading.Event()
        converse, flush, close = Appender._converse, Appender.flush, Appender.close

        def converse_late(appender):
            waited_for.wait()
            converse(appender)

        def noted(original):
            def call(appender):
                waited_for.set()
                original(appender)

            return call

        monkeypatch.setattr(Appender, "_converse", converse_late)
        rows = [{"name": "a", "size": 1}]
        with self._writing("append") as (_run, writer):
            writer.begin(WRITTEN)
            writer.write(batch_of("id1", rows))
            monkeypatch.setattr(Appender, "flush", noted(flush))
            monkeypatch.setattr(Appender, "close", noted(close))
            assert writer.commit(counts_of([rows])) == 1
        assert self._seen() == [("a", 1)]


class TestHttpSink(SinkContract):
    """The API is a server on loopback that honours idempotency keys."""

    is_atomic = has_columns = False

    @pytest.fixture(autouse=True)
    def _world(self, world, dataset, bq):
        self.world = world
        self.name = f"{dataset}.contract_api"
        self.bq = bq
        with FaultServer(routes={"/rows": lambda row: row}) as self.api:
            yield

    def make_sink(self, mode):
        assert mode == "append"
        return HttpSink(f"{self.api.url}/rows", name=self.name, work_dataset=self.world.work)

    def make_request(self, *, resume=None):
        return RunRequest(self.name, self.world.settings, resume=resume)

    def visible_rows(self):
        return [{"size": None, **row} for row in self.api.accepted.values()]

    def visible_rejects(self):
        try:
            sql = f"SELECT row_id, error_class FROM {self.name}_rejects"
            return [row.values() for row in self.bq.query(sql).result()]
        except NotFound:
            return []

    def test_rows_that_were_sent_are_not_sent_again(self):
        """Neither in the same attempt nor in the next one, and the run does not forget them."""
        rows = [{"name": "a", "size": 1}, {"name": "b", "size": 2}]
        with self._writing("append") as (run, writer):
            writer.begin(WRITTEN)
            writer.write(batch_of("id1", rows))
            writer.flush()
            writer.abort(RuntimeError("stop"))
        with self._writing("append", resume=run.run_id) as (_run, writer):
            counts = writer.recover().counts
            assert (counts.written, counts.parts) == (1, 2)
            writer.begin(WRITTEN)
            assert writer.commit(counts) == 2
        assert self._seen() == [("a", 1), ("b", 2)]
        assert set(self.api.requests_by_key.values()) == {1}
