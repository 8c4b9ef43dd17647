"""Quotes in CSV: text behind a closing quote is refused, and a quote that is only text stays text."""

import csv
import io

import pytest

from etlkit import CsvSource, SourceError
from etlkit.files.csv import _BLOCK_BYTES
from etlkit.files.csv_quotes import QuoteWatch

BAD = {
    "text": '1,"a"b',
    "a space": '1,"a" ',
    "an empty cell": '1,""b',
    "after a doubled quote": '1,"a"""b',
    "another cell": '1,"a""b"c"',
    "a backslash": '1,"a\\"b"',
    "two quoted pieces": '1,"a" "b"',
    "the first cell": '"1"2,a',
    "a cell that ends in a delimiter": '1,"a,"b',
}


@pytest.mark.edge_case('`1,"a"b`', "CSV", "refused, with its line")
@pytest.mark.edge_case(
    '`1,"a\\"b"`', "CSV", "refused: a quote inside a quoted cell is written twice"
)
@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_text_behind_a_closing_quote(read, file, line, delimiter):
    """The line is where the row begins, also behind cells of several lines."""
    text = f'a,b\n1,"x\ny"\n\n{line}\n2,"z"\n'.replace(",", delimiter)
    with pytest.raises(SourceError, match=r"csv:5: there is text behind a closing quote"):
        read(CsvSource(file(text, "csv"), delimiter=delimiter))


@pytest.mark.edge_case('`1,a"b`, `1, "a"`', "CSV", "the quotes are text")
@pytest.mark.parametrize("cell", ['a"b', 'a""b', ' "a"', 'a"', 'x"y"'])
def test_quotes_within_unquoted_text(read, file, cell):
    """Only a cell that begins with a quote is quoted; the others are read as they stand."""
    rows = read(CsvSource(file(f'a,b\n1,{cell}\n2,"x, ""y"""\n', "csv"))).rows
    assert rows == [{"a": 1, "b": cell}, {"a": 2, "b": 'x, "y"'}]


@pytest.mark.edge_case("quotes of any kind with `quote=None`", "CSV", "text like any other")
def test_without_a_quote_character(read, file):
    """Then nothing about quotes can be wrong."""
    rows = read(CsvSource(file('a,b\n1,"a"b\n', "csv"), quote=None)).rows
    assert rows == [{"a": 1, "b": '"a"b'}]


@pytest.mark.edge_case("a header without a line end, and no rows", "CSV", "no rows")
def test_a_header_alone(read, file):
    """With a line end or without."""
    for text in ("a,b", "a,b\n", "a,b\r\n\r\n", '"a","b"'):
        types, _, rows = read(CsvSource(file(text, "csv")))
        assert (list(types), rows) == (["a", "b"], [])


def test_it_is_found_in_any_block(read, file):
    """A file is parsed in blocks, and a quoted cell may begin in one and end in the next."""
    row = f'1,"{"x" * 998}"\n'
    many = row * (_BLOCK_BYTES // len(row) * 2)
    good, bad = file("a,b\n" + many, "csv"), file("a,b\n" + many + '1,"a"b\n', "csv")
    assert len(read(CsvSource(good)).rows) == many.count("\n")
    with pytest.raises(SourceError, match=rf"csv:{many.count(chr(10)) + 2}: there is text behind"):
        read(CsvSource(bad))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("line", ['1,"a ""b"", c"\r\n"x","y"\r\n', *BAD.values(), '1,a"b'])
def test_the_watch_sees_the_same_in_pieces(line, size):
    """What is odd does not depend on where a file is cut, and no line that Python refuses is missed."""
    data = b"\xef\xbb\xbf" + line.encode()
    watch = QuoteWatch('"', ",")
    for at in range(0, len(data), size):
        watch(data[at : at + size])
    is_written_well = line.startswith('1,"a ""')
    assert watch.is_odd == (not is_written_well)
    if is_written_well:
        assert len(list(csv.reader(io.StringIO(line, newline=""), strict=True))) == 2
        assert not watch.is_open
