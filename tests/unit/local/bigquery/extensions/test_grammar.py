import pytest
from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp, parse_one

from etlkit.local.bigquery.extensions import grammar, hooks
from etlkit.local.bigquery.patches.table import EMULATOR_VERSION, PATCHES

OBJECT_TABLE = """  # CREATE an object TABLE
CREATE OR REPLACE EXTERNAL TABLE
  bqml_vision.object_table
WITH CONNECTION {connection} OPTIONS(uris="gs://photos/*",
    object_metadata="SIMPLE")
    #max_staleness = MAKE_INTERVAL(),
    ;
"""


@pytest.fixture(scope="module", autouse=True)
def _grammar():
    """The local server's grammar. To check what it replaces imports most of the emulator."""
    parse_one("SELECT 1", read="bigquery").sql(dialect="bigquery")  # as others may have done before
    PATCHES.check(EMULATOR_VERSION)
    grammar.apply()


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("us.photos", "us.photos"),
        ("us.my-conn-1", "us.my-conn-1"),
        ("my-project.us.my-conn", "my-project.us.my-conn"),
        ("`my-project.us.conn`", "my-project.us.conn"),
        ("DEFAULT", "DEFAULT"),
        ("default", "DEFAULT"),
    ],
)
def test_connections_need_no_backticks(written, name):
    """A connection may have dashes, three parts, one pair of backticks, or be DEFAULT."""
    tree = grammar.parse(OBJECT_TABLE.format(connection=written))
    assert isinstance(tree, exp.Create)
    assert grammar.connection(tree) == name
    assert grammar.options(tree) == {"uris": "gs://photos/*", "object_metadata": "SIMPLE"}


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE EXTERNAL TABLE d.t WITH CONNECTION `us.my-conn` OPTIONS (uris=['gs://b/*'])",
        "CREATE EXTERNAL TABLE IF NOT EXISTS d.t WITH CONNECTION DEFAULT OPTIONS (uris='gs://b/*')",
        "DROP EXTERNAL TABLE IF EXISTS d.t",
        "CREATE MODEL d.m REMOTE WITH CONNECTION DEFAULT OPTIONS (endpoint='x')",
        "SELECT * FROM ML.PREDICT(MODEL d.m, (SELECT 1 AS x)) AS p",
        "SELECT * FROM ML.ANNOTATE_IMAGE(MODEL d.m, TABLE d.t, STRUCT(['a'] AS vision_features))",
        "SELECT a.x FROM ML.ANNOTATE_IMAGE(MODEL `p.d.m`, (SELECT 1 AS x)) AS a",
    ],
)
def test_a_parsed_statement_is_written_again_unchanged(sql):
    """Parsing and generating a statement gives the same text."""
    tree = grammar.parse(sql)
    assert tree is not None
    assert not tree.find(exp.Command)
    assert tree.sql(dialect="bigquery") == sql


def test_options_are_literals():
    """Pairs, lists, numbers and intervals are read; other expressions are refused."""
    tree = grammar.parse(
        "CREATE MODEL d.m OPTIONS(a=[('k', 'v')], b=-1, c=1.5, d=TRUE, e=NULL, f=INTERVAL 1 HOUR)"
    )
    options = grammar.options(tree)
    assert isinstance(options.pop("f"), exp.Interval)
    assert options == {"a": [("k", "v")], "b": -1, "c": 1.5, "d": True, "e": None}
    with pytest.raises(InvalidQueryError, match="option 'a' must be a literal"):
        grammar.options(grammar.parse("CREATE MODEL d.m OPTIONS(a=CONCAT('x', 'y'))"))
    with pytest.raises(InvalidQueryError, match="Duplicate option specified for 'a'"):
        grammar.options(grammar.parse("CREATE MODEL d.m OPTIONS(a=1, A=2)"))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("d.t", ("local", "d", "t")),
        ("p.d.t", ("p", "d", "t")),
        ("`p.d.t`", ("p", "d", "t")),
        ("`my-project`.d.t", ("my-project", "d", "t")),
        ("my-project.d.t", ("my-project", "d", "t")),
    ],
)
def test_names(written, name):
    """A name has two or three parts, with or without one pair of backticks."""
    table = grammar.parse(f"SELECT * FROM {written}").find(exp.Table)
    assert grammar.name_of(table, "local") == name


def test_a_name_without_a_dataset():
    """The message is BigQuery's."""
    table = grammar.parse("SELECT * FROM t").find(exp.Table)
    with pytest.raises(InvalidQueryError, match='Table "t" must be qualified with a dataset'):
        grammar.name_of(table, "local")


@pytest.mark.parametrize("sql", ["", "SELECT 1; SELECT 2", "SELEC 1 FROM", "SELECT 'x"])
def test_only_a_single_statement_has_a_tree(sql):
    """Empty texts, several statements and unknown syntax have none."""
    assert grammar.parse(sql) is None


def models(sql: str) -> list[str]:
    found = hooks.innermost_first(parse_one(sql, read="bigquery"), exp.Predict)
    return [node.this.name for node in found]


def test_nodes_are_ordered_by_what_they_need():
    """WITH tables come before the query that uses them, and inner calls before outer ones."""
    inner = "SELECT * FROM ML.PREDICT(MODEL d.inner1, (SELECT 1))"
    assert models(f"SELECT * FROM ML.PREDICT(MODEL d.outer1, ({inner}))") == ["inner1", "outer1"]
    sql = (
        "WITH a AS (SELECT * FROM ML.PREDICT(MODEL d.first, (SELECT 1))), "
        "b AS (SELECT * FROM ML.PREDICT(MODEL d.second, (SELECT * FROM a))) "
        "SELECT * FROM ML.PREDICT(MODEL d.third, TABLE b) JOIN ML.PREDICT(MODEL d.fourth, TABLE a)"
    )
    assert models(sql) == ["first", "second", "third", "fourth"]


@pytest.fixture
def scope():
    from etlkit.local.bigquery.extensions.subqueries import Scope

    return Scope(None, lambda sql: (sql, None))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM ML.PREDICT(MODEL m, TABLE d.t)", "SELECT * FROM d.t"),
        ("SELECT * FROM ML.PREDICT(MODEL m, (SELECT x FROM d.t))", "SELECT x FROM d.t"),
        (
            (
                "WITH a AS (SELECT 1 AS x), b AS (SELECT 2 AS y) "
                "SELECT * FROM ML.PREDICT(MODEL m, (SELECT x FROM a))"
            ),
            "WITH a AS (SELECT 1 AS x) SELECT * FROM (SELECT x FROM a) AS etlkit_sub",
        ),
        (
            (
                "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a), c AS (SELECT * FROM "
                "ML.PREDICT(MODEL m, TABLE b)), d AS (SELECT 3 AS z) SELECT * FROM c"
            ),
            (
                "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) "
                "SELECT * FROM (SELECT * FROM b) AS etlkit_sub"
            ),
        ),
        (
            (
                "WITH a AS (SELECT 1 AS x) SELECT * FROM (WITH a AS (SELECT 2 AS x) "
                "SELECT * FROM ML.PREDICT(MODEL m, TABLE a))"
            ),
            "WITH a AS (SELECT 2 AS x) SELECT * FROM (SELECT * FROM a) AS etlkit_sub",
        ),
    ],
)
def test_a_sub_query_gets_the_with_tables_that_it_names(scope, sql, expected):
    """It gets those that it needs, directly or through others, and no others."""
    (node,) = hooks.innermost_first(parse_one(sql, read="bigquery"), exp.Predict)
    assert scope.self_contained(node.expression).sql(dialect="bigquery") == expected
