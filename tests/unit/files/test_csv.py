import bz2
import gzip
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest

from etlkit import ConfigError, CsvSource, SourceError


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def call(content, name="a.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return call


def test_types_come_from_the_cells(read, write):
    """Each column has the narrowest type that all its cells fit."""
    source = CsvSource(
        write(
            "i,f,b,d,dt,ts,s,code,big,none\n"
            "1,1,true,2024-02-29,2024-01-31 12:00:00,2024-01-31T12:00:00Z,x,007,9876543210987654321,\n"
            "-2,2.5,FALSE,2024-03-01,2024-01-31T12:00:00.5,2024-01-31 12:00:00+09:00,1,7,1,\n"
        )
    )
    types, _, rows = read(source)
    assert types == {
        "i": "INT64", "f": "FLOAT64", "b": "BOOL", "d": "DATE", "dt": "DATETIME",
        "ts": "TIMESTAMP", "s": "STRING", "code": "STRING", "big": "STRING", "none": "STRING",
    }  # fmt: skip
    assert rows[1] == {
        "i": -2,
        "f": 2.5,
        "b": False,
        "d": date(2024, 3, 1),
        "dt": datetime(2024, 1, 31, 12, 0, 0, 500_000),  # noqa: DTZ001 - a DATETIME has no zone
        "ts": datetime(2024, 1, 31, 3, tzinfo=UTC),
        "s": "1",
        "code": "7",
        "big": "1",
        "none": None,
    }
    assert rows[0]["code"] == "007"


def test_declared_types_win(read, write):
    """Every scalar type can be declared; STRING keeps the text of the cell."""
    types = {
        "n": "NUMERIC", "bn": "BIGNUMERIC", "by": "BYTES", "j": "JSON", "t": "TIME",
        "ts": "TIMESTAMP", "b": "BOOL", "s": "STRING", "g": "GEOGRAPHY", "f": "FLOAT64",
    }  # fmt: skip
    path = write(
        "n,bn,by,j,t,ts,b,s,g,f\n"
        '1.5,0.123456789012345678901,AAE=,"{""a"": [1]}",12:34:56.000001,2024-01-31 12:00:00,yes,05,'
        "POINT(1 2),1e3\n"
        ",,,,,2024-01-31 12:00:00 UTC,0,,,\n"
        ",,,,,2024-01-31 12:00:00 +02:00,,,,\n"
    )
    found, _, rows = read(CsvSource(path, types=types))
    assert found == types
    assert rows[0] == {
        "n": Decimal("1.5"),
        "bn": Decimal("0.123456789012345678901"),
        "by": b"\x00\x01",
        "j": {"a": [1]},
        "t": time(12, 34, 56, 1),
        "ts": datetime(2024, 1, 31, 12, tzinfo=UTC),
        "b": True,
        "s": "05",
        "g": "POINT(1 2)",
        "f": 1000.0,
    }
    assert [row["ts"].hour for row in rows] == [12, 12, 10]
    assert [row["b"] for row in rows] == [True, False, None]


def test_names_of_columns_without_a_header_are_bigquerys(read, write):
    """They are `int64_field_0`, `string_field_1` and so on, and the first line is a row."""
    path = write("1,background,0.5,true,2024-01-01\n2,tench,1.5,false,2024-01-02\n")
    types, _, rows = read(CsvSource(path, header=False))
    assert list(types) == [
        "int64_field_0",
        "string_field_1",
        "double_field_2",
        "bool_field_3",
        "date_field_4",
    ]
    assert [row["string_field_1"] for row in rows] == ["background", "tench"]


@pytest.mark.parametrize("header", [True, False])
def test_names_can_be_given(read, write, header):
    """`column_names` replaces the header, and works without one."""
    path = write(("x,y\n" if header else "") + "1,a\n")
    source = CsvSource(path, header=header, column_names=["id", "name"])
    assert read(source).rows == [{"id": 1, "name": "a"}]


def test_null_and_the_empty_text(read, write):
    """An empty cell is NULL, a quoted one is empty text; other words can mean NULL too."""
    assert read(CsvSource(write('a,b\n,""\nx,y\n'))).rows[0] == {"a": None, "b": ""}
    rows = read(CsvSource(write("a,b\n1,NA\n\\N,2\n"), null_values=["NA", "\\N"])).rows
    assert rows == [{"a": 1, "b": None}, {"a": None, "b": 2}]


def test_cells_may_span_lines(read, write):
    """A quoted cell may hold line ends, delimiters and quotes; empty lines are skipped."""
    path = write('a,b\r\n1,"x\ny, ""z"""\r\n\r\n2,w\r\n\r\n')
    assert read(CsvSource(path)).rows == [{"a": 1, "b": 'x\ny, "z"'}, {"a": 2, "b": "w"}]


def test_other_dialects(read, write):
    """Tabs, another quote character and no quote character work."""
    assert read(CsvSource(write("a\tb\n1\t'x\ty'\n"), delimiter="\t", quote="'")).rows == [
        {"a": 1, "b": "x\ty"}
    ]
    assert read(CsvSource(write('a;b\n1;"x\n'), delimiter=";", quote=None)).rows == [
        {"a": 1, "b": '"x'}
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16"])
def test_encodings(read, write, encoding):
    """Any codec of Python works; a byte order mark is not part of the first name."""
    path = write("名前,数\n猫,1\n".encode(encoding))
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    assert read(CsvSource(path, encoding=declared)).rows == [{"名前": "猫", "数": 1}]


def test_compression(read, write):
    """Compression is found by the name's ending, or declared."""
    text = b"a,b\n1,x\n"
    files = [
        (write(gzip.compress(text), "a.csv.gz"), "infer"),
        (write(bz2.compress(text), "a.csv.bz2"), "infer"),
        (write(pa.compress(text, codec="zstd", asbytes=True), "a.csv.zst"), "infer"),
        (write(gzip.compress(text), "packed"), "gzip"),
    ]
    for path, compression in files:
        assert read(CsvSource(path, compression=compression)).rows == [{"a": 1, "b": "x"}]


def test_several_files_are_one_source(read, write):
    """Columns are found by name, in any order; a file without rows adds no rows."""
    one, two, three = write("a,b\n1,x\n"), write("b,a\ny,2\n", "b.csv"), write("a,b\n", "c.csv")
    empty = write("", "d.csv")
    _, ids, rows = read(CsvSource([one, two, three, empty]))
    assert rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert len(set(ids)) == 2


def test_more_rows_than_a_block(read, write):
    """Rows, order and ids are right across many blocks."""
    path = write("n,t\n" + "".join(f"{n},{'x' * 90}\n" for n in range(100_000)))
    _, ids, rows = read(CsvSource(path))
    assert [row["n"] for row in rows] == list(range(100_000))
    assert len(set(ids)) == 100_000
    assert read(CsvSource(path), limit=70_000).rows == rows[:70_000]


ROWS = "a,b\n" + "1,x\n" * 1200
CUT_GZIP = gzip.compress(ROWS.encode(), mtime=0)[:-20]  # a time would be in the test's id


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (ROWS + "2,secret,3\n", {}, r"a\.csv:1202: 3 cells, but there are 2 columns"),
        (ROWS + '\n\n3,"x\ny"\n2\n', {}, r"a\.csv:1206: 1 cells, but there are 2"),
        (ROWS + "\nsecret,x\n", {}, r"a\.csv:1203: column 'a': .* not a valid INT64; set .*STRING"),
        ("b,a\nx,secret\n", {"types": {"a": "DATE"}}, r"a\.csv:2: column 'a': .* not a valid DATE"),
        (ROWS + "\n2,secret\n", {"types": {"b": "JSON"}}, r"a\.csv:2: column 'b': .* not a valid JSON"),
        ("a\n2024-01-31T00:00:00Z\n\nsecret\n", {"types": {"a": "TIMESTAMP"}}, r"a\.csv:4: column"),
        ("a\nAAE=\nsecret!\n", {"types": {"a": "BYTES"}}, r"a\.csv:3: .* 'a': .* not a valid BYTES"),
        ("a\n1.5\n1.0000000001\n", {"types": {"a": "NUMERIC"}}, r"a\.csv:3: .* not a valid NUMERIC"),
        ('a,b\n"1,x\n' + "2,y\n" * 2_000_000, {}, r"a\.csv:2: 1 cells, .*is a quote missing"),
        ('a,b\n1,"x"\n2,"y', {}, r"a\.csv:3: the file ends inside a quoted cell"),
        ('a,b\n1,2\n3,"x\ny\n', {}, r"a\.csv:3: the file ends inside a quoted cell"),
        ("a\n" + "x" * 9_000_000 + "\n", {}, "longer than 4,194,304 bytes; is a quote missing"),
        ("", {}, "is empty, and columns come from the first row; set them"),
        ("a,a\n1,2\n", {}, "columns 'a' and 'a' are one column"),
        ("a,_etlkit_x\n1,2\n", {}, "starts with '_etlkit_'"),
        ("a\n1\n", {"types": {"z": "INT64"}}, r"types has 'z', but .*a\.csv has only a"),
        ("a,b\n1,2\n", {"column_names": ["x"]}, "column_names has 1 names, .* has 2 columns"),
        ("a\n猫\n".encode("cp932"), {}, "is not in utf-8; set its encoding"),
        (b"a\nxx\n" + b"x\n" * 4_000_000 + b"\xff\n", {}, "not in utf-8"),
        (b"no gzip", {"compression": "gzip"}, "cannot be decompressed as gzip"),
        (CUT_GZIP, {"compression": "gzip"}, "cannot be decompressed as gzip"),
    ],
)  # fmt: skip
def test_bad_files_say_where(read, write, content, options, message):
    """The message has file, line, column and what to do, but not the value."""
    with pytest.raises((SourceError, ConfigError), match=message) as caught:
        read(CsvSource(write(content), **options))
    assert "secret" not in str(caught.value)


