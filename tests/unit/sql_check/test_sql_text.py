from pathlib import Path

import pytest

from etlkit.sql_check.python_literals import literal_offsets
from etlkit.sql_check.sql_text import Origin, SqlText
from etlkit.variables.definitions import Value
from etlkit.variables.substitution import expand_sql

MODULE = '''\
QUERY = """
    SELECT é,
      b
    FROM d.t
"""
TABLE = f"SELECT {'a'} FROM {name}.t WHERE b = {{1}}"
PARTS = ("SELECT a "  # a comment with "quotes"
         r"FROM \\S"
         'x\\n\\'y\\x41\\q')
JOINED = "SELECT 1" + " FROM d.t"
'''


@pytest.mark.parametrize(
    ("value", "there"),
    [
        ("\n    SELECT é,\n      b\n    FROM d.t\n", "\n    SELECT é,\n      b\n    FROM d.t\n"),
        ("\nSELECT é,\n  b\nFROM d.t\n", "\nSELECT é,\n  b\nFROM d.t\n"),
        ("SELECT é,\n  b\nFROM d.t", "SELECT é,\n  b\nFROM d.t"),
        ("SELECT a FROM ds.t WHERE b = {1}", "SELECT { FROM {{.t WHERE b = {1}"),
        ("SELECT a FROM \\Sx\n'yA\\q", "SELECT a FROM \\Sx\\\\y\\\\q"),
    ],
    ids=["whole", "dedented", "stripped", "f-string", "parts"],
)
def test_a_literal_is_found_in_its_module(value, there):
    """Each character of the text is found at its place, an escape at its backslash."""
    offsets = literal_offsets(MODULE, value)
    assert "".join(MODULE[at] for at in offsets[:-1]) == there


@pytest.mark.parametrize("value", ["SELECT 1 FROM d.t", "SELECT 2", ""])
def test_a_text_that_is_no_literal(value):
    """A text that the module computes is not found."""
    assert literal_offsets(MODULE, value) is None


def test_a_module_that_is_no_python():
    """A broken module has no literals."""
    assert literal_offsets("def (:", "SELECT 1") is None


def test_positions_survive_variables():
    """A position behind a variable is that of the user's text, whatever the value's length."""
    written = "SELECT $a$, '$text$x',\n  `d.t_$b$`, bad FROM d.t"
    values = {"a": Value(1), "text": Value("long text"), "b": Value("2024")}
    found = expand_sql(written, values)
    text = SqlText(written, Origin(None, "query"), found.edits)
    assert text.sql == found.sql
    column = found.sql.splitlines()[1].index("bad") + 1
    assert text.written_offset(2, column) == written.index("bad")
    inside = found.sql.splitlines()[0].index("long") + 3
    assert text.written_offset(1, inside) == written.index("'$text$x'")


def test_a_part_of_a_text_keeps_its_positions():
    """The second statement of a file, with more text around it, is found where it stands."""
    written = "SELECT 1;\n-- a comment\n  SELECT bad"
    start = written.index("SELECT bad")
    text = SqlText(written, Origin(Path("x.sql"), "")).part(start, len(written))
    assert text.sql == "SELECT bad"
    wrapped = text.edited([(start, start, "SELECT (\n"), (len(written), len(written), "\n)")])
    assert wrapped.sql == "SELECT (\nSELECT bad\n)"
    place = wrapped.place(2, 8)
    assert (place.file, place.line, place.column) == ("x.sql", 3, 10)
    assert (place.excerpt, place.width) == ("  SELECT bad", 3)
    assert (text.place(None, None).line, text.place(None, None).column) == (3, 3)


def test_tabs_and_carriage_returns_count_as_in_googlesql():
    """A tab is a step to the next multiple of eight; every kind of line end counts."""
    text = SqlText("SELECT 1,\r\n\tbad", Origin(None, "query"))
    assert text.written_offset(2, 9) == text.written.index("bad")


def test_a_place_in_a_module(tmp_path):
    """A text of a job is found at its line of the module; one that is computed has its own lines."""
    module = tmp_path / "job.py"
    module.write_text('QUERY = "SELECT 1"\nOTHER = """\n  SELECT bad\n"""\n', encoding="utf-8")
    origin = Origin(module, "source query")
    place = origin.place("\n  SELECT bad\n", 10)
    assert (place.line, place.column, place.excerpt) == (3, 10, "  SELECT bad")
    place = origin.place("SELECT other", 7)
    assert (place.file, place.line, place.column) == (str(module), None, None)
    assert place.what == "source query, line 1, column 8"
    assert place.excerpt == "SELECT other"
