"""GoogleSQL's analyzer before the emulator, through the official client: refusals, names and types."""

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery
from google.cloud.bigquery import (
    ArrayQueryParameter,
    QueryJobConfig,
    ScalarQueryParameter,
    StructQueryParameter,
)

TYPES = """
SELECT 1, 'a' AS a, NUMERIC '1.5' * NUMERIC '1.5' AS n, BIGNUMERIC '1' AS b, CEIL(3) AS c, 1 / 4,
  TIMESTAMP '2024-01-01' AS t, DATETIME '2024-01-01' AS d, JSON '1' AS j, [1.5] AS l,
  STRUCT(1 AS x, 'y' AS y) AS s
"""
EXPECTED = [
    *[("f0_", "INTEGER"), ("a", "STRING"), ("n", "NUMERIC"), ("b", "BIGNUMERIC"), ("c", "FLOAT")],
    *[("f1_", "FLOAT"), ("t", "TIMESTAMP"), ("d", "DATETIME"), ("j", "JSON"), ("l", "FLOAT")],
    ("s", "RECORD"),
]


@pytest.fixture(scope="module")
def table(bq) -> str:
    """A table that the tests only read."""
    bq.create_dataset("googlesql")
    bq.query_and_wait(
        "CREATE TABLE googlesql.t AS SELECT 1 AS id, 'a' AS name, NUMERIC '2' * 3 AS n, CEIL(2) AS c"
    )
    return "googlesql.t"


def refusal(call) -> str:
    with pytest.raises(BadRequest) as refused:
        call()
    assert refused.value.errors[0]["reason"] == "invalidQuery"
    return refused.value.errors[0]["message"]


def columns(schema) -> list[tuple[str, str]]:
    return [(field.name, field.field_type) for field in schema]


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT idd FROM googlesql.t", "Unrecognized name: idd; Did you mean id? at [1:8]"),
        (
            "SELECT '1' = 1",
            "No matching signature for operator = for argument types: STRING, INT64",
        ),
        ("DELETE FROM googlesql.t", "DELETE must have a WHERE clause at [1:1]"),
        (
            "SELECT JSON '1' = JSON '1'",
            "Equality is not defined for arguments of type JSON at [1:8]",
        ),
        ("SELECT [1] = [1]", "Equality is not defined for arguments of type ARRAY<INT64> at [1:8]"),
        ("SELECT CURRENT_TIMESTAMP() < CURRENT_DATETIME()", "No matching signature for operator <"),
        ("SELECT NO_SUCH(1)", "Function not found: NO_SUCH at [1:8]"),
        ("SELECT 1\nFROM googlesql.t\nWHERE id = 'x'", "No matching signature for operator = for"),
        (
            "CREATE TABLE googlesql.u AS SELECT 1",
            "CREATE TABLE columns must be named, but column 1",
        ),
        ("SELECT 1; SELECT FROM x", "Syntax error: SELECT list must not be empty at [1:18]"),
        ("DECLARE x INT64;\nSELECT x, y", "Unrecognized name: y at [2:11]"),
        ("DECLARE x INT64; SET x = 'a'", "Cannot coerce expression 'a' to type INT64"),
        ("DECLARE x DATE DEFAULT 1", "Cannot coerce expression 1 to type DATE"),
        ("EXECUTE IMMEDIATE 'SELECT x FROM googlesql.t'", "Unrecognized name: x at [1:8]"),
        ("EXECUTE IMMEDIATE 'SELECT ? + nope' USING 1", "Unrecognized name: nope at [1:12]"),
        (
            "FOR r IN (SELECT 1 AS a) DO SELECT r.b; END FOR",
            "Field name b does not exist in STRUCT<",
        ),
        (
            "CREATE OR REPLACE TEMP TABLE z AS SELECT 1 AS a; SELECT b FROM z",
            "Unrecognized name: b at [1:57]",
        ),
        (
            "CREATE TEMP FUNCTION f(a INT64) AS (a + 1); SELECT f('a')",
            "No matching signature for function f",
        ),
    ],
)
def test_a_statement_is_refused_before_it_runs(bq, table, sql, sentence):
    """Over `jobs.insert`, `jobs.query` and dry runs: 400 `invalidQuery` with the sentence and place."""
    messages = [refusal(lambda: bq.query(sql, job_retry=None).result(job_retry=None))]
    messages.append(refusal(lambda: bq.query_and_wait(sql, job_retry=None)))
    if ";" not in sql and not sql.startswith(("EXECUTE", "DECLARE", "FOR")):
        messages.append(refusal(lambda: bq.query(sql, QueryJobConfig(dry_run=True))))
    assert all(message.startswith(sentence) for message in messages), messages


