"""Where variables stand in SQL, and that no value gets out of its place."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from etlkit import ConfigError
from etlkit.variables.definitions import Value
from etlkit.variables.sql_tokens import split, tokenize
from etlkit.variables.substitution import expand_name, expand_sql, sql_literal

EVIL = [
    "'; DROP TABLE x; --",
    '" OR 1=1',
    "a`; DROP TABLE x; --",
    "a -- b",
    "a/*",
    "*/ a",
    "a\nb",
    "a\r",
    "a#b",
    "\\",
    "\\' OR TRUE --",
    "'''",
    '"""',
    "a;b",
    "a b",
    "a,b",
    "(SELECT 1)",
    "a..b",
    "a.",
    "a--b",
    "$other$",
    "@p",
    "\x00",
    "\u2028",
    "\u02bc OR 1=1",
    "\uff07\uff1b",
    "",
]


def expand(sql, **values):
    as_values = {
        name: value if isinstance(value, Value) else Value(value) for name, value in values.items()
    }
    return expand_sql(sql, as_values)


@pytest.mark.parametrize(
    ("sql", "expected", "parameters"),
    [
        ("SELECT * FROM t WHERE d >= $d$", "SELECT * FROM t WHERE d >= @d", {"d": "20240131"}),
        ("SELECT '$d$'", "SELECT @d", {"d": "20240131"}),
        ('SELECT "$d$", r"$d$", """$d$"""', "SELECT @d, @d, @d", {"d": "20240131"}),
        ("SELECT f($n$), -$n$", "SELECT f(@n), -@n", {"n": 5}),
        ("SELECT '$n$', $n$", "SELECT @n_text, @n", {"n": 5, "n_text": "5"}),
        ("SELECT 1 LIMIT $n$", "SELECT 1 LIMIT @n", {"n": 5}),
        ("SELECT x-$n$-1", "SELECT x-@n-1", {"n": 5}),
        ("CALL p($d$)", "CALL p(@d)", {"d": "20240131"}),
        ("CREATE TABLE a.b_$d$ AS SELECT $n$", "CREATE TABLE a.b_20240131 AS SELECT @n", {"n": 5}),
        ("INSERT t_$d$ VALUES ($d$)", "INSERT t_20240131 VALUES (@d)", {"d": "20240131"}),
    ],
)
def test_a_value_becomes_a_parameter(sql, expected, parameters):
    """A variable alone or as a whole literal, in any quotes, becomes a query parameter."""
    found = expand(sql, d="20240131", n=5)
    assert (found.sql, found.parameters) == (expected, parameters)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM a.events_$d$", "SELECT * FROM a.events_20240131"),
        ("SELECT * FROM $ds$.t", "SELECT * FROM logs.t"),
        ("SELECT * FROM a.$ds$", "SELECT * FROM a.logs"),
        ("SELECT * FROM $ds$_$d$ AS x", "SELECT * FROM logs_20240131 AS x"),
        ("SELECT * FROM `p-1.$ds$.e_$d$`", "SELECT * FROM `p-1.logs.e_20240131`"),
        ("SELECT t.$ds$ FROM t", "SELECT t.logs FROM t"),
        ("SELECT * FROM $table$ AS t", "SELECT * FROM p-1.a.b AS t"),
        ("SELECT 'x_$d$_y'", "SELECT 'x_20240131_y'"),
        ("SELECT r'x_$d$\\d'", "SELECT r'x_20240131\\d'"),
        ("SELECT DATE '$day$'", "SELECT DATE '2024-01-31'"),
        (
            "SELECT JSON '$d$', INTERVAL '$d$' DAY",
            "SELECT JSON '20240131', INTERVAL '20240131' DAY",
        ),
        ("CREATE VIEW v AS SELECT $q$, '$q$'", "CREATE VIEW v AS SELECT 'it\\'s', 'it\\'s'"),
        (
            "CREATE EXTERNAL TABLE t OPTIONS (uris = ['gs://$ds$/*', '$q$'])",
            "CREATE EXTERNAL TABLE t OPTIONS (uris = ['gs://logs/*', 'it\\'s'])",
        ),
        ("ALTER TABLE t SET OPTIONS (x = '$q$')", "ALTER TABLE t SET OPTIONS (x = 'it\\'s')"),
        (
            "EXPORT DATA OPTIONS (uri = '$d$') AS SELECT 1",
            "EXPORT DATA OPTIONS (uri = '20240131') AS SELECT 1",
        ),
    ],
)
def test_names_and_parts_of_literals_become_text(sql, expected):
    """Where BigQuery accepts no parameter, the value is expanded as text."""
    table = Value("p-1.a.b", as_text=True)
    found = expand(sql, d="20240131", ds="logs", day="2024-01-31", q="it's", table=table)
    assert (found.sql, found.parameters) == (expected, {})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 -- $nope$",
        "SELECT 1 # '$nope$",
        "SELECT /* $nope$ */ 1",
        "SELECT JSON_VALUE(x, '$.a'), JSON_QUERY(x, '$.a[0].b$')",
        "SELECT REGEXP_CONTAINS(x, r'^a$|^b$')",
        "SELECT 'costs 5$, or 6$'",
    ],
)
def test_dollars_that_are_no_variables(sql):
    """Comments stay as they are, and so do JSON paths and patterns."""
    assert expand(sql).sql == sql


