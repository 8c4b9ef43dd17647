"""GoogleSQL's own analyzer, over catalogs that tests write down."""

import os
import signal
import subprocess
import sys

import pytest

from etlkit.errors import ConfigError
from etlkit.local.bigquery.googlesql import (
    AnalyzerFailedError,
    GoogleSqlError,
    analyze,
    analyze_expression,
    analyzer_options,
    builtin_catalog_id,
    engine,
    parse_script,
)
from etlkit.local.bigquery.sql_catalog import (
    INGESTION_TIME,
    Argument,
    Catalog,
    Function,
    Procedure,
    Table,
)
from etlkit.local.bigquery.sql_types import SqlType

ROWS = Table.of(
    "p.d.rows",
    {
        "id": "INT64 NOT NULL",
        "name": "STRING(10)",
        "tags": "ARRAY<STRUCT<`a b` INT64, y NUMERIC(5, 2)>>",
        "doc": "JSON",
    },
    pseudo_columns=INGESTION_TIME,
)
TAGS = "ARRAY<STRUCT<`a b` INT64, y NUMERIC>>"
CATALOG = Catalog.of(
    ROWS,
    Table.of("p.d.day_1", {"id": "INT64"}),
    Table.of("p.d.day_2", {"id": "INT64", "more": "STRING"}),
    Table.of("p.d.INFORMATION_SCHEMA.TABLES", {"table_name": "STRING"}),
    Function(("d", "twice"), (Argument(SqlType("INT64"), name="n"),), SqlType("INT64")),
    Procedure(("d", "proc"), (Argument(SqlType("INT64")),)),
    project="p",
    variables={"limit_of_run": SqlType("INT64")},
)


def columns(sql, parameters=None):
    return {name: str(kind) for name, kind in analyze(sql, CATALOG, parameters).columns}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT id, 1, name, 2.5 FROM d.rows", "id INT64, f0_ INT64, name STRING, f1_ FLOAT64"),
        (
            "SELECT * FROM `p.d.rows`",
            "id INT64, name STRING, tags ARRAY<STRUCT<`a b` INT64, y NUMERIC>>, doc JSON",
        ),
        ("SELECT _PARTITIONDATE AS day FROM `p`.d.rows;", "day DATE"),
        ("SELECT *, _TABLE_SUFFIX AS s FROM `d.day_*`", "id INT64, more STRING, s STRING"),
        ("SELECT table_name FROM d.INFORMATION_SCHEMA.TABLES", "table_name STRING"),
        (
            "SELECT NUMERIC '1' + 1 AS n, 1 / 2 AS f, BIGNUMERIC '1' AS b",
            "n NUMERIC, f FLOAT64, b BIGNUMERIC",
        ),
        ("SELECT AS STRUCT 1 AS a, 'b' AS b", "a INT64, b STRING"),
        (
            "SELECT limit_of_run + 1 AS n, @@row_count AS r, d.twice(2) AS t",
            "n INT64, r INT64, t INT64",
        ),
        (
            "SELECT RANGE(DATE '2024-01-01', NULL) AS r, INTERVAL 1 DAY AS i",
            "r RANGE<DATE>, i INTERVAL",
        ),
        ("FROM d.rows |> AGGREGATE COUNT(*) AS n GROUP BY name", "name STRING, n INT64"),
        ("SELECT CAST(1 AS INTEGER) AS i, CAST('1' AS DECIMAL) AS d", "i INT64, d NUMERIC"),
    ],
)
def test_columns_have_the_names_and_types_of_googlesql(sql, expected):
    """Columns without a name are called `f0_`, `f1_`, as in BigQuery's results."""
    found = ", ".join(f"{name} {kind}" for name, kind in columns(sql).items())
    assert found == expected


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT idd FROM d.rows", "Unrecognized name: idd; Did you mean id? [at 1:8]"),
        ("SELECT\n  FROM d.rows", "Syntax error: SELECT list must not be empty [at 2:3]"),
        (
            "SELECT doc = doc FROM d.rows",
            "Equality is not defined for arguments of type JSON [at 1:8]",
        ),
        (
            "SELECT doc FROM d.rows GROUP BY doc",
            "Grouping by expressions of type JSON is not allowed [at 1:33]",
        ),
        (
            "SELECT tags = tags FROM d.rows",
            f"Equality is not defined for arguments of type {TAGS} [at 1:8]",
        ),
        ("DELETE FROM d.rows", "DELETE must have a WHERE clause [at 1:1]"),
        ("SELECT CAST(1 AS FLOAT32)", "Type not found: FLOAT32 [at 1:18]"),
        ("INSERT d.rows (id) VALUES (1) THEN RETURN id", "THEN RETURN is not supported [at 1:31]"),
        (
            "CREATE TABLE d.n AS SELECT 1",
            "CREATE TABLE columns must be named, but column 1 has no name [at 1:21]",
        ),
    ],
)
def test_what_bigquery_refuses_is_refused_in_its_words(sql, sentence):
    """Sentences and positions are those of the analyzer behind BigQuery."""
    with pytest.raises(GoogleSqlError) as refused:
        analyze(sql, CATALOG)
    assert str(refused.value) == sentence


