"""Random rows: what another program wrote is what the source reads, row by row."""

import csv
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etlkit import CsvSource, JsonlSource
from etlkit.api.outcomes import Counts, Recovered
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.api.source import ROW_ID
from etlkit.files.csv_cells import guess_type, possible_types
from etlkit.rows.batches import RowDecoder
from etlkit.testing.contract_job import contract_job

# Left out: a lone carriage return, which ends a line for some programs and not for others.
text = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=12)
many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(source, earlier=()):
    with Run(RunRequest("files", Settings())) as run:
        reader = source.open(contract_job(source=source), run)
        reader.freeze(Recovered(Counts(written=len(earlier)), lambda: earlier))
        decoder, found = RowDecoder(reader.columns), {}
        for batch in reader.batches():
            rows = decoder.decode(batch).rows
            found |= zip(batch.column(ROW_ID).to_pylist(), rows, strict=True)
        reader.close(succeeded=True)
    return found


@many
@given(rows=st.lists(st.tuples(text, text), min_size=1, max_size=20), data=st.data())
def test_csv(tmp_path, rows, data):
    """Quotes, commas, line ends and any script are read, and a resume gives only the rest."""
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerows([("a", "b"), *rows])
    source = CsvSource(str(path), types={"a": "STRING", "b": "STRING"})
    found = read(source)
    assert [(row["a"], row["b"]) for row in found.values()] == rows
    finished = data.draw(st.sets(st.sampled_from(sorted(found))))
    rest = read(source, tuple(finished))
    assert rest == {row_id: row for row_id, row in found.items() if row_id not in finished}


@many
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"t": text | st.none(), "i": st.integers(-(2**63), 2**63 - 1), "b": st.booleans()}
        ),
        min_size=1,
        max_size=20,
    )
)
def test_jsonl(tmp_path, rows):
    """Any text is read, also with other kinds of line ends in it."""
    path = tmp_path / "a.jsonl"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
    types = {"t": "STRING", "i": "INT64", "b": "BOOL"}
    assert list(read(JsonlSource(str(path), types=types)).values()) == rows


number_like = st.from_regex(r"[-+0-9.eE]{1,22}", fullmatch=True)
time_like = st.from_regex(
    r"[0-9]{4}-[0-9]{2}-[0-3][0-9]([T ][0-2][0-9]:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"( ?(Z|UTC|[+-][0-2][0-9](:?[0-9]{2})?))?)?",
    fullmatch=True,
)


@many
@given(
    cells=st.lists(number_like, min_size=1, max_size=3)
    | st.lists(st.integers().map(str), min_size=1, max_size=3)
    | st.lists(st.floats(allow_nan=False, allow_infinity=False).map(repr), min_size=1, max_size=3)
    | st.lists(time_like, min_size=1, max_size=3)
)
def test_a_guess_fits_every_cell(tmp_path, cells):
    """Every cell can be read without loss as the type that is guessed from all of them."""
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["a"], *([each] for each in cells)])
    kind = guess_type(possible_types(cells))
    values = [row["a"] for row in read(CsvSource(str(path))).values()]
    assert len(values) == len(cells)
    if kind == "STRING":
        assert values == cells
    elif kind in {"INT64", "FLOAT64"}:
        assert values == [float(each) if kind == "FLOAT64" else int(each) for each in cells]