def test_a_variable_in_a_comment_is_not_used():
    """A value with a line break cannot end a comment."""
    found = expand("SELECT 1 -- $a$\n", a="\nDROP TABLE x")
    assert found.sql == "SELECT 1 -- $a$\n"
    assert found.used == frozenset()


def test_an_unknown_variable_lists_the_known_ones():
    """Messages name variables as they are written, with dollar signs."""
    with pytest.raises(ConfigError, match=r"unknown variable \$c\$; the job has \$a\$, \$b\$"):
        expand("SELECT $c$", a="", b="")


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize("sql", ["SELECT * FROM a.b_$v$ AS t", "SELECT * FROM `a.b_$v$` AS t"])
def test_no_value_breaks_out_of_a_name(sql, value):
    """A value that is not a name is refused before anything is sent."""
    if value in {"a..b", "a.", "a--b"} and "`" in sql:
        return  # a name that does not exist, but a name
    with pytest.raises(ConfigError, match=r"\$v\$ cannot be part of a name"):
        expand(sql, v=value)
    with pytest.raises(ConfigError, match="cannot be part of a name"):
        expand("SELECT * FROM $v$", v=Value(value, as_text=True))


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize("quote", ["'", '"', "'''", '"""'])
def test_no_value_breaks_out_of_its_quotes(quote, value):
    """In a part of a literal the value is escaped; read back it is the value, in one literal."""
    sql = f"SELECT {quote}x_$v${quote} AS a, 1 AS b"
    found = expand(sql, v=value)
    assert found.parameters == {}
    tokens = tokenize(found.sql)
    assert [t.kind for t in tokens] == [t.kind for t in tokenize(sql)]
    assert unescaped(tokens[1].text[len(quote) : -len(quote)]) == f"x_{value}"


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_no_text_at_all_breaks_out(value):
    """Any value becomes one literal with that value, or a parameter, or is refused."""
    part = expand("SELECT 'x_$v$', 1", v=value)
    tokens = tokenize(part.sql)
    assert [t.kind for t in tokens] == ["SELECT", "STRING", "COMMA", "NUMBER"]
    assert unescaped(tokens[1].text[1:-1]) == f"x_{value}"
    whole = expand("SELECT '$v$', $v$", v=value)
    assert (whole.sql, whole.parameters) == ("SELECT @v, @v", {"v": value})
    for sql in ("SELECT * FROM a.b_$v$", "SELECT * FROM `a.b_$v$`"):
        try:
            name = expand(sql, v=value).sql
        except ConfigError:
            continue
        assert len(sqlglot.parse(name, dialect="bigquery")) == 1
        assert [t.kind for t in tokenize(name)][:3] == ["SELECT", "STAR", "FROM"]
        assert not set(name) & set("'\"\\;#/\n@(),")
        assert name.count("`") == sql.count("`")


def unescaped(body):
    """Evaluate a literal: the escapes in use are the same in Python."""
    return body.encode("ascii", "backslashreplace").decode("unicode_escape")


@pytest.mark.parametrize("value", ["a'b", 'a"b', "a\\", "a\nb", "\x00"])
def test_a_raw_literal_refuses_what_it_cannot_hold(value):
    """A raw string has no escapes, so such values are refused."""
    with pytest.raises(ConfigError, match=r"line 2: the value of .* would break out of the raw"):
        expand("SELECT\nr'x_$v$'", v=value)


def test_half_a_character():
    """A lone surrogate is not text and is refused."""
    with pytest.raises(ConfigError, match=r"U\+D800"):
        expand("SELECT 'x_$v$'", v="\ud800")


def test_sql_that_is_made_of_strings_takes_no_variables():
    """Variables in the SQL of EXECUTE IMMEDIATE are refused: a value could end the string."""
    for text in ("'SELECT $v$'", "'a' || '$v$'", "$v$", "CONCAT('x', '$v$') INTO y"):
        with pytest.raises(ConfigError, match="EXECUTE IMMEDIATE: write @name"):
            expand(f"EXECUTE IMMEDIATE {text}", v="1")
    assert expand("EXECUTE IMMEDIATE 'SELECT @v' USING $v$ AS v", v="1").parameters == {"v": "1"}


def test_bytes_take_no_variables():
    """Text in a bytes literal is refused: its encoding is unknown."""
    for prefix in ("b", "rb", "BR", "B"):
        with pytest.raises(ConfigError, match="cannot stand in bytes"):
            expand(f"SELECT {prefix}'x$v$'", v="1")


