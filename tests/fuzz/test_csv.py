"""CSV: what another program wrote is read exactly, or refused at its place; damage is never a crash."""

import csv
import io
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from etlkit import CsvSource
from tests.fuzz.fuzzing import (
    SORTS,
    damages,
    fuzz,
    prints_as,
    read_or_place,
    read_or_refuse,
    text,
    typed_rows,
)
from tests.source_rows import read_source

dialects = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t|"),
        "quote": st.sampled_from("\"'"),
        "encoding": st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
        "end": st.sampled_from(["\n", "\r\n"]),
    }
)


def written(rows, dialect):
    """Rows of texts as a CSV file; None is an empty cell, and empty text is quoted."""
    out = io.StringIO(newline="")
    writer = csv.writer(
        out,
        delimiter=dialect["delimiter"],
        quotechar=dialect["quote"],
        quoting=dialect["quoting"],
        lineterminator=dialect["end"],
    )
    empty = f"{dialect['quote']}{dialect['quote']}"
    for row in rows:
        # The writer cannot tell None from empty text, so that both are put in afterwards.
        cells = ["\ue001" if cell is None else "\ue002" if cell == "" else cell for cell in row]
        writer.writerow(cells)
    made = out.getvalue()
    for mark, cell in (("\ue001", ""), ("\ue002", empty)):
        made = made.replace(f"{dialect['quote']}{mark}{dialect['quote']}", cell).replace(mark, cell)
    return made.encode(dialect["encoding"])


def source_of(path, dialect, types):
    encoding = dialect["encoding"].removesuffix("-sig")
    options = {"delimiter": dialect["delimiter"], "quote": dialect["quote"], "encoding": encoding}
    return CsvSource(str(path), types=types, **options)


def cells_of(types, rows):
    yield list(types)
    for row in rows:
        yield [None if row[n] is None else SORTS[kind].cell(row[n]) for n, kind in types.items()]


@fuzz
@given(made=typed_rows(), dialect=dialects)
def test_declared_types_round_trip(made, dialect):
    """Every value of every type that a cell can hold."""
    types, rows = made
    rows = [row for row in rows if any(value is not None for value in row.values())]
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        path.write_bytes(written(cells_of(types, rows), dialect))
        assert read_source(source_of(path, dialect, types)).rows == rows


number_like = st.from_regex(r"-?[0-9]{0,22}(\.[0-9]{0,20})?([eE][-+]?[0-9]{1,3})?", fullmatch=True)
time_like = st.from_regex(
    r"(20|99|00)[0-9]{2}-[0-1][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9]:[0-9]{2}(\.[0-9]{1,9})?"
    r"( ?(Z|UTC|[+-][0-2][0-9](:?[0-9]{2})?))?)?",
    fullmatch=True,
)


def in_iso(cell):
    """A cell with a time as Python reads it."""
    return re.sub(r" ?UTC$", "Z", cell).replace(" +", "+").replace(" -", "-")


MEANS = {
    str: lambda value, cell: value == cell,
    type(None): lambda _, cell: not cell,
    bool: lambda value, cell: str(value).lower() == cell.lower(),
    int: lambda value, cell: value == int(cell),
    float: lambda value, cell: prints_as(value, Decimal(cell)),
    date: lambda value, cell: value.isoformat() == cell,
    # Python would cut nanoseconds, too
    datetime: lambda value, cell: (
        not re.search(r"\.[0-9]{7}", cell) and value == datetime.fromisoformat(in_iso(cell))
    ),
}
"""Whether a value that was read is what its cell says."""


@fuzz
@given(
    cells=st.lists(number_like, min_size=1, max_size=3)
    | st.lists(time_like, min_size=1, max_size=3)
    | st.lists(number_like | time_like | text, min_size=1, max_size=3),
    late=number_like | time_like,
)
def test_guessed_types_lose_nothing(cells, late):
    """In several files, and with a row behind those that decide; a cell is read as what it says."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder, "a.csv"), Path(folder, "b.csv")]
        rest = [cells[0]] * (1000 - len(cells)) + [late]
        for path, column in zip(paths, (cells + rest, cells), strict=True):
            with path.open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["a"], *([c] for c in column)])
        found = read_or_place(CsvSource(list(map(str, paths))))
    if found is None:
        return
    values = [row["a"] for row in found.rows]
    assert len(values) == 1001 + len(cells)
    for value, cell in zip(values, (*cells, *rest, *cells), strict=True):
        assert MEANS[type(value)](value, cell), (value, cell)


@fuzz
@given(made=typed_rows(), dialect=dialects, damage=damages(), declared=st.booleans())
def test_damaged_files_are_read_or_refused(made, dialect, damage, declared):
    """No bare exception, and the file is named."""
    types, rows = made
    with TemporaryDirectory() as folder:
        path = Path(folder, "damaged.csv")
        path.write_bytes(damage(written(cells_of(types, rows), dialect)))
        read_or_refuse(source_of(path, dialect, types if declared else {}), "damaged.csv")


@fuzz
@given(data=st.binary(max_size=60) | st.text(',"\n\r \\ab1.\0', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(data):
    """Whatever is in the file, and the same for the strict reader of Python: quotes are in order."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "any.csv")
        path.write_bytes(data)
        found = read_or_refuse(CsvSource(str(path), header=False), "any.csv")
    if found is not None and found.rows:
        decoded = data.removeprefix(b"\xef\xbb\xbf").decode()
        records = list(csv.reader(io.StringIO(decoded, newline=""), strict=True))
        assert len([record for record in records if record]) == len(found.rows)
