import pytest

from etlkit.bigquery.names import TableName
from etlkit.bigquery.sql.frozen_rows import rest, snapshot
from etlkit.bigquery.sql.staging import finished_ids

FROZEN = TableName("p", "d", "src")


@pytest.mark.parametrize("verb", ["CREATE TEMPORARY FUNCTION", "CREATE OR REPLACE TEMP FUNCTION"])
def test_spellings_of_a_temporary_function(verb):
    """Both are moved."""
    function = f"{verb} f() AS (1)"
    assert snapshot(FROZEN, f"{function}; SELECT f() AS a", None).startswith(f"{function};\n")


def test_the_rest_is_what_has_no_outcome(db, ask, stage):
    """A resume reads it again."""
    staged = stage([("a", 1, 0, 1, "x"), ("b", 1, 0, 2, "y")], rejects=[("c", 1)])
    db.execute("CREATE TABLE p.d.src AS SELECT UNNEST(['a', 'b', 'c', 'd']) AS _etlkit_row_id")
    text = rest(TableName("p", "d", "r"), FROZEN, finished_ids(staged))
    assert ask(text[text.index("SELECT") :]) == [("b",), ("d",)]