def test_files_of_a_source_have_the_same_columns(read, write):
    """The message names the file with other columns, and has both lists."""
    one, two = write("a,b\n1,2\n"), write("a,c\n1,2\n", "two.csv")
    with pytest.raises(SourceError, match=r"two\.csv has the columns a, c, but .* a, b"):
        read(CsvSource([one, two]))


def test_a_preview_reads_no_further_than_it_must(read, write):
    """A bad line at the end does not fail a preview of the beginning, but a run finds it."""
    path = write(ROWS * 2000 + "1,2,3\n")
    with pytest.raises(SourceError):
        read(CsvSource(path, types={"a": "STRING"}), limit=5_000_000)
    assert len(read(CsvSource(path, types={"a": "STRING"}), limit=10, frozen=False).rows) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": ""}, "needs a path"),
        ({"path": []}, "needs a path"),
        ({"path": ["a.csv", 3]}, "needs a path"),
        ({"path": "s3://b/a.csv"}, "s3:// is not supported; allowed are gs://"),
        ({"path": "https:///a.csv"}, "looks like https://host/name"),
        ({"path": "https://h:x/a.csv"}, "looks like https://host/name"),
        ({"path": "https://me:secret@h/a.csv"}, "send credentials with headers"),
        ({"path": "a", "delimiter": ";;"}, "it must be one character"),
        ({"path": "a", "quote": ""}, "it must be one character"),
        ({"path": "a", "column_names": "ab"}, "write a list of names"),
        ({"path": "a", "encoding": "klingon"}, "encoding='klingon' is unknown"),
        ({"path": "a", "compression": "zip"}, "it must be one of 'infer', 'gzip'"),
        ({"path": "a", "types": {"a": "INT65"}}, "type 'INT65' is not supported"),
        ({"path": "a", "timeout_s": 0}, "it must be above 0"),
    ],
)
def test_wrong_descriptions_are_refused_when_made(arguments, message):
    """Wrong options are refused before any I/O, with what is allowed."""
    with pytest.raises(ConfigError, match=message) as caught:
        CsvSource(**arguments)
    assert "secret" not in str(caught.value)


def test_nested_types_are_refused(read, write):
    """A CSV cell cannot hold an ARRAY."""
    with pytest.raises(ConfigError, match="a CSV cell cannot hold ARRAY<INT64>"):
        read(CsvSource(write("a\n1\n"), types={"a": "ARRAY<INT64>"}))
