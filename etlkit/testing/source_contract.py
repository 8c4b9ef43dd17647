"""The contract of every source, as a pytest class to inherit from.

```python
class TestMySource(SourceContract):
    def make_source(self, rows): ...
```
"""

# ruff: noqa: S101 - these are tests that ship
from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.api.run import Run, RunRequest
from etlkit.api.source import ROW_ID
from etlkit.rows.batches import RowDecoder
from etlkit.rows.columns import arrow_schema
from etlkit.testing.contract_job import contract_job

if TYPE_CHECKING:
    from etlkit.api.source import Source, SourceReader
    from etlkit.rows.row import Row


class SourceContract:
    """Override `make_source`, and `make_run` if the source needs settings."""

    def make_source(self, rows: list[Row]) -> Source:
        """Make a source of these rows; each has `name` (STRING) and `size` (INT64)."""
        raise NotImplementedError

    def make_run(self, *, limit: int | None = None) -> Run:
        """Make a run whose settings fit the source."""
        return Run(RunRequest("contract", limit=limit))

    def _open(self, rows: list[Row], run: Run) -> SourceReader:
        source = self.make_source(rows)
        return source.open(contract_job(source=source), run)

    def _read(self, reader: SourceReader) -> tuple[list[str], list[Row]]:
        ids: list[str] = []
        rows: list[Row] = []
        decoder = RowDecoder(reader.columns)
        for batch in reader.batches():
            assert batch.schema.names == [ROW_ID, *(column.name for column in reader.columns)]
            assert pa.schema(list(batch.schema)[1:]).types == arrow_schema(reader.columns).types
            ids += batch.column(ROW_ID).to_pylist()
            rows += decoder.decode(batch).rows
        return ids, rows

    def test_gives_every_row_once_in_order(self) -> None:
        """Rows come in order, each with an id of its own."""
        expected = [{"name": f"n{i:04}", "size": i} for i in range(2500)]
        with self.make_run() as run:
            reader = self._open(expected, run)
            assert [(c.name, c.type) for c in reader.columns] == [
                ("name", "STRING"),
                ("size", "INT64"),
            ]
            assert isinstance(dict(reader.details), dict)
            reader.freeze()
            assert reader.num_rows == len(expected)
            ids, rows = self._read(reader)
            reader.close(succeeded=True)
        assert rows == expected
        assert len(set(ids)) == len(expected)

    def test_reads_the_same_frozen_rows_again(self) -> None:
        """A second read gives the same rows under the same ids."""
        with self.make_run() as run:
            reader = self._open([{"name": "a", "size": 1}, {"name": "b", "size": 2}], run)
            reader.freeze()
            first, second = self._read(reader), self._read(reader)
            reader.close(succeeded=True)
        assert first == second

    def test_reads_no_more_than_the_limit(self) -> None:
        """`run.limit` bounds the rows, frozen or not."""
        rows: list[Row] = [{"name": str(i), "size": i} for i in range(5)]
        for frozen in (True, False):
            with self.make_run(limit=2) as run:
                reader = self._open(rows, run)
                if frozen:
                    reader.freeze()
                assert len(self._read(reader)[0]) == 2
                reader.close(succeeded=True)

    def test_a_text_without_variables_expands_to_itself(self) -> None:
        """`expand` with no variables changes nothing and uses none."""
        source = self.make_source([])
        expanded, used = source.expand({})
        assert (expanded.fingerprint, used) == (source.fingerprint, frozenset())
