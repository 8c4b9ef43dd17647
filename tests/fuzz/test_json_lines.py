"""JSON Lines: every value is read exactly, or refused at its line; damage is never a crash."""

import json
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from etlkit import JsonlSource
from tests.fuzz.fuzzing import (
    SORTS,
    damages,
    fuzz,
    json_values,
    prints_as,
    read_or_place,
    read_or_refuse,
    text,
    typed_rows,
)
from tests.source_rows import read_source


def lines_of(types, rows):
    """One line a row, with the numbers as they are, and not by way of a float."""
    for row in rows:
        cells = (
            f"{json.dumps(n)}: {'null' if row[n] is None else SORTS[kind].json(row[n])}"
            for n, kind in types.items()
        )
        yield "{" + ", ".join(cells) + "}\n"


@st.composite
def nested_rows(draw):
    """Rows whose columns are ARRAY and STRUCT of every type."""
    kinds = draw(st.lists(st.sampled_from(sorted(SORTS)), min_size=1, max_size=3, unique=True))
    struct = ", ".join(f"f{at} {kind}" for at, kind in enumerate(kinds))
    types = {"s": f"STRUCT<{struct}>", "l": f"ARRAY<{kinds[0]}>", "a": f"ARRAY<STRUCT<{struct}>>"}
    fields = {f"f{at}": st.none() | SORTS[kind].values for at, kind in enumerate(kinds)}
    structs = st.fixed_dictionaries(fields)
    row = st.fixed_dictionaries(
        {
            "s": st.none() | structs,
            "l": st.lists(SORTS[kinds[0]].values, max_size=3),
            "a": st.lists(structs, max_size=3),
        }
    )

    def as_json(value):
        cells = (
            f'"{n}": {"null" if value[n] is None else SORTS[kinds[int(n[1:])]].json(value[n])}'
            for n in value
        )
        return "{" + ", ".join(cells) + "}"

    rows = draw(st.lists(row, min_size=1, max_size=4))
    lines = [
        f'{{"s": {"null" if each["s"] is None else as_json(each["s"])}, '
        f'"l": [{", ".join(map(SORTS[kinds[0]].json, each["l"]))}], '
        f'"a": [{", ".join(map(as_json, each["a"]))}]}}\n'
        for each in rows
    ]
    return types, rows, lines


@fuzz
@given(made=typed_rows())
def test_declared_types_round_trip(made):
    """Every value of every type."""
    types, rows = made
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        path.write_text("".join(lines_of(types, rows)), encoding="utf-8")
        assert read_source(JsonlSource(str(path), types=types)).rows == rows


@fuzz
@given(made=nested_rows())
def test_nested_types_round_trip(made):
    """In ARRAY and STRUCT, where a JSON null inside of an array of JSON is no value."""
    types, rows, lines = made
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        path.write_text("".join(lines), encoding="utf-8")
        assert read_source(JsonlSource(str(path), types=types)).rows == rows


numbers = st.from_regex(
    r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,3})?", fullmatch=True
)


@fuzz
@given(
    found=st.lists(
        st.lists(numbers | st.just("null"), min_size=1, max_size=4), min_size=1, max_size=3
    )
)
def test_guessed_numbers_lose_nothing(found):
    """In one file or several: each number is read as itself, or its line is refused."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{at}.jsonl") for at in range(len(found))]
        for path, cells in zip(paths, found, strict=True):
            path.write_text("".join(f'{{"a": {cell}}}\n' for cell in cells), encoding="utf-8")
        read = read_or_place(JsonlSource(list(map(str, paths))))
    if read is None:
        return
    texts = [cell for cells in found for cell in cells]
    for row, cell in zip(read.rows, texts, strict=True):
        value = row["a"]
        if cell == "null":
            assert value is None
        elif isinstance(value, float):
            assert prints_as(value, Decimal(cell))
        else:
            assert Decimal(value) == Decimal(cell)


@fuzz
@given(rows=st.lists(st.dictionaries(st.sampled_from("abc"), json_values), min_size=1, max_size=4))
def test_guessed_types_lose_nothing(rows):
    """Whatever JSON holds is read as it is, or its line is refused; keys that are missing are None."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found = read_or_place(JsonlSource(str(path)))
    if found is None:
        return
    for row, got in zip(rows, found.rows, strict=True):
        for name, value in got.items():
            empty = [] if found.types[name].startswith("ARRAY") else None
            assert value == (empty if row.get(name) is None else row[name])


@fuzz
@given(made=typed_rows(), damage=damages(), declared=st.booleans())
def test_damaged_files_are_read_or_refused(made, damage, declared):
    """No bare exception, and the file is named."""
    types, rows = made
    with TemporaryDirectory() as folder:
        path = Path(folder, "damaged.jsonl")
        path.write_bytes(damage("".join(lines_of(types, rows)).encode()))
        read_or_refuse(JsonlSource(str(path), types=types if declared else {}), "damaged.jsonl")


@fuzz
@given(
    line=text
    | st.binary(max_size=40)
    | st.dictionaries(st.text(max_size=4), json_values, max_size=4).map(json.dumps)
    | st.text('{}[]":,0123456789.eE-\\ untrfalsx\ud800', max_size=30)
)
def test_any_line_is_read_or_refused(line):
    """Whatever is in the file, also half characters written as escapes."""
    data = line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")
    with TemporaryDirectory() as folder:
        path = Path(folder, "any.jsonl")
        path.write_bytes(data)
        read_or_refuse(JsonlSource(str(path)), "any.jsonl")
