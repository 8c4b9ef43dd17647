"""BigQuery's source and sink keep the same contract as the parts in memory."""

import itertools

import pytest
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from etlkit import BigQuerySink, BigQuerySource
from etlkit.api.run import Run, RunRequest
from etlkit.testing import SinkContract, SourceContract

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
