import pytest

from etlkit.bigquery.result_rows import ResultColumn, ResultRows, is_table
from etlkit.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "names_table"),
    [
        ("shop.items", True),
        (" `my-project.shop.items`\n", True),
        ("shop.old items", True),
        ("SELECT 1", False),
        ("(SELECT 1)", False),
        ("select(1)", False),
        ("-- DELETE\n/* DROP */ WITH a AS (SELECT 1) SELECT * FROM a", False),
        ("FROM shop.items", False),
        ("CREATE TEMP FUNCTION f() AS (1); SELECT f();", False),
    ],
)
def test_a_table_or_a_query(text, names_table):
    """The name of a table and a SELECT are told apart by their form."""
    assert is_table(text) is names_table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("items", "'items' is not a table name: write dataset.table .*; or write a SELECT"),
        ("", "or write a SELECT"),
        ("DELETE FROM shop.items WHERE TRUE", "this statement begins with DELETE"),
        ("-- SELECT\nDROP TABLE shop.items", "this statement begins with DROP"),
        ("SELECT 1; DROP TABLE shop.items", "write one SELECT"),
        ("SELECT 'open", "a quote or a comment has no end"),
        ("( ; )", "write one SELECT"),
    ],
)
def test_anything_else_is_refused(text, message):
    """A page only reads: what would change something never reaches BigQuery."""
    with pytest.raises(ConfigError, match=message):
        is_table(text)


def test_how_much_was_read():
    """Rows that nobody counted are more than were read."""
    assert not ResultRows((), [()], 1).is_cut
    assert ResultRows((), [()], 2).is_cut
    assert ResultRows((), [()], None).is_cut


def test_types_as_people_write_them():
    """Fields of structs are left out."""
    fields = (ResultColumn("a", "INT64"),)
    assert (
        ResultColumn("a", "STRUCT", is_repeated=True, fields=fields).shown_type
        == "ARRAY<STRUCT<…>>"
    )
    assert ResultColumn("a", "INT64").shown_type == "INT64"
