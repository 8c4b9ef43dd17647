"""Deep JSON: a value that is nested deeper than BigQuery's JSON is refused at its place.

BigQuery takes 500 levels; Python's own limit is near 1,000, where it raises a RecursionError.
"""

import json
from types import MappingProxyType

import pyarrow as pa
import pytest

from etlkit import CsvSource, EtlBase, JsonlSource, ParquetSource, RowSchemaError, SourceError
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import parse_schema
from etlkit.rows.json_rows import value_to_json
from etlkit.testing import run_transform


def nested(depth):
    """Lists and objects in turn, as JSON text."""
    halves = depth // 2
    return '[{"a":' * halves + "1" + "}]" * halves


@pytest.mark.edge_case(
    "JSON nested 2,000 deep", "CSV, JSON Lines, Parquet", "refused, with its place"
)
@pytest.mark.edge_case(
    "JSON nested 500 deep", "CSV, JSON Lines, Parquet", "taken, as BigQuery does"
)
@pytest.mark.parametrize("depth", [502, 1_000, 2_000, 100_000])
def test_files(read, file, depth):
    """Whichever limit is passed, and whatever Python raises at it."""
    good, bad = nested(500), nested(depth)
    types = {"j": "JSON"}
    for write, source, where in (
        (
            lambda *texts: file("".join(f'{{"j": {t}}}\n' for t in texts), "jsonl"),
            JsonlSource,
            r":2: ",
        ),
        (
            lambda *texts: file("\n".join(["j", *map(quoted, texts)]), "csv"),
            CsvSource,
            r":3: column",
        ),
        (lambda *texts: file(pa.table({"j": texts}), "parquet"), ParquetSource, r", row 2: column"),
    ):
        with pytest.raises(SourceError, match=where + ".*at most 500 levels"):
            read(source(write(good, bad), types=types))
        assert read(source(write(good, good), types=types)).rows == [{"j": json.loads(good)}] * 2


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


class Deeper(EtlBase):
    """Returns more levels than it got."""

    output_schema = MappingProxyType({"j": "JSON"})

    def transform_row(self, row):
        for _ in range(row["j"]):
            row["j"] = [row["j"]]
        return row


@pytest.mark.edge_case("a JSON value nested too deep", "a returned row", "row error")
@pytest.mark.parametrize("depth", [501, 900, 5_000])
def test_rows(depth):
    """The row alone fails."""
    with pytest.raises(RowSchemaError, match="at most 500 levels"):
        run_transform(Deeper, [{"j": depth}])


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["lists", "objects"])
def test_the_deepest_value_can_be_rejected(opening):
    """The table of rejected rows holds the source row as JSON, whatever BigQuery's table held."""
    closing = "]" if opening == "[" else "}"
    value = json.loads(opening * 500 + "1" + closing * 500)
    assert RowEncoder(parse_schema({"j": "JSON"})).encode([{"j": value}]).num_rows == 1
    assert value_to_json(value) == value