def test_the_place_in_a_text_of_several_lines(bq, table):
    """It counts from the beginning of the text."""
    message = refusal(lambda: bq.query_and_wait("SELECT id\nFROM googlesql.t\nWHERE idd = 1"))
    assert message == "Unrecognized name: idd; Did you mean id? at [3:7]"


def test_result_columns_have_the_names_and_types_of_googlesql(bq):
    """In results, in dry runs, and in scripts."""
    result = bq.query_and_wait(TYPES)
    assert columns(result.schema) == EXPECTED
    (row,) = result
    assert (row["f0_"], row["c"], row["f1_"], row["l"]) == (1, 3.0, 0.25, [1.5])
    assert str(row["n"].normalize()) == "2.25"
    dry = bq.query(TYPES, QueryJobConfig(dry_run=True))
    assert columns(dry.schema) == EXPECTED
    script = bq.query_and_wait("DECLARE d DATE DEFAULT '2024-01-01'; SELECT d")
    assert columns(script.schema) == [("d", "DATE")]


def test_a_table_has_the_types_of_its_query(bq, table):
    """Also in STRUCTs and ARRAYs."""
    assert columns(bq.get_table(table).schema) == [
        *[("id", "INTEGER"), ("name", "STRING"), ("n", "NUMERIC"), ("c", "FLOAT")]
    ]


def test_a_dry_run_knows_its_tables(bq, table):
    """Those that it reads, and those that it writes."""
    dry = QueryJobConfig(dry_run=True)
    (read,) = bq.query(f"SELECT id FROM {table}", dry).referenced_tables
    assert (read.dataset_id, read.table_id) == ("googlesql", "t")
    insert = bq.query(f"INSERT INTO {table} (id) SELECT 1 FROM googlesql.t", dry)
    assert [each.table_id for each in insert.referenced_tables] == ["t"]


def test_parameters_have_types(bq):
    """Named and positional ones, arrays and structs."""
    named = QueryJobConfig(
        query_parameters=[
            ScalarQueryParameter("a", "NUMERIC", 1),
            StructQueryParameter("s", ScalarQueryParameter("x", "STRING", "y")),
        ]
    )
    assert columns(bq.query_and_wait("SELECT @a + 1 AS a, @s.x AS x", job_config=named).schema) == [
        ("a", "NUMERIC"),
        ("x", "STRING"),
    ]
    message = refusal(lambda: bq.query_and_wait("SELECT @b", job_config=named))
    assert message == "Query parameter 'b' not found at [1:8]"
    given = [ScalarQueryParameter(None, "INT64", 1), ArrayQueryParameter(None, "DATE", [])]
    positional = QueryJobConfig(query_parameters=given)
    sql = "SELECT ? + 1, ARRAY_LENGTH(?)"
    assert next(iter(bq.query_and_wait(sql, job_config=positional))).values() == (2, 0)


def test_views_by_the_api(bq, table):
    """The query of a view is analyzed when it is made; its columns are checked when it is read."""
    view = bigquery.Table("local.googlesql.v")
    view.view_query = f"SELECT x FROM {table}"
    assert refusal(lambda: bq.create_table(view)) == "Unrecognized name: x at [1:8]"
    view.view_query = f"SELECT id FROM {table}"
    bq.create_table(view)
    message = refusal(lambda: bq.query_and_wait("SELECT name FROM googlesql.v"))
    assert message == "Unrecognized name: name at [1:8]"


def test_what_does_not_exist_is_not_found(bq, table):
    """404, not 400: the analyzer leaves it to the server."""
    from google.api_core.exceptions import NotFound

    with pytest.raises(NotFound, match=r"googlesql\.nothing was not found"):
        bq.query_and_wait("SELECT * FROM googlesql.nothing")


def test_pseudo_columns_wildcards_and_metadata(bq, table):
    """Tables have more columns than their schema says."""
    bq.query_and_wait("CREATE TABLE googlesql.day_1 (id INT64) PARTITION BY _PARTITIONDATE")
    assert not list(bq.query_and_wait("SELECT _PARTITIONTIME FROM googlesql.day_1"))
    sql = "SELECT table_name FROM googlesql.INFORMATION_SCHEMA.TABLES WHERE table_name = 't'"
    assert [row[0] for row in bq.query_and_wait(sql)] == ["t"]
    message = refusal(lambda: bq.query_and_wait(sql.replace("table_name", "name")))
    assert message.startswith("Unrecognized name: name")
