"""Places: an error about a row or a file says which, whatever raised it.

A row has its number, its id and the column; a file has its name, and the line or row.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etlkit import (
    CsvSource,
    EtlBase,
    JsonlSource,
    ParquetSource,
    RowError,
    RowSchemaError,
    SourceError,
    TransferJob,
    run_job,
)
from etlkit.api.source import ROW_ID
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import parse_schema
from etlkit.rows.inference import infer_columns
from etlkit.testing import MemorySink, MemorySource


class Broken(tzinfo):
    """A timezone that cannot be asked."""

    def utcoffset(self, _at):
        raise LookupError("secret")


@pytest.mark.edge_case(
    "a datetime whose timezone raises", "a returned row", "row error with the column"
)
def test_a_value_that_raises():
    """In a new column and in a known one; what it says may be a value, and is not shown."""
    value = datetime(2024, 1, 1, tzinfo=Broken())
    with pytest.raises(RowSchemaError, match="LookupError") as caught:
        infer_columns([{"at": value}], {})
    assert (caught.value.column, "secret" in str(caught.value)) == ("at", False)
    with pytest.raises(RowSchemaError, match="LookupError") as caught:
        RowEncoder(parse_schema({"at": "TIMESTAMP"})).encode([{"at": value}])
    assert (caught.value.column, "secret" in str(caught.value)) == ("at", False)


class Mixed(EtlBase):
    """Makes times with a timezone, and one without."""

    def transform_row(self, row):
        at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=row["n"])
        row["at"] = at if row["n"] != 700 else at.replace(tzinfo=None)
        return row


@pytest.mark.edge_case(
    "a new column whose values do not go together",
    "returned rows",
    "error of the first row that does not fit those before it",
)
def test_the_first_row_that_does_not_go_with_the_others():
    """Each row is fine by itself; the run ends at the one that made it impossible."""
    job = TransferJob(
        source=MemorySource([{"n": n} for n in range(1000)]), transform=Mixed, sink=MemorySink()
    )
    with pytest.raises(RowError, match="with and without a timezone") as caught:
        run_job(job)
    assert (caught.value.row_number, caught.value.column) == (701, "at")
    assert caught.value.row_id is not None


class Pass(EtlBase):
    """Passes rows through."""

    def transform_row(self, row):
        return row


class _FarTimes(MemorySource):
    """A source of one's own that sends a time which Python does not have."""

    def open(self, job, run):
        reader = super().open(job, run)
        send = reader.batches

        def batches():
            for batch in send():
                ticks = pa.array([0] * (batch.num_rows - 1) + [2**62]).view(
                    pa.timestamp("us", "UTC")
                )
                yield batch.set_column(batch.schema.get_field_index("at"), "at", ticks)

        reader.batches = batches
        return reader


@pytest.mark.edge_case(
    "a timestamp after the year 9999",
    "a source of your own",
    "error with row number, id and column",
)
def test_a_value_that_cannot_be_read():
    """The run ends at that row; the source's Arrow is to blame."""
    rows = [{"at": datetime(2024, 1, 1, tzinfo=UTC)} for _ in range(50)]
    job = TransferJob(source=_FarTimes(rows), transform=Pass, sink=MemorySink())
    with pytest.raises(
        SourceError, match=r"^row 50 \(id \S+\), column 'at': a value cannot be read"
    ):
        run_job(job)


@pytest.mark.edge_case("a Parquet file with damaged pages", "Parquet", "refused, with its name")
def test_damaged_pages(read, file):
    """The footer is whole, so that it is found only while rows are read."""
    path = file(pa.table({"a": [f"text {n}" for n in range(5000)]}), "parquet")
    data = bytearray(Path(path).read_bytes())
    start = pq.read_metadata(path).row_group(0).column(0).data_page_offset
    data[start : start + 40] = bytes(40)
    with pytest.raises(SourceError, match=r"2\.parquet "):
        read(ParquetSource(file(bytes(data), "parquet")))


class _Failing:
    """A format's reader that fails in a way nobody thought of."""

    guesses_columns = False

    def columns(self, _files, _limit):
        return parse_schema({"a": "INT64"})

    def batches(self, _file, _columns, *, is_checked):
        yield pa.record_batch({"a": [1, 2, 3]})
        raise LookupError("secret")


def test_whatever_a_reader_raises_has_the_files_name(file, monkeypatch, read):
    """It is told how far the file could be read."""
    monkeypatch.setattr(CsvSource, "_format", lambda _: _Failing())
    path = file("a\n1\n", "csv")
    with pytest.raises(
        SourceError, match=r"1\.csv cannot be read behind row 3 \(LookupError\)"
    ) as e:
        read(CsvSource(path))
    assert "secret" not in str(e.value)


@pytest.mark.edge_case(
    "a number that no column type holds, in the first rows", "JSON Lines", "refused, with its line"
)
@pytest.mark.edge_case("one line that is no JSON object", "JSON Lines", "refused, with its line")
@pytest.mark.parametrize(
    "line", ["1" * 5000, "[1]", "nothing", '{"a": NaN}', '{"a": 1' + "0" * 90 + "}", "{'a': 1}"]
)
def test_a_bad_line_among_the_first_has_its_number(read, file, line):
    """Also where the columns are still being found."""
    with pytest.raises(SourceError, match=r"1\.jsonl:3: "):
        read(JsonlSource(file('{"a": 1}\n{"a": 2}\n' + line + "\n", "jsonl")))


def test_ids_are_in_order_of_the_file(read, file):
    """The id of a row says where it was, so that a rejected row can be found."""
    found = read(CsvSource([file("a\n1\n2\n", "csv"), file("a\n3\n", "csv")]))
    assert [row_id.split("-")[2:] for row_id in found.ids] == [["1", "1"], ["1", "2"], ["2", "1"]]
    assert ROW_ID not in found.types
