"""File sources keep the same contract as the BigQuery source and the memory source."""

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etlkit import CsvSource, JsonlSource, ParquetSource
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.testing import SourceContract


class _InTwoFiles(SourceContract):
    """Writes the rows into two files in a local bucket."""

    @pytest.fixture(autouse=True)
    def _world(self, tmp_path):
        self.root = tmp_path / "buckets"
        (self.root / "files").mkdir(parents=True)

    def parts(self, rows):
        """File number and rows."""
        middle = (len(rows) + 1) // 2
        return [("1", rows[:middle]), ("2", rows[middle:])]

    def make_run(self, *, limit=None):
        return Run(
            RunRequest(
                "contract", Settings(environ={"ETLKIT_BUCKETS": str(self.root)}), limit=limit
            )
        )


class TestCsvSource(_InTwoFiles):
    def make_source(self, rows):
        for number, part in self.parts(rows):
            path = self.root / "files" / f"{number}.csv.gz"
            with gzip.open(path, "wt", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows(
                    [["name", "size"], *([row["name"], row["size"]] for row in part)]
                )
        return CsvSource("gs://files/*.csv.gz", types={"name": "STRING", "size": "INT64"})


class TestJsonlSource(_InTwoFiles):
    def make_source(self, rows):
        for number, part in self.parts(rows):
            text = "".join(json.dumps(row) + "\n" for row in part)
            (self.root / "files" / f"{number}.jsonl").write_text(text)
        return JsonlSource(["gs://files/1.jsonl", "gs://files/2.jsonl"])


class TestParquetSource(_InTwoFiles):
    def make_source(self, rows):
        schema = pa.schema([("name", pa.large_string()), ("size", pa.int32())])
        for number, part in self.parts(rows):
            path = self.root / "files" / f"{number}.parquet"
            pq.write_table(pa.Table.from_pylist(part, schema), path, row_group_size=700)
        return ParquetSource("gs://files/*.parquet")