def test_messages_with_several_lines_are_whole():
    """What a function takes stands below the first line."""
    with pytest.raises(
        GoogleSqlError, match=r"(?s)^No matching signature for .*d\.twice.*STRING.*INT64"
    ):
        analyze("SELECT d.twice('a')", CATALOG)


def test_a_table_that_does_not_exist_is_named():
    """So that a caller can answer 404, as BigQuery does."""
    with pytest.raises(GoogleSqlError) as refused:
        analyze("SELECT 1 FROM d.nothing", CATALOG)
    assert refused.value.missing == "d.nothing"


def test_tables_that_are_read_and_written():
    """An INSERT does not read its target; a MERGE does. Columns are those that it uses."""
    insert = analyze("INSERT INTO d.rows (id, name) SELECT id, more FROM d.day_2", CATALOG)
    assert (insert.kind, set(insert.reads), set(insert.writes)) == (
        "INSERT",
        {"p.d.day_2"},
        {"p.d.rows"},
    )
    merge = analyze(
        "MERGE d.rows AS t USING d.day_2 AS s ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET name = s.more",
        CATALOG,
    )
    assert merge.reads == {"p.d.rows", "p.d.day_2"}
    assert merge.columns_read == {"p.d.rows": ("id", "name"), "p.d.day_2": ("id", "more")}
    create = analyze("CREATE TABLE d.new AS SELECT UPPER(name) AS n FROM d.rows", CATALOG)
    assert (create.kind, create.target) == ("CREATE_TABLE_AS_SELECT", ("d", "new"))
    assert "upper" in create.functions


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("CALL d.proc(1)", "CALL"),
        ("BEGIN TRANSACTION", "BEGIN_TRANSACTION"),
        ("DROP TABLE IF EXISTS d.rows", "DROP_TABLE"),
        ("TRUNCATE TABLE d.rows", "TRUNCATE_TABLE"),
        ("ALTER TABLE d.rows ADD COLUMN x INT64", "ALTER_TABLE"),
        ("ALTER TABLE d.rows ALTER COLUMN id SET DATA TYPE NUMERIC", "ALTER_TABLE"),
        ("EXPORT DATA OPTIONS(uri='gs://b/*', format='CSV') AS SELECT 1 AS a", "EXPORT_DATA"),
        (
            "CREATE EXTERNAL TABLE d.x WITH CONNECTION `us.c` OPTIONS(uris=['gs://b/*'])",
            "CREATE_EXTERNAL_TABLE",
        ),
        ("CREATE SNAPSHOT TABLE d.n CLONE d.rows", "CREATE_SNAPSHOT_TABLE"),
        ("CREATE TABLE d.n CLONE d.rows", "CREATE_TABLE"),
        ("LOAD DATA INTO d.rows FROM FILES(format='CSV', uris=['gs://b/x'])", "LOAD_DATA"),
    ],
)
def test_kinds_of_statements(sql, kind):
    """They are named as BigQuery's `statementType` names them."""
    assert analyze(sql, CATALOG).kind == kind


