"""Infinity and zero: a number beyond the range of floats does not become infinity, nor zero."""

import pytest

from etlkit import CsvSource, JsonlSource, RowSchemaError, SourceError
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import parse_schema


@pytest.mark.edge_case("`1e400`", "JSON Lines, CSV with FLOAT64", "refused, with its line")
@pytest.mark.edge_case("`1e-400`", "JSON Lines, CSV with FLOAT64", "refused, with its line")
@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e-400", "1e99999999999999999999"])
@pytest.mark.parametrize("types", [{}, {"p": "FLOAT64"}, {"p": "JSON"}, {"p": "NUMERIC"}], ids=str)
def test_json_lines(read, file, number, types):
    """Whatever the column's type is, also where none was given."""
    text = f'{{"p": 0.5}}\n{{"p": {number}}}\n'
    with pytest.raises(SourceError, match=r"jsonl:2: "):
        read(JsonlSource(file(text, "jsonl"), types=types))


@pytest.mark.edge_case("`1e400`, no type given", "CSV", "STRING: it is no number that etlkit knows")
@pytest.mark.parametrize("number", ["1e400", "1e-400"])
def test_csv(read, file, number):
    """Declared, it is refused; not declared, the cell is text as it stands there."""
    path = file(f"p\n0.5\n{number}\n", "csv")
    for kind in ("FLOAT64", "NUMERIC", "BIGNUMERIC"):
        with pytest.raises(
            SourceError, match=rf"csv:3: column 'p': the value is not a valid {kind}"
        ):
            read(CsvSource(path, types={"p": kind}))
    assert read(CsvSource(path)).rows == [{"p": "0.5"}, {"p": number}]


@pytest.mark.edge_case("`inf`, `nan` in FLOAT64", "CSV, Parquet, a returned row", "kept")
def test_infinity_that_is_meant_stays(read, file):
    """BigQuery's FLOAT64 has both."""
    rows = read(CsvSource(file("p\ninf\n-inf\nnan\n", "csv"), types={"p": "FLOAT64"})).rows
    values = [row["p"] for row in rows]
    assert values[:2] == [float("inf"), float("-inf")]
    assert values[2] != values[2]


@pytest.mark.edge_case(
    "infinity or NaN inside JSON", "a returned row, CSV", "row error, or refused"
)
def test_json_has_no_infinity(read, file):
    """BigQuery's JSON has none, and JSON Lines have no way to write it."""
    with pytest.raises(RowSchemaError, match="NaN or infinity"):
        RowEncoder(parse_schema({"j": "JSON"})).encode([{"j": {"a": float("inf")}}])
    for text in ("[1e400]", "[NaN]", "[Infinity]"):
        with pytest.raises(SourceError, match=r"csv:2: column 'j': the value is not a valid JSON"):
            read(CsvSource(file(f"j\n{text}\n", "csv"), types={"j": "JSON"}))
