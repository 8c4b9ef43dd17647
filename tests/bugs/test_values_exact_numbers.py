"""Exact numbers: a number with more digits than a float keeps never becomes a float on its way.

A float keeps 15 digits of any number, and up to 17 of those that it printed itself.
"""

from decimal import Decimal
from fractions import Fraction

import pytest

from etlkit import CsvSource, JsonlSource, RowSchemaError, SourceError
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import parse_schema

MONEY = "12345678901234567.12"
LARGEST = "99999999999999999999999999999.999999999"


@pytest.mark.edge_case(
    "`12345678901234567.12` as NUMERIC", "JSON Lines, CSV", "exact, to the last digit"
)
@pytest.mark.edge_case(
    "`99999999999999999999999999999.999999999`, the largest NUMERIC", "JSON Lines, CSV", "exact"
)
@pytest.mark.parametrize("number", [MONEY, LARGEST, "-" + LARGEST, "0.000000001", "1.5e3", "7"])
@pytest.mark.parametrize("kind", ["NUMERIC", "BIGNUMERIC"])
def test_declared_decimals_are_exact(read, file, number, kind):
    """Every digit arrives, also inside ARRAY and STRUCT."""
    exact = Decimal(number)
    types = {"p": kind, "l": f"ARRAY<{kind}>", "s": f"STRUCT<n {kind}>"}
    text = f'{{"p": {number}, "l": [{number}], "s": {{"n": {number}}}}}\n'
    (row,) = read(JsonlSource(file(text, "jsonl"), types=types)).rows
    assert row == {"p": exact, "l": [exact], "s": {"n": exact}}
    if "e" not in number:
        (row,) = read(CsvSource(file(f"p\n{number}\n", "csv"), types={"p": kind})).rows
        assert row == {"p": exact}


@pytest.mark.edge_case(
    "`12345678901234567.12`, no type given", "JSON Lines", "NUMERIC, all floats of the column too"
)
def test_a_long_number_makes_its_column_numeric(read, file):
    """The rule for new columns, as for integers beyond 64 bits."""
    text = f'{{"p": 0.1}}\n{{"p": {MONEY}}}\n{{"p": 3}}\n{{"p": null}}\n'
    types, _, rows = read(JsonlSource(file(text, "jsonl")))
    assert types == {"p": "NUMERIC"}
    assert [row["p"] for row in rows] == [Decimal("0.1"), Decimal(MONEY), Decimal(3), None]


@pytest.mark.edge_case(
    "`0.10000000000000001`, as C prints 0.1",
    "JSON Lines, CSV",
    "FLOAT64: it is what the float prints",
)
@pytest.mark.parametrize(
    "text",
    ["0.10000000000000001", "0.30000000000000004", "1e23", "1.7976931348623157e+308", "5e-324"],
)
def test_what_a_float_prints_is_a_float(read, file, text):
    """With 17 digits, all that a program prints of a float is read as that float."""
    for source in (
        JsonlSource(file(f'{{"p": {text}}}\n{{"p": 0.5}}\n', "jsonl")),
        CsvSource(file(f"p\n{text}\n0.5\n", "csv"), types={"p": "FLOAT64"}),
    ):
        types, _, rows = read(source)
        assert types == {"p": "FLOAT64"}
        assert [row["p"] for row in rows] == [float(text), 0.5]


@pytest.mark.edge_case(
    "`12345678901234567.12` in a FLOAT64 column, also late in the file",
    "JSON Lines, CSV",
    "refused, with line and column: a float has fewer digits",
)
@pytest.mark.edge_case(
    "`9007199254740993` = 2⁵³ + 1 in a FLOAT64 column", "JSON Lines, CSV", "refused, with its line"
)
@pytest.mark.parametrize("number", [MONEY, "9007199254740993", "0.12345678901234567890"])
@pytest.mark.parametrize("types", [{}, {"p": "FLOAT64"}], ids=["guessed", "declared"])
def test_a_float_column_refuses_what_it_would_round(read, file, number, types):
    """The types of a column come from its first rows; a later row is not bent to them."""
    for source in (
        CsvSource(file("p\n" + "0.5\n" * 1000 + f"{number}\n", "csv"), types=types),
        JsonlSource(file('{"p": 0.5}\n' * 1001 + f'{{"p": {number}}}\n', "jsonl"), types=types),
    ):
        with pytest.raises(SourceError, match=r":1002: column 'p'") as caught:
            read(source)
        assert number not in str(caught.value)


@pytest.mark.edge_case(
    "`12345678901234567.12` inside a JSON value",
    "JSON Lines, CSV",
    "refused, with its line: BigQuery's JSON has floats",
)
def test_json_refuses_what_it_would_round(read, file):
    """As PARSE_JSON of BigQuery does."""
    with pytest.raises(SourceError, match=r"jsonl:2: column 'j'.* does not keep"):
        read(JsonlSource(file(f'{{"j": {{"a": 1.5}}}}\n{{"j": {{"a": {MONEY}}}}}\n', "jsonl")))
    with pytest.raises(SourceError, match=r"csv:2: column 'j'.* does not keep"):
        read(CsvSource(file(f"j\n[{MONEY}]\n", "csv"), types={"j": "JSON"}))


@pytest.mark.edge_case(
    "`1.234` in NUMERIC(5, 2), `abc` in STRING(2)",
    "all files",
    "refused, with its line, before the first call",
)
def test_declared_lengths_and_digits_hold_for_files(read, file):
    """A type with parameters is checked when the files are read, not when rows are staged."""
    for types, cell in (({"p": "NUMERIC(5, 2)"}, "1.234"), ({"p": "STRING(2)"}, "abc")):
        with pytest.raises(SourceError, match=r"csv:2: column 'p'.*, but the column"):
            read(CsvSource(file(f"p\n{cell}\n", "csv"), types=types))
        text = cell if cell[0] == "1" else f'"{cell}"'
        with pytest.raises(SourceError, match=r"jsonl:1: column 'p'.*, but the column"):
            read(JsonlSource(file(f'{{"p": {text}}}\n', "jsonl"), types=types))


@pytest.mark.edge_case('`"12"` as ARRAY of NUMERIC', "JSON Lines", "refused: it is no list")
@pytest.mark.parametrize("kind", ["NUMERIC", "BYTES", "STRUCT<x NUMERIC>", "FLOAT64", "STRING"])
def test_text_is_not_a_list_of_its_letters(read, file, kind):
    """Nor is an object the list of its keys."""
    for value in ("12", {"12": 1}, 12):
        with pytest.raises(SourceError, match=r"jsonl:1: column 'l'"):
            read(JsonlSource(file([{"l": value}], "jsonl"), types={"l": f"ARRAY<{kind}>"}))


@pytest.mark.edge_case("`Fraction(1, 3)` in FLOAT64", "a returned row", "row error")
def test_a_returned_number_is_a_float_only_if_equal():
    """The row error says how to round it on purpose."""
    encoder = RowEncoder(parse_schema({"p": "FLOAT64"}))
    assert encoder.encode([{"p": Fraction(1, 4)}]).to_pylist() == [{"p": 0.25}]
    for number in (Fraction(1, 3), 2**53 + 1, 10**400):
        with pytest.raises(RowSchemaError, match=r"use float\(value\) to round it"):
            encoder.encode([{"p": number}])
