"""What every source and every sink promises, as pytest classes to inherit from.

```python
class TestMySink(SinkContract):
    def make_sink(self, mode): ...
    def visible_rows(self): ...
```
"""

# ruff: noqa: S101 - these are tests that ship
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from etlkit.columns import Column, arrow_schema
from etlkit.context import Run
from etlkit.errors import CountMismatchError
from etlkit.schema import RowDecoder, RowEncoder
from etlkit.settle import Counts
from etlkit.sink import PART, PARTS
from etlkit.source import ROW_ID

if TYPE_CHECKING:
    from etlkit.base import Row
    from etlkit.sink import Sink, SinkWriter
    from etlkit.source import Source, SourceReader

COLUMNS = (Column("name", "STRING"), Column("size", "INT64"))


class SourceContract:
    """Override `make_source`, and `make_run` if the source needs settings."""

    def make_source(self, rows: list[Row]) -> Source:
        """Make a source of these rows; each has `name` (STRING) and `size` (INT64)."""
        raise NotImplementedError

    def make_run(self, *, limit: int | None = None) -> Run:
        """Make a run whose settings fit the source."""
        return Run("contract", limit=limit)

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
            reader = self.make_source(expected).open(run)
            assert [(c.name, c.type) for c in reader.columns] == [
                ("name", "STRING"),
                ("size", "INT64"),
            ]
            reader.freeze()
            assert reader.num_rows == len(expected)
            ids, rows = self._read(reader)
            reader.close(succeeded=True)
        assert rows == expected
        assert len(set(ids)) == len(expected)

    def test_reads_the_same_frozen_rows_again(self) -> None:
        """A second read gives the same rows under the same ids."""
        with self.make_run() as run:
            reader = self.make_source([{"name": "a", "size": 1}, {"name": "b", "size": 2}]).open(
                run
            )
            reader.freeze()
            first, second = self._read(reader), self._read(reader)
            reader.close(succeeded=True)
        assert first == second

    def test_reads_no_more_than_the_limit(self) -> None:
        """`run.limit` bounds the rows, frozen or not."""
        rows: list[Row] = [{"name": str(i), "size": i} for i in range(5)]
        for frozen in (True, False):
            with self.make_run(limit=2) as run:
                reader = self.make_source(rows).open(run)
                if frozen:
                    reader.freeze()
                assert len(self._read(reader)[0]) == 2
                reader.close(succeeded=True)


