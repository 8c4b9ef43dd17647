import pytest

from etlkit.variables import sql_tokens
from etlkit.variables.sql_tokens import is_plain_query, one_query

PLAIN = [
    "SELECT 1",
    "\n  select a, b FROM `p.d.t`\nWHERE a = 'x' AND b - 1 > 2 / 3\n",
    "WITH t AS (SELECT '' AS a, \"it's\" AS b) SELECT * FROM t",
    "SELECT r'raw', b'bytes' FROM t WHERE s LIKE '%;%--#/*'",
]
OTHERS = [
    "SELECT 1;",
    "SELECT 1 -- a comment",
    "SELECT 1 # a comment",
    "SELECT 1 /* a comment */",
    "-- a comment\nSELECT 1",
    "SELECT '''a\n;b'''",
    'SELECT """a;b"""',
    r"SELECT 'it\'s' AS a",
    "SELECT 'no end",
    "SELECT 'no end\n'",
    "SELECT `no end",
    "SELECTED",
    "CREATE TEMP FUNCTION f() AS (1); SELECT f()",
    "DELETE FROM t WHERE TRUE",
    "",
]


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_query_is_known_without_its_tokens(text, monkeypatch):
    """It is split as its tokens would have been."""
    assert is_plain_query(text)
    quick = one_query(text)
    monkeypatch.setattr(sql_tokens, "is_plain_query", lambda _: False)
    assert quick == one_query(text)


@pytest.mark.parametrize("text", OTHERS)
def test_any_other_text_is_split_by_its_tokens(text):
    """Semicolons, comments and quotes that are not simple decide nothing by themselves."""
    assert not is_plain_query(text)