@pytest.mark.parametrize("call", ["MAX_BY(id, name)", "SEARCH(name, 'a')", "AI.IF('a')"])
def test_what_the_analyzer_lacks_is_not_called_wrong(call):
    """BigQuery has these functions."""
    with pytest.raises(AnalyzerFailedError):
        analyze(f"SELECT {call} FROM d.rows", CATALOG)


def test_statements_that_differ_in_generated_names_share_their_analysis():
    """Each gets its own names back, wherever they are: tables, columns, fields of a STRUCT."""
    for run in ("20240101_000000000_aaaa0001", "20240202_111111111_bbbb0002"):
        catalog = Catalog.of(
            Table.of(f"p.d.src_{run}", {"id": "INT64", f"c_{run[:8]}": "STRUCT<x_1 INT64>"}),
            Table.of(f"p.d.out_{run}", {"id": "INT64"}),
            project="p",
        )
        found = analyze(
            f"SELECT s.*, s.id AS id_{run}, 'src_{run}' AS t FROM d.src_{run} AS s "
            f"JOIN d.out_{run} USING (id) -- {run}",
            catalog,
        )
        assert [name for name, _ in found.columns] == ["id", f"c_{run[:8]}", f"id_{run}", "t"]
        assert found.columns[1][1].text == "STRUCT<x_1 INT64>"
        assert found.reads == {f"p.d.src_{run}", f"p.d.out_{run}"}
        assert found.columns_read[f"p.d.out_{run}"] == ("id",)
        with pytest.raises(GoogleSqlError, match=rf"Name y not found inside src_{run} \[at 1:"):
            analyze(f"SELECT src_{run}.y FROM d.src_{run}", catalog)


def test_statements_that_differ_in_more_do_not():
    """A function, a literal or a type that has digits is not a generated name."""
    assert columns("SELECT SHA1('a') AS x") == columns("SELECT SHA256('a') AS x")
    assert columns("SELECT CAST('1' AS INT64) AS x") != columns("SELECT CAST('1' AS FLOAT64) AS x")
    assert columns("SELECT LOG10(1) AS x") == {"x": "FLOAT64"}
    one = Catalog.of(Table.of("p.d.t_1", {"a_1": "INT64"}), project="p")
    two = Catalog.of(Table.of("p.d.t_2", {"a_2": "STRING"}), project="p")
    assert analyze("SELECT a_1 FROM d.t_1", one).columns[0][1].text == "INT64"
    assert analyze("SELECT a_2 FROM d.t_2", two).columns[0][1].text == "STRING"
    with pytest.raises(GoogleSqlError, match="a_1"):
        analyze("SELECT a_1 FROM d.t_2", two)


def test_parameters():
    """Named and positional parameters have types; without a declaration any type is taken."""
    assert columns("SELECT @a + 1 AS x", {"A": SqlType("NUMERIC")}) == {"x": "NUMERIC"}
    assert columns("SELECT ? AS x", [SqlType("DATE")]) == {"x": "DATE"}
    assert columns("SELECT ? + 1 AS x, '?' AS y") == {"x": "INT64", "y": "STRING"}
    with pytest.raises(GoogleSqlError, match="Query parameter 'b' not found"):
        analyze("SELECT @b", CATALOG, {})


def test_an_expression():
    """Its type is told."""
    assert analyze_expression("limit_of_run * 1.5", CATALOG).text == "FLOAT64"