class SinkContract:
    """Override `make_sink`, `visible_rows`, and `make_run` if the sink needs settings.

    The target does not exist at first, and every sink of one test writes to the same one.
    """

    def make_sink(self, mode: Literal["append", "replace"]) -> Sink:
        """Make a sink for the test's target."""
        raise NotImplementedError

    def visible_rows(self) -> list[Row]:
        """What a reader of the target sees now, in any order; a missing target has no rows."""
        raise NotImplementedError

    def make_run(self) -> Run:
        """Make a run whose settings fit the sink."""
        return Run("contract")

    def _seen(self) -> list[tuple[Any, ...]]:
        return sorted((row["name"], row["size"]) for row in self.visible_rows())

    def _publish(self, mode: Literal["append", "replace"], *rows: list[Row]) -> int:
        """One run; each argument is what one source row became."""
        with self.make_run() as run:
            writer = self.make_sink(mode).open(run)
            writer.begin(COLUMNS)
            for number, parts in enumerate(rows):
                writer.write(batch_of(f"id{number}", parts))
            writer.flush()
            return writer.commit(counts_of(rows))

    def test_shows_nothing_before_commit(self) -> None:
        """Staged rows are invisible until `commit`, and all of them are visible after it."""
        with self.make_run() as run:
            writer = self.make_sink("append").open(run)
            writer.begin(COLUMNS)
            rows: list[Row] = [{"name": "a", "size": 1}]
            writer.write(batch_of("id1", rows))
            writer.flush()
            assert self._seen() == []
            assert writer.commit(counts_of([rows])) == 1
        assert self._seen() == [("a", 1)]

    def test_publishes_repeats_once(self) -> None:
        """Staging is at least once: a row that was staged twice is published once."""
        with self.make_run() as run:
            writer = self.make_sink("append").open(run)
            writer.begin(COLUMNS)
            rows: list[Row] = [{"name": "a", "size": 1}, {"name": "b", "size": 2}]
            writer.write(batch_of("id1", rows))
            writer.write(batch_of("id1", rows))
            writer.flush()
            assert writer.commit(counts_of([rows])) == 2
        assert self._seen() == [("a", 1), ("b", 2)]

    def test_append_keeps_what_was_there(self) -> None:
        """`append` adds to the rows of earlier runs."""
        self._publish("append", [{"name": "a", "size": 1}])
        self._publish("append", [{"name": "b", "size": 2}], [])
        assert self._seen() == [("a", 1), ("b", 2)]

    def test_replace_leaves_only_the_new_rows(self) -> None:
        """`replace` makes the run's rows the only ones, twice in a row too."""
        self._publish("replace", [{"name": "a", "size": 1}])
        self._publish("replace", [{"name": "b", "size": 2}])
        assert self._seen() == [("b", 2)]

    def test_replace_by_no_rows_empties_the_target(self) -> None:
        """Zero rows are a normal run."""
        self._publish("replace", [{"name": "a", "size": 1}])
        assert self._publish("replace") == 0
        assert self._seen() == []

    def test_abort_leaves_the_target_alone(self) -> None:
        """What was staged before an abort is never seen."""
        self._publish("replace", [{"name": "a", "size": 1}])
        with self.make_run() as run:
            writer = self.make_sink("replace").open(run)
            writer.begin(COLUMNS)
            writer.write(batch_of("id1", [{"name": "b", "size": 2}]))
            writer.abort(RuntimeError("stop"))
        assert self._seen() == [("a", 1)]

    def test_publishes_nothing_when_a_row_is_missing(self) -> None:
        """Counts that do not match what was staged fail the audit; the target is untouched."""
        self._publish("replace", [{"name": "a", "size": 1}])
        with self.make_run() as run:
            writer = self.make_sink("replace").open(run)
            writer.begin(COLUMNS)
            rows: list[Row] = [{"name": "b", "size": 2}]
            writer.write(batch_of("id1", rows))
            writer.flush()
            assert _refuses(writer, counts_of([rows, rows]))
        assert self._seen() == [("a", 1)]

    def test_knows_the_columns_of_its_target(self) -> None:
        """A target that exists tells its columns, so that new values get its types."""
        self._publish("append", [{"name": "a", "size": 1}])
        with self.make_run() as run:
            writer = self.make_sink("append").open(run)
            known = {column.name: column.type for column in writer.known_columns}
            writer.abort(RuntimeError("enough seen"))
        assert known == {"name": "STRING", "size": "INT64"}

    def test_takes_new_columns_on_the_way(self) -> None:
        """A second `begin` changes the columns; rows staged before have nulls there."""
        first: list[Row] = [{"name": "a"}]
        second: list[Row] = [{"name": "b", "size": 2}]
        with self.make_run() as run:
            writer = self.make_sink("replace").open(run)
            writer.begin(COLUMNS[:1])
            writer.write(batch_of("id1", first, COLUMNS[:1]))
            writer.begin(COLUMNS)
            writer.write(batch_of("id2", second))
            writer.flush()
            writer.commit(counts_of([first, second]))
        assert self._seen() == [("a", None), ("b", 2)]


def _refuses(writer: SinkWriter, counts: Counts) -> bool:
    try:
        writer.commit(counts)
    except CountMismatchError:
        return True
    return False


def batch_of(row_id: str, rows: list[Row], columns: tuple[Column, ...] = COLUMNS) -> pa.RecordBatch:
    """A settled batch of what one source row became; no rows = skipped."""
    data = RowEncoder(columns).encode(rows or [{}])
    parts = list(range(max(1, len(rows))))
    meta = [
        pa.array([row_id] * len(parts), pa.string()),
        pa.array(parts, pa.int64()),
        pa.array([len(rows)] * len(parts), pa.int64()),
    ]
    names = [ROW_ID, PART, PARTS]
    fields = [pa.field(name, array.type) for name, array in zip(names, meta, strict=True)]
    return pa.RecordBatch.from_arrays(
        [*meta, *data.columns], schema=pa.schema([*fields, *data.schema])
    )


def counts_of(rows: Any) -> Counts:
    """The counts an engine would have for these source rows."""
    counts = Counts()
    for parts in rows:
        counts.read += 1
        counts.add(len(parts))
    return counts
