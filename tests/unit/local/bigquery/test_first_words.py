"""What is said of a text without parsing it is right, and where it is not certain nothing is said."""

import pytest
import sqlglot
from sqlglot import exp

from etlkit.local.bigquery.first_words import first_word, may_begin

CERTAIN = [
    ("SELECT 1", "SELECT"),
    ("  -- DROP TABLE t\n# CREATE\n/* ; */ insert INTO t VALUES (1)", "INSERT"),
    ("DROP\tTABLE t", "DROP"),
    ("BEGIN;SELECT 1", "BEGIN"),
    ("ASSERT(TRUE)", "ASSERT"),
    ("/* a */--\nWITH q AS (SELECT 1) SELECT * FROM q", "WITH"),
]
UNCERTAIN = [
    "",
    "(SELECT 1)",
    "; DROP TABLE t",
    "/* DROP TABLE t",
    "`drop` ",
    "DROP'x'",
    "drop_it",
    "b'x'",
    "1 DROP",
    "{% x %} DROP TABLE t",
]


@pytest.mark.parametrize(("sql", "word"), CERTAIN)
def test_a_word_that_a_statement_begins_with(sql, word):
    assert first_word(sql) == word
    assert may_begin(sql, word, "OTHER")
    assert not may_begin(sql, "OTHER")


@pytest.mark.parametrize("sql", UNCERTAIN)
def test_where_it_is_not_certain_everything_may_be(sql):
    assert first_word(sql) == ""
    assert may_begin(sql, "DROP")


@pytest.mark.parametrize("sql", [*(sql for sql, _ in CERTAIN), *UNCERTAIN])
def test_what_sqlglot_takes_for_a_drop_may_be_one(sql):
    try:
        is_drop = isinstance(sqlglot.parse_one(sql, read="bigquery"), exp.Drop)
    except sqlglot.errors.SqlglotError:
        is_drop = False
    assert may_begin(sql, "DROP") or not is_drop