def test_scripts():
    """Statements with their places; those of blocks and branches are within."""
    script = parse_script(
        "DECLARE n INT64 DEFAULT 1; -- é\n"
        "IF n = 1 THEN SELECT 'é'; ELSE SET n = 2; END IF;\n"
        "WHILE TRUE DO BREAK; END WHILE"
    )
    assert [each.kind for each in script] == [
        "variable_declaration",
        "if_statement",
        "while_statement",
    ]
    assert [each.text for each in script[1].body] == ["SELECT 'é'", "SET n = 2"]
    assert script[1].start == 32
    with pytest.raises(GoogleSqlError, match=r"Syntax error.*\[at 2:8\]"):
        parse_script("SELECT 1;\nSELECT FROM")


def test_a_tree_that_is_too_deep_for_protobuf_is_read():
    """Names, types, tables and functions are found in a sum of 60 terms too."""
    deep = "+".join(["id"] * 60)
    found = analyze(f"SELECT {deep} AS total, UPPER(name) FROM d.rows", CATALOG)
    assert [(name, kind.text) for name, kind in found.columns] == [
        ("total", "INT64"),
        ("f0_", "STRING"),
    ]
    assert found.columns_read == {"p.d.rows": ("id", "name")}
    assert found.functions == {"$add", "upper"}
    insert = analyze(f"INSERT INTO d.day_1 (id) SELECT {deep} FROM d.rows", CATALOG)
    assert (insert.reads, insert.writes) == ({"p.d.rows"}, {"p.d.day_1"})


def evaluated(expression: str) -> str:
    """A text, as GoogleSQL's reference evaluator gives it."""
    from zetasql.api import PreparedQuery
    from zetasql.types import AnalyzerOptions, parse_proto

    query = (
        PreparedQuery.builder()
        .set_service(engine().service())
        .set_sql(f"SELECT {expression}")
        .set_analyzer_options(parse_proto(analyzer_options()).as_type(AnalyzerOptions))
        .set_registered_catalog_id(builtin_catalog_id())
    )
    with query.prepare() as prepared:
        return prepared.execute().content.table_data.row[0].cell[0].string_value


def test_the_reference_evaluator_uses_the_same_module():
    """Its package's classes find the engine's service; the time zone is BigQuery's."""
    expression = "STRING(TIMESTAMP '2024-01-01 00:00:00')"
    assert evaluated(expression) == "2024-01-01 00:00:00+00"


def test_a_text_that_exhausts_the_stack_is_refused_and_the_next_ones_work():
    """After a trap there is a new instance, which does not know the catalogs of the one before."""
    assert evaluated("'before'") == "before"
    with pytest.raises(GoogleSqlError):
        analyze(f"SELECT {'1+' * 20_000}1", CATALOG)
    assert columns("SELECT id FROM d.rows") == {"id": "INT64"}
    assert evaluated("'after'") == "after"


def test_types():
    """Types of DDL and of schemas of the REST API are the same types."""
    field = {
        "name": "a",
        "type": "RECORD",
        "mode": "REPEATED",
        "fields": [{"name": "x", "type": "NUMERIC", "precision": "5", "scale": "2"}],
    }
    kind = SqlType.from_api(field)
    assert kind == SqlType.parse("array<struct<x numeric(5,2)>>")
    assert kind.without_parameters().as_api("a")["fields"] == [
        {"name": "x", "type": "NUMERIC", "mode": "NULLABLE"}
    ]
    with pytest.raises(ConfigError, match="not a type"):
        SqlType.parse("ARRAY<STRUCT<x>")


def test_ctrl_c_ends_the_first_start_while_it_compiles(tmp_path):
    """It takes many seconds, in one call that Python cannot look into."""
    command = "from etlkit.local.bigquery import googlesql; googlesql.prepare()"
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", command], env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "compiling GoogleSQL's analyzer once" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert list(tmp_path.rglob("*.cwasm")) == []
