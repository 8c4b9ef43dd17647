"""What the registry says of each type holds everywhere: a new type needs its line in SAMPLES."""

import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from google.cloud import bigquery

from etlkit.bigquery.parameters import query_parameters
from etlkit.bigquery.schema_fields import from_schema_fields
from etlkit.errors import ConfigError, SourceError
from etlkit.files.csv_cells import (
    BadCellError,
    from_text,
    guess_type,
    parsed_type,
    possible_types,
)
from etlkit.rows.batches import RowDecoder, RowEncoder
from etlkit.rows.columns import Column, arrow_type
from etlkit.rows.inference import infer_columns
from etlkit.rows.json_rows import row_from_json, row_to_json
from etlkit.rows.types import ALIASES, NAMES, REST_NAMES, TYPES


class Sample(NamedTuple):
    """A value of a type, the CSV cell that is read as it, and what etlkit guesses from each."""

    value: object
    cell: str
    inferred: str
    guessed: str


NOON = datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=UTC)
SAMPLES = {
    "INT64": Sample(7, "7", "INT64", "INT64"),
    "FLOAT64": Sample(0.5, "0.5", "FLOAT64", "FLOAT64"),
    "NUMERIC": Sample(Decimal("1.5"), "1.5", "NUMERIC", "FLOAT64"),
    "BIGNUMERIC": Sample(Decimal("1E-20"), f"0.{'0' * 19}1", "BIGNUMERIC", "FLOAT64"),
    "BOOL": Sample(value=True, cell="true", inferred="BOOL", guessed="BOOL"),
    "STRING": Sample("猫", "猫", "STRING", "STRING"),
    "BYTES": Sample(b"\x00\x01", "AAE=", "BYTES", "STRING"),
    "DATE": Sample(NOON.date(), "2024-02-29", "DATE", "DATE"),
    "DATETIME": Sample(
        NOON.replace(tzinfo=None), "2024-02-29 12:00:00.000005", "DATETIME", "DATETIME"
    ),
    "TIME": Sample(time(12, 0, 0, 5), "12:00:00.000005", "TIME", "STRING"),
    "TIMESTAMP": Sample(NOON, "2024-02-29 12:00:00.000005Z", "TIMESTAMP", "TIMESTAMP"),
    "JSON": Sample({"a": [1, None]}, '{"a": [1, null]}', "JSON", "STRING"),
    "GEOGRAPHY": Sample("POINT(1 2)", "POINT(1 2)", "STRING", "STRING"),
}
BAD_CELLS = {
    "BIGNUMERIC": "12secret",
    "BYTES": "AAE=!",
    "FLOAT64": "1e400",
    "JSON": "{secret",
    "TIME": "25:00:00",
    "TIMESTAMP": "2024-02-30 00:00:00",
}
every_type = pytest.mark.parametrize("kind", TYPES)


def test_every_type_has_a_sample():
    """A type that is added is tested by everything below."""
    assert SAMPLES.keys() == TYPES.keys()
    assert BAD_CELLS.keys() == {each.name for each in TYPES.values() if each.from_text}


@every_type
def test_names(kind):
    """DDL, the aliases and the REST API's name all mean the type, in any case."""
    spellings = {kind, kind.lower(), REST_NAMES[kind], *TYPES[kind].aliases}
    assert {Column.parse("c", text).type for text in spellings} == {kind}
    assert {Column("c", text).type for text in spellings} == {kind}
    (column,) = from_schema_fields([bigquery.SchemaField("c", REST_NAMES[kind])])
    assert column == Column("c", kind)
    assert Column.parse("c", column.ddl) == column