def test_what_is_stored_inside_of_a_script_takes_no_parameters():
    """The view in the block gets a literal, the insert beside it a parameter."""
    sql = "BEGIN CREATE VIEW v AS SELECT '$v$'; INSERT t SELECT $v$; END"
    assert expand(sql, v="1").sql == "BEGIN CREATE VIEW v AS SELECT '1'; INSERT t SELECT @v; END"
    sql = "CREATE PROCEDURE p() BEGIN INSERT t SELECT $v$; SELECT '$v$'; END"
    assert expand(sql, v="1").parameters == {}


def test_a_parameter_for_the_text_of_a_number_takes_no_name():
    """`$n$` and `'$n$'` are two parameters that no other variable uses."""
    found = expand("SELECT $n$, '$n$', $n_text$", n=1, n_text="x")
    assert found.sql == "SELECT @n, @n_text_text, @n_text"
    assert found.parameters == {"n": 1, "n_text_text": "1", "n_text": "x"}


def test_literals_of_every_type():
    """As GoogleSQL writes them."""
    at = datetime(2024, 1, 31, tzinfo=UTC)
    values = [True, 5, 1.5, Decimal("1.50"), date(2024, 1, 31), at, at.replace(tzinfo=None), "a'\n"]
    assert [sql_literal(value) for value in values] == [
        "TRUE",
        "5",
        "CAST('1.5' AS FLOAT64)",
        "NUMERIC '1.50'",
        "DATE '2024-01-31'",
        "TIMESTAMP '2024-01-31 00:00:00+00:00'",
        "DATETIME '2024-01-31 00:00:00'",
        "'a\\'\\n'",
    ]


def test_a_negative_number_makes_no_comment():
    """`1 -$n$` would read on to the end of the line without the value."""
    assert expand("CREATE VIEW v AS SELECT 1 -$n$", n=-5).sql == "CREATE VIEW v AS SELECT 1 -(-5)"
    with pytest.raises(ConfigError, match="cannot be part of a name"):
        expand("SELECT t_$n$", n=-5)


def test_names_of_tables():
    """The destination of a datamart takes variables too."""
    assert expand_name("a.b_$d$", {"d": Value("20240131")}) == ("a.b_20240131", {"d"})
    with pytest.raises(ConfigError, match="cannot be part of a name"):
        expand_name("a.b_$d$", {"d": Value("1`; --")})


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("SELECT 1", [("SELECT 1", 1, 1)]),
        ("-- a\nSELECT ';';;\n  SELECT 2; -- b", [("SELECT ';'", 2, 1), ("SELECT 2", 3, 3)]),
        ("(SELECT 1); WITH a AS (SELECT 1) SELECT 2", [("(SELECT 1)", 1, 1), None]),
        ("CREATE TABLE a AS SELECT 1; SELECT * FROM a; DROP TABLE a", [None, None, None]),
    ],
)
def test_statements_that_stand_alone_are_split(sql, statements):
    """Each statement has its position; comments between statements belong to none."""
    found = split(sql)
    assert len(found) == len(statements)
    assert not any(statement.is_script for statement in found)
    for statement, expected in zip(found, statements, strict=True):
        assert expected is None or (statement.text, statement.line, statement.column) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "DECLARE x INT64; SELECT x;",
        "BEGIN TRANSACTION; INSERT t SELECT 1; COMMIT TRANSACTION;",
        "IF TRUE THEN SELECT 1; END IF;",
        "CREATE TEMP TABLE x AS SELECT 1; SELECT * FROM x;",
        "CREATE OR REPLACE TEMPORARY FUNCTION f() AS (1); SELECT f();",
        "INSERT t SELECT 1; SELECT @@row_count;",
        "SET @@time_zone = 'UTC'; SELECT 1;",
        "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END;",
        "SELECT 1; EXECUTE IMMEDIATE 'SELECT 2';",
        "a: LOOP BREAK a; END LOOP;",
        "SELECT 1; SELEC 2;",
    ],
)
def test_statements_that_need_each_other_are_one_script(sql):
    """A script is the whole text, with its last semicolon."""
    (statement,) = split(sql)
    assert statement.text == sql
    assert statement.is_script


@pytest.mark.parametrize("sql", ["", "  ", "-- nothing", ";;"])
def test_no_statement(sql):
    """An empty file is a mistake."""
    with pytest.raises(ConfigError, match="there is no statement"):
        split(sql)


@pytest.mark.parametrize("sql", ["SELECT 'a", "SELECT `a", 'SELECT """a"'])
def test_sql_without_its_end(sql):
    """The error comes before any request and does not repeat the SQL."""
    with pytest.raises(ConfigError, match="a quote or a comment has no end"):
        split(sql)
