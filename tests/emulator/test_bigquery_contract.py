"""BigQuery's source and sink keep the same contract as the parts in memory."""

import itertools

import pytest
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from etlkit import BigQuerySink, BigQuerySource
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.testing import SinkContract, SourceContract

NUMBERS = itertools.count(1)


@pytest.fixture
def settings(local_server):
    return Settings(environ=local_server.endpoints.environ())


class TestBigQuerySource(SourceContract):
    @pytest.fixture(autouse=True)
    def _world(self, settings, dataset, bq):
        self.settings = settings
        self.table = f"{dataset}.contract_source"
        self.bq = bq

    def make_source(self, rows):
        self.bq.delete_table(self.table, not_found_ok=True)
        self.bq.create_table(
            bigquery.Table(
                f"{self.bq.project}.{self.table}",
                schema=[
                    bigquery.SchemaField("name", "STRING"),
                    bigquery.SchemaField("size", "INT64"),
                ],
            )
        )
        assert self.bq.insert_rows_json(self.table, rows) == []
        return BigQuerySource(f"SELECT name, size FROM {self.table} ORDER BY name -- a comment")

    def make_run(self, *, limit=None):
        return Run(RunRequest("contract", self.settings, limit=limit))


class TestBigQuerySink(SinkContract):
    @pytest.fixture(autouse=True)
    def _world(self, settings, dataset, bq):
        self.settings = settings
        self.table = f"{dataset}.contract_sink"
        self.bq = bq

    def make_sink(self, mode):
        return BigQuerySink(self.table, mode=mode)

    def make_request(self, *, resume=None):
        return RunRequest(self.table, self.settings, resume=resume)

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
