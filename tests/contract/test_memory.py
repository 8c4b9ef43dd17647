"""The parts in memory keep the same contract as BigQuery's."""

from etlkit.testing import MemorySink, MemorySource, SinkContract, SourceContract


class TestMemorySource(SourceContract):
    def make_source(self, rows):
        return MemorySource(rows, {"name": "STRING", "size": "INT64"}, batch_rows=700)


class TestMemorySink(SinkContract):
    def setup_method(self):
        self.table = MemorySink()

    def make_sink(self, mode):
        self.table.mode = mode
        return self.table

    def visible_rows(self):
        return self.table.rows

    def visible_rejects(self):
        return [(row.row_id, row.error_class) for row in self.table.rejects]