def test_the_page_of_types_is_complete():
    """`docs/reference/types.md` has every type and alias."""
    page = (Path(__file__).parents[3] / "docs/reference/types.md").read_text(encoding="utf-8")
    in_table = {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")}
    assert set(NAMES) <= in_table
    assert [alias for alias in ALIASES if f"`{alias}`" not in page] == []


def test_names_are_unique():
    """No name or alias stands for two types, and the REST API's names are known."""
    aliases = [alias for each in TYPES.values() for alias in each.aliases]
    assert len({*NAMES, *aliases}) == len(NAMES) + len(aliases)
    assert set(REST_NAMES.values()) <= {*NAMES, *ALIASES}
    legacy = {name: rest for name, rest in REST_NAMES.items() if rest != name}
    assert set(REST_NAMES) == set(NAMES)
    assert legacy == {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


@every_type
def test_parameters(kind):
    """As many numbers may follow the name as the registry says, and no more."""
    most = TYPES[kind].max_parameters
    assert most == {"STRING": 1, "BYTES": 1, "NUMERIC": 2, "BIGNUMERIC": 2}.get(kind, 0)
    for num in range(1, most + 1):
        text = f"{kind}({', '.join('5' * num)})"
        assert Column.parse("c", text) == Column("c", kind, parameters=(5,) * num)
    with pytest.raises(ConfigError, match=r"expected ('\)'|the end of the type) at"):
        Column.parse("c", f"{kind}({', '.join('5' * (most + 1))})")


@every_type
def test_values(kind):
    """A value comes back from Arrow with its type, alone, in an ARRAY and as a rejected row."""
    value = SAMPLES[kind].value
    columns = (Column("c", kind), Column("a", kind, "REPEATED"), Column("n", kind))
    row = {"c": value, "a": [value], "n": None}
    (back,) = RowDecoder(columns).decode(RowEncoder(columns).encode([row])).rows
    assert (back, type(back["c"])) == (row, type(value))
    back = row_from_json(json.loads(json.dumps(row_to_json(row))), columns)
    assert (back, type(back["c"])) == (row, type(value))


@every_type
def test_inference(kind):
    """A new key and a query parameter get the type that the value points to."""
    value, _, inferred, _ = SAMPLES[kind]
    assert infer_columns([{"c": value}], {}) == (Column("c", inferred),)
    single, several, none = query_parameters({"p": value, "q": [value, value], "r": []})
    assert (single.type_, several.array_type, none.array_type) == (inferred, inferred, "STRING")


@every_type
def test_csv_cells(kind):
    """A cell is guessed and read as the registry says."""
    value, cell, _, guessed = SAMPLES[kind]
    assert guess_type(possible_types([cell])) == guessed
    columns = (Column("c", kind),)
    lines = f'c\n"{cell.replace(chr(34), chr(34) * 2)}"\n'
    options = pacsv.ConvertOptions(column_types={"c": parsed_type(columns[0])})
    table = pacsv.read_csv(io.BytesIO(lines.encode()), convert_options=options)
    (batch,) = (from_text(each, columns) for each in table.to_batches())
    assert RowDecoder(columns).decode(batch).rows == [{"c": value}]


@pytest.mark.parametrize(("kind", "cell"), BAD_CELLS.items())
def test_bad_csv_cells(kind, cell):
    """The first cell that does not fit is found, and its content is not in the message."""
    columns = (Column("c", kind),)
    array = pa.array([SAMPLES[kind].cell, None, cell, cell])
    with pytest.raises(
        BadCellError, match=f"column 'c': the value is not a valid {kind}"
    ) as caught:
        from_text(pa.RecordBatch.from_arrays([array], ["c"]), columns)
    assert caught.value.index == 2
    assert cell not in str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind not in {"JSON", "GEOGRAPHY"}])
def test_arrow_types_of_files(kind):
    """A file's column in the type's own Arrow type has this type, and no other type claims it."""
    own = arrow_type(Column("c", kind))
    found = [each.name for each in TYPES.values() if each.holds(pa.types, own)]
    # BigQuery's NUMERIC fits BIGNUMERIC too; 76 digits fit only BIGNUMERIC.
    assert found == (["NUMERIC", "BIGNUMERIC"] if kind == "NUMERIC" else [kind])


@pytest.mark.parametrize(
    ("arrow", "kind"),
    [
        (pa.uint8(), "INT64"),
        (pa.uint64(), "NUMERIC"),
        (pa.float16(), "FLOAT64"),
        (pa.decimal128(38, 9), "NUMERIC"),
        (pa.decimal128(38, 10), "BIGNUMERIC"),
        (pa.decimal128(30, 0), "BIGNUMERIC"),
        (pa.decimal256(76, 39), None),
        (pa.decimal128(5, -2), None),
        (pa.large_string(), "STRING"),
        (pa.string_view(), "STRING"),
        (pa.null(), "STRING"),
        (pa.large_binary(), "BYTES"),
        (pa.binary_view(), "BYTES"),
        (pa.binary(3), "BYTES"),
        (pa.date64(), "DATE"),
        (pa.time32("s"), "TIME"),
        (pa.timestamp("ns"), "DATETIME"),
        (pa.timestamp("s", "Asia/Tokyo"), "TIMESTAMP"),
        (pa.duration("s"), None),
        (pa.month_day_nano_interval(), None),
    ],
    ids=str,
)
def test_other_arrow_types_of_files(arrow, kind):
    """The first type that holds all values is taken; None = there is none."""
    assert next((e.name for e in TYPES.values() if e.holds(pa.types, arrow)), None) == kind


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3.0])
def test_floats_of_rejected_rows(value):
    """NaN and infinity survive JSON, and a whole number stays a float."""
    columns = (Column("c", "FLOAT64"),)
    text = json.dumps(row_to_json({"c": value}), allow_nan=False).replace("3.0", "3")
    back = row_from_json(json.loads(text), columns)["c"]
    assert (str(back), type(back)) == (str(value), float)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("INT64", "7"),
        ("INT64", 7.5),
        ("STRING", 7),
        ("DATE", "yesterday"),
        ("BYTES", "!"),
        ("FLOAT64", "much"),
        ("NUMERIC", "much"),
        ("BOOL", 1),
        ("STRUCT<a INT64>", "x"),
    ],
)
def test_a_rejected_row_of_other_columns(kind, value):
    """A source that has changed since the row was rejected is an error, not another value."""
    with pytest.raises(SourceError, match="no longer fits the source's columns"):
        row_from_json({"c": value}, (Column.parse("c", kind),))


def test_nested_rejected_rows():
    """STRUCT and ARRAY are written and read field by field; a missing column is null."""
    text = "ARRAY<STRUCT<a DATE, b ARRAY<NUMERIC>>>"
    columns = (Column.parse("c", text), Column("n", "INT64"), Column("e", "INT64", "REPEATED"))
    row = {"c": [{"a": date(2024, 1, 2), "b": [Decimal("0.1")]}, {"a": None, "b": []}]}
    back = row_from_json(json.loads(json.dumps(row_to_json(row))), columns)
    assert back == {**row, "n": None, "e": []}
