import gzip
import io
import json

import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from google.cloud import bigquery


@pytest.fixture
def sql(run, dataset):
    """Run SQL over the test's dataset DS."""
    return lambda text, **options: run(text.replace("DS", dataset), **options)


@pytest.fixture
def answers(sql):
    """Compare the rows of queries with what BigQuery gives."""

    def compare(expected: dict[str, list[tuple]]) -> None:
        assert {text: sql(text) for text in expected} == expected

    return compare


def test_offsets_count_from_0(sql, answers):
    """Real BigQuery: WITH OFFSET counts from 0, is called `offset` or by its alias."""
    sql("CREATE TABLE DS.t AS SELECT 1 AS a, ['p', 'q'] AS arr UNION ALL SELECT 2, ['z']")
    answers(
        {
            "SELECT * FROM UNNEST(['a', 'b']) AS x WITH OFFSET ORDER BY offset": [
                ("a", 0),
                ("b", 1),
            ],
            "SELECT * FROM UNNEST(['a', 'b']) x WITH OFFSET i ORDER BY i": [("a", 0), ("b", 1)],
            "SELECT offset FROM UNNEST([7, 8]) WITH OFFSET WHERE offset > 0": [(1,)],
            "SELECT a, x, i FROM DS.t, UNNEST(arr) x WITH OFFSET i ORDER BY a, i": [
                (1, "p", 0),
                (1, "q", 1),
                (2, "z", 0),
            ],
            "SELECT a, x, o FROM DS.t LEFT JOIN UNNEST(IF(a = 1, ['k'], [])) x WITH OFFSET o "
            "ORDER BY a": [(1, "k", 0), (2, None, None)],
            "SELECT (SELECT STRING_AGG(x, '' ORDER BY o DESC) FROM UNNEST(t.arr) x WITH OFFSET o) "
            "FROM DS.t ORDER BY a": [("qp",), ("z",)],
            "SELECT s.k, o FROM UNNEST([STRUCT('k' AS k, 1 AS v)]) s WITH OFFSET o": [("k", 0)],
            "SELECT k, v, offset FROM UNNEST([STRUCT('k' AS k, 1 AS v)]) WITH OFFSET": [
                ("k", 1, 0)
            ],
            "SELECT a FROM DS.t WHERE a IN UNNEST([2, 3])": [(2,)],
        }
    )


def test_arrays_and_aggregates(sql, answers):
    """Real BigQuery: elements without names take those of the first, IGNORE NULLS and LIMIT combine."""
    rows = "[STRUCT(1 AS a, 'x' AS b), (2, NULL), STRUCT(3, 'y')]"
    sql(f"CREATE TABLE DS.t AS SELECT * FROM UNNEST({rows})")
    answers(
        {
            "SELECT * FROM DS.t ORDER BY a": [(1, "x"), (2, None), (3, "y")],
            "SELECT a, b FROM UNNEST([STRUCT<a INT64, b STRING>(1, 'x'), (2, 'y')]) ORDER BY a": [
                (1, "x"),
                (2, "y"),
            ],
            "SELECT ARRAY_AGG(b IGNORE NULLS ORDER BY a DESC LIMIT 1) FROM DS.t": [(["y"],)],
            "SELECT ARRAY_AGG(DISTINCT b IGNORE NULLS ORDER BY b) FROM DS.t": [(["x", "y"],)],
            "SELECT ARRAY_AGG(a ORDER BY a DESC LIMIT 2) FROM DS.t": [([3, 2],)],
            "SELECT AS STRUCT 1 AS a, 2 AS b": [(1, 2)],
            "SELECT AS VALUE STRUCT(1 AS a, 2 AS b)": [(1, 2)],
        }
    )


def test_pivots(sql, answers):
    """Real BigQuery: UNPIVOT puts values before names, and labels may be numbers."""
    sql("CREATE TABLE DS.w AS SELECT 'apple' AS p, 10 AS Q1, 20 AS Q2")
    sql(
        "CREATE TABLE DS.q AS SELECT 'apple' AS p, 10 AS s, 'Q1' AS qu UNION ALL SELECT 'fig', 5, 'Q2'"
    )
    answers(
        {
            "SELECT * FROM DS.q PIVOT(SUM(s) FOR qu IN ('Q1', 'Q2')) ORDER BY p": [
                ("apple", 10, None),
                ("fig", None, 5),
            ],
            "SELECT * FROM DS.w UNPIVOT(s FOR qu IN (Q1, Q2)) ORDER BY qu": [
                ("apple", 10, "Q1"),
                ("apple", 20, "Q2"),
            ],
            "SELECT * FROM DS.w UNPIVOT(s FOR qu IN (Q1 AS 1, Q2 AS 2)) ORDER BY qu": [
                ("apple", 10, 1),
                ("apple", 20, 2),
            ],
            "SELECT * FROM DS.w UNPIVOT((s, t) FOR h IN ((Q1, Q2) AS 'h1'))": [
                ("apple", 10, 20, "h1")
            ],
        }
    )


def test_wildcard_tables(sql, answers, bq, dataset):
    """Real BigQuery: `*` has the columns of the newest table, and not `_TABLE_SUFFIX`."""
    sql("CREATE TABLE DS.events_20240101 AS SELECT 1 AS n, 'old' AS gone")
    sql("CREATE TABLE DS.events_20240102 AS SELECT 2 AS n, TRUE AS fresh")
    answers(
        {
            "SELECT * FROM `DS.events_*` ORDER BY n": [(1, None), (2, True)],
            "SELECT e.* FROM `DS.events_*` AS e ORDER BY n": [(1, None), (2, True)],
            "SELECT n, _TABLE_SUFFIX FROM `DS.events_2024*` ORDER BY n": [(1, "0101"), (2, "0102")],
            "SELECT * FROM `DS.events_*` WHERE _TABLE_SUFFIX = '20240102'": [(2, True)],
            "SELECT * EXCEPT (fresh), _TABLE_SUFFIX AS s FROM `DS.events_*` WHERE n = 1": [
                (1, "20240101")
            ],
        }
    )
    with pytest.raises(NotFound, match="does not match any table"):
        sql("SELECT * FROM `DS.nope_*`")
    sql("CREATE VIEW DS.events_view AS SELECT 1 AS n")
    with pytest.raises(BadRequest, match="Views cannot be queried through prefix"):
        sql("SELECT * FROM `DS.events_*`")


def test_keys_lengths_and_collations(sql, answers, bq, dataset):
    """Real BigQuery: keys are not enforced, and collated strings are compared without case."""
    sql("CREATE TABLE DS.k (id INT64 NOT NULL, x BYTES(10), PRIMARY KEY (id) NOT ENFORCED)")
    sql(
        "CREATE TABLE DS.f (id INT64 PRIMARY KEY NOT ENFORCED, k INT64 REFERENCES DS.k(id) "
        "NOT ENFORCED, j INT64, CONSTRAINT mine FOREIGN KEY (j) REFERENCES DS.k(id) NOT ENFORCED)"
    )
    sql("INSERT INTO DS.k (id, x) VALUES (1, b'a'), (1, b'b')")
    sql("ALTER TABLE DS.k DROP PRIMARY KEY")
    sql("ALTER TABLE DS.k ADD PRIMARY KEY (id) NOT ENFORCED")
    sql("ALTER TABLE DS.f DROP CONSTRAINT IF EXISTS mine")
    sql("CREATE TABLE DS.c (s STRING COLLATE 'und:ci', n INT64)")
    sql("CREATE TABLE DS.d (s STRING) DEFAULT COLLATE 'und:ci'")
    sql("INSERT INTO DS.c VALUES ('A', 1), ('a', 2), ('b', 3)")
    sql("INSERT INTO DS.d VALUES ('X')")
    answers(
        {
            "SELECT COUNT(*) FROM DS.k": [(2,)],
            "SELECT COUNT(*) FROM DS.c WHERE s = 'a'": [(2,)],
            "SELECT COUNT(*) FROM (SELECT s FROM DS.c GROUP BY s)": [(2,)],
            "SELECT s FROM DS.d WHERE s = 'x'": [("X",)],
            "SELECT COLLATE('a', 'und:ci') = 'A', 'a' = 'A'": [(True, False)],
        }
    )


def test_names(sql, answers, bq):
    """Real BigQuery: what GoogleSQL does not reserve is a name, and backticks may be anywhere."""
    sql("CREATE TABLE DS.out (drop INT64, view INT64, row INT64) ")
    sql("INSERT INTO DS.out (drop, view, row) VALUES (1, 2, 3)")
    sql("UPDATE DS.out SET row = 4 WHERE drop = 1")
    sql("CREATE TABLE DS.ilike AS SELECT 1 AS glob, 2 AS map, 3 AS insert")
    columns = "SELECT column_name FROM {} WHERE table_name = 'ilike' ORDER BY ordinal_position"
    found = [("glob",), ("map",), ("insert",)]
    answers(
        {
            "SELECT drop, view, row FROM DS.out": [(1, 2, 4)],
            "SELECT o.drop FROM DS.out AS o WHERE row = 4": [(1,)],
            "SELECT glob, map, insert FROM DS.ilike": [(1, 2, 3)],
            columns.format("DS.INFORMATION_SCHEMA.COLUMNS"): found,
            columns.format("`DS.INFORMATION_SCHEMA.COLUMNS`"): found,
            columns.format("`local`.`DS`.`INFORMATION_SCHEMA`.`COLUMNS`"): found,
            columns.format("DS.`INFORMATION_SCHEMA.COLUMNS`"): found,
            "SELECT table_id, row_count FROM DS.__TABLES__ ORDER BY 1": [("ilike", 1), ("out", 1)],
            "SELECT COUNT(*) FROM `local.DS.__TABLES_SUMMARY__`": [(2,)],
            "SELECT current_timestamp > '2024-01-01', current_date > '2024-01-01', current_datetime "
            "> '2024-01-01' FROM (SELECT CURRENT_TIMESTAMP() AS current_timestamp, CURRENT_DATE() "
            "AS current_date, CURRENT_DATETIME('UTC') AS current_datetime)": [(True, True, True)],
        }
    )
    given = bigquery.QueryJobConfig(
        query_parameters=[bigquery.ScalarQueryParameter("my value", "INT64", 5)]
    )
    rows = bq.query("SELECT @`my value` + 1", job_config=given).result()
    assert [tuple(row) for row in rows] == [(6,)]


def test_names_in_literals(sql, answers, dataset):
    """Real BigQuery: a literal that has the name of a view is a text, also in the text of a view."""
    text = f"SELECT table_name FROM `local.{dataset}.INFORMATION_SCHEMA.TABLES`"
    sql(f"CREATE VIEW DS.v AS {text}")
    answers(
        {
            f"SELECT '{text}', r'{text}'": [(text, text)],
            f"SELECT '{text}' FROM DS.INFORMATION_SCHEMA.TABLES -- {text}": [(text,)],
            f"SELECT STARTS_WITH(view_definition, '{text}') FROM DS.INFORMATION_SCHEMA.VIEWS": [
                (True,)
            ],
        }
    )


def test_json_subscripts(sql, answers):
    """Real BigQuery: elements of JSON arrays count from 0."""
    value = json.dumps({"a": [{"b": 1}, 5]})
    sql(f"CREATE TABLE DS.j AS SELECT JSON '{value}' AS x, [7, 8] AS arr")
    answers(
        {
            "SELECT x.a[0].b, x['a'][1], INT64(x.a[1]), x.a[2], arr[0] FROM DS.j": [
                (1, 5, 5, None, 7)
            ],
            "SELECT JSON_VALUE(x[0]) FROM (SELECT JSON '[\"k\", 2]' AS x)": [("k",)],
        }
    )


def test_merges_and_deletes(sql):
    """Real BigQuery: INSERT ROW takes all columns of the source, FROM is optional in DELETE."""
    sql("CREATE TABLE DS.t AS SELECT 1 AS id, 'a' AS v")
    sql(
        "MERGE DS.t AS t USING (SELECT 2 AS id, 'b' AS v) AS s ON t.id = s.id "
        "WHEN NOT MATCHED BY TARGET AND s.id > 1 THEN INSERT ROW "
        "WHEN NOT MATCHED BY SOURCE AND t.id = 1 THEN UPDATE SET v = 'old'"
    )
    assert sql("SELECT * FROM DS.t ORDER BY id") == [(1, "old"), (2, "b")]
    sql("DELETE DS.t WHERE id = 1")
    assert sql("SELECT id FROM DS.t") == [(2,)]


def test_compressed_files_are_loaded(bq, sql, dataset):
    """Real BigQuery: gzip is seen by the content, whatever the file is called."""
    lines = gzip.compress(b'{"n": 1}\n{"n": 2}\n')
    job = bq.load_table_from_file(
        io.BytesIO(lines),
        f"{dataset}.j",
        job_config=bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", autodetect=True),
    )
    assert job.result().output_rows == 2
    job = bq.load_table_from_file(
        io.BytesIO(gzip.compress(b"n\n3\n")),
        f"{dataset}.j",
        job_config=bigquery.LoadJobConfig(source_format="CSV", skip_leading_rows=1),
    )
    job.result()
    assert sql("SELECT n FROM DS.j ORDER BY n") == [(1,), (2,), (3,)]
    with pytest.raises(BadRequest, match="damaged"):
        bq.load_table_from_file(io.BytesIO(lines[:15]), f"{dataset}.j").result()


def test_load_data(sql, local_server):
    """Real BigQuery: LOAD DATA makes the table, appends to it or overwrites it."""
    bucket = local_server.local_dir / "buckets" / "etlkit-load-data"
    bucket.mkdir(parents=True)
    (bucket / "x.csv").write_text("n,s\n1,a\n2,b\n")
    files = (
        "FROM FILES (format = 'CSV', uris = ['gs://etlkit-load-data/*.csv'], skip_leading_rows = 1)"
    )
    sql(f"LOAD DATA INTO DS.t (n INT64, s STRING) {files}")
    sql(f"LOAD DATA INTO DS.t {files}")
    assert sql("SELECT COUNT(*), SUM(n) FROM DS.t") == [(4, 6)]
    sql(f"LOAD DATA OVERWRITE DS.t {files}")
    assert sql("SELECT * FROM DS.t ORDER BY n") == [(1, "a"), (2, "b")]
    with pytest.raises(BadRequest, match="does not know the option nope"):
        sql("LOAD DATA INTO DS.t FROM FILES (format = 'CSV', uris = ['gs://x/y'], nope = 1)")


def test_properties_of_columns_and_keys_are_kept(bq, sql, dataset):
    """Real BigQuery: `tables.get` gives back what was declared, and defaults work."""
    tags = ["projects/p/locations/us/taxonomies/1/policyTags/2"]
    schema = [
        bigquery.SchemaField("s", "STRING", policy_tags=bigquery.PolicyTagList(names=tags)),
        bigquery.SchemaField("t", "TIMESTAMP", default_value_expression="CURRENT_TIMESTAMP()"),
    ]
    created = bq.create_table(bigquery.Table(f"local.{dataset}.p", schema=schema))
    created.schema = [*created.schema, bigquery.SchemaField("more", "INT64")]
    fields = bq.update_table(created, ["schema"]).schema
    assert fields[0].policy_tags.names == tuple(tags)
    assert fields[1].default_value_expression == "CURRENT_TIMESTAMP()"
    sql("INSERT INTO DS.p (s) VALUES ('a')")
    assert sql("SELECT t <= CURRENT_TIMESTAMP() FROM DS.p") == [(True,)]
    columns = "id INT64, x INT64, s STRING COLLATE 'und:ci'"
    sql(f"CREATE TABLE DS.k ({columns}, PRIMARY KEY (id) NOT ENFORCED)")
    sql("CREATE TABLE DS.f (k INT64, FOREIGN KEY (k) REFERENCES DS.k(id) NOT ENFORCED)")
    assert bq.get_table(f"{dataset}.k").table_constraints.primary_key.columns == ["id"]
    (key,) = bq.get_table(f"{dataset}.f").table_constraints.foreign_keys
    assert key.referenced_table.table_id == "k"
    assert [(c.referencing_column, c.referenced_column) for c in key.column_references] == [
        ("k", "id")
    ]
    assert (
        bq.get_table(f"{dataset}.k").to_api_repr()["schema"]["fields"][2]["collation"] == "und:ci"
    )
    sql("DROP TABLE DS.f")
    sql("CREATE TABLE DS.f (k INT64)")
    assert bq.get_table(f"{dataset}.f").table_constraints is None


def test_views_by_api_and_copies(bq, sql, dataset):
    """Real BigQuery: `tables.insert` and `tables.patch` make and change views; COPY copies."""
    sql("CREATE TABLE DS.t AS SELECT 'x' AS b UNION ALL SELECT 'x'")
    view = bigquery.Table(f"local.{dataset}.mv")
    view.mview_query = f"SELECT b, COUNT(*) AS c FROM {dataset}.t GROUP BY b"
    bq.create_table(view)
    found = bq.get_table(view)
    assert (found.table_type, found.mview_query) == ("MATERIALIZED_VIEW", view.mview_query)
    assert sql("SELECT * FROM DS.mv") == [("x", 2)]
    plain = bigquery.Table(f"local.{dataset}.v")
    plain.view_query = f"SELECT b FROM {dataset}.t"
    plain = bq.create_table(plain)
    plain.view_query = f"SELECT b, 1 AS one FROM {dataset}.t"
    bq.update_table(plain, ["view_query"])
    assert [field.name for field in bq.get_table(plain).schema] == ["b", "one"]
    assert sql("SELECT one FROM DS.v LIMIT 1") == [(1,)]
    sql("CREATE TABLE DS.u COPY DS.t")
    assert sql("SELECT * FROM DS.u") == [("x",), ("x",)]


def test_functions_in_front_of_a_query(bq, sql, dataset):
    """Real BigQuery: a query behind temporary functions is a query, also for a dry run."""
    text = "CREATE TEMP FUNCTION more(x ANY TYPE) AS (x + 1); SELECT more(1) AS a, more(1.5) AS b"
    dry = bq.query(text, job_config=bigquery.QueryJobConfig(dry_run=True))
    assert [(field.name, field.field_type) for field in dry.schema] == [
        ("a", "INTEGER"),
        ("b", "FLOAT"),
    ]
    sql(text, destination=f"local.{dataset}.made")
    assert sql("SELECT * FROM DS.made") == [(2, 2.5)]


INSERT_OVERWRITE = """
declare dbt_partitions_for_replacement array<date>;
create or replace table `local`.`DS`.`inc__dbt_tmp` partition by dt
OPTIONS(description="", expiration_timestamp=TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 12 hour))
as (select 1 as id, date '2024-01-01' as dt);
set (dbt_partitions_for_replacement) = (
    select as struct array_agg(distinct date(dt) IGNORE NULLS) from `local`.`DS`.`inc__dbt_tmp`
);
merge into `local`.`DS`.`inc` as DBT_INTERNAL_DEST
using (select * from `local`.`DS`.`inc__dbt_tmp`) as DBT_INTERNAL_SOURCE
on FALSE
when not matched by source
    and date(DBT_INTERNAL_DEST.dt) in unnest(dbt_partitions_for_replacement) then delete
when not matched then insert (`id`, `dt`) values (`id`, `dt`);
drop table if exists `local`.`DS`.`inc__dbt_tmp`
"""


def test_insert_overwrite_as_dbt_sends_it(sql):
    """Real BigQuery: the script replaces the partitions of the new rows, each time it runs."""
    sql("CREATE TABLE DS.inc (id INT64, dt DATE) PARTITION BY dt")
    sql("INSERT INTO DS.inc VALUES (9, DATE '2024-01-01'), (8, DATE '2024-01-02')")
    for _ in range(2):
        sql(INSERT_OVERWRITE)
        assert sql("SELECT id FROM DS.inc ORDER BY id") == [(1,), (8,)]


def test_rows_of_tables_are_values(sql, answers):
    """Real BigQuery: a table's name is its row, also beside a column of this name, and further in."""
    sql("CREATE TABLE DS.loud AS SELECT 1 AS loud, 'x' AS y UNION ALL SELECT 2, 'z'")
    first, second = {"loud": 1, "y": "x"}, {"loud": 2, "y": "z"}
    answers(
        {
            "SELECT loud FROM DS.loud ORDER BY loud.y": [(first,), (second,)],
            "SELECT a.loud AS loud FROM DS.loud AS a ORDER BY loud": [(1,), (2,)],
            "SELECT (SELECT loud) AS r FROM DS.loud ORDER BY loud.loud": [(first,), (second,)],
            "SELECT (SELECT AS STRUCT loud.* EXCEPT (loud)) FROM DS.loud WHERE loud.loud = 1": [
                ({"y": "x"},)
            ],
            "SELECT ARRAY_AGG(t ORDER BY t.loud DESC LIMIT 1) FROM DS.loud AS t": [([second],)],
            "SELECT TO_JSON_STRING(loud), COUNT(loud) OVER () FROM DS.loud ORDER BY 1 LIMIT 1": [
                ('{"loud":1,"y":"x"}', 2)
            ],
            "SELECT y FROM DS.loud AS l WHERE EXISTS (SELECT 1 FROM DS.loud WHERE loud.y > l.y)": [
                ("x",)
            ],
            "SELECT ARRAY(SELECT AS STRUCT * REPLACE (k + 1 AS k) FROM UNNEST(a)) FROM "
            "(SELECT [STRUCT(1 AS k, 2 AS v)] AS a)": [([{"k": 2, "v": 2}],)],
            "SELECT STRUCT(y, loud.loud AS n) AS s FROM DS.loud ORDER BY s.n DESC LIMIT 1": [
                ({"y": "z", "n": 2},)
            ],
            "SELECT ARRAY_AGG(STRUCT(n, s) ORDER BY n) FROM "
            "(SELECT 1 AS n, 'p' AS s UNION ALL SELECT 2, 'q')": [
                ([{"n": 1, "s": "p"}, {"n": 2, "s": "q"}],)
            ],
        }
    )


def test_arrays_of_the_table_before(sql, answers):
    """Real BigQuery: `t.array` is a relation, with offsets too; a star is its element alone."""
    sql("CREATE TABLE DS.t AS SELECT 1 AS a, ['p', 'q'] AS arr, [STRUCT('k' AS k, 5 AS v)] AS s")
    answers(
        {
            "SELECT a, x, o FROM DS.t AS t, t.arr AS x WITH OFFSET AS o ORDER BY o": [
                (1, "p", 0),
                (1, "q", 1),
            ],
            "SELECT x FROM DS.t AS t, t.arr x WITH OFFSET WHERE offset = 1": [("q",)],
            "SELECT a, e.*, o FROM DS.t AS t LEFT JOIN t.s AS e WITH OFFSET o": [(1, "k", 5, 0)],
            "SELECT x.b.k FROM (SELECT STRUCT(STRUCT(n AS k) AS b) AS x FROM UNNEST([2, 1]) AS n) "
            "GROUP BY k HAVING k > 0 ORDER BY k": [(1,), (2,)],
            "SELECT e.k, v + o FROM DS.t, UNNEST(s) AS e WITH OFFSET o, UNNEST([e.v]) AS v": [
                ("k", 5)
            ],
        }
    )


def test_pipe_syntax(answers):
    """Real BigQuery: each operator works on what the one before it gave. Those are the evaluator's."""
    others = "SELECT 2, 'ann', 20 UNION ALL SELECT 3, 'bob', 7"
    rows = f"SELECT 1 AS id, 'ann' AS c, 10 AS n UNION ALL {others}"
    answers(
        {
            f"FROM ({rows}) AS t {operators}": expected
            for operators, expected in {
                "|> ORDER BY id |> LIMIT 2 |> WHERE id > 1": [(2, "ann", 20)],
                "|> ORDER BY id |> LIMIT 2 |> AGGREGATE COUNT(*) AS k": [(2,)],
                "|> AGGREGATE SUM(n) AS s, COUNT(*) AS k GROUP BY c |> WHERE k > 1": [
                    ("ann", 30, 2)
                ],
                "|> SET n = n * 10, c = UPPER(c) |> DROP id |> ORDER BY n |> LIMIT 1": [
                    ("BOB", 70)
                ],
                "|> RENAME c AS who |> EXTEND n + 1 AS m |> WHERE m > 11 |> SELECT who, m": [
                    ("ann", 21)
                ],
                "|> WHERE t.id < 3 |> LEFT JOIN (SELECT 1 AS k, 'x' AS l) AS r ON t.id = r.k "
                "|> SELECT t.id, r.l |> ORDER BY id": [(1, "x"), (2, None)],
                "|> SELECT c |> DISTINCT |> ORDER BY c": [("ann",), ("bob",)],
                "|> EXTEND ROW_NUMBER() OVER (PARTITION BY c ORDER BY n DESC) AS r |> WHERE r = 1 "
                "|> SELECT id |> ORDER BY id": [(2,), (3,)],
            }.items()
        }
    )


def test_values_within_json_and_literals(answers):
    """Real BigQuery: nested timestamps, NUMERICs and BYTES are written as single ones are."""
    value = (
        "STRUCT(TIMESTAMP '2024-01-02 03:04:05.6+00' AS t, NUMERIC '1.50' AS n, NUMERIC '20' AS m, "
        "b'ab' AS b, 2.0 AS f, 9007199254740993 AS w, [DATETIME '2024-01-02 03:04:05'] AS d)"
    )
    text = (
        '{"t":"2024-01-02T03:04:05.600Z","n":"1.5","m":20,"b":"YWI=","f":2,"w":"9007199254740993",'
    )
    answers(
        {
            f"SELECT TO_JSON_STRING({value})": [(text + '"d":["2024-01-02T03:04:05"]}',)],
            "SELECT TO_JSON_STRING(STRUCT(1 AS a, [2] AS b), TRUE)": [
                ('{\n  "a": 1,\n  "b": [\n    2\n  ]\n}',)
            ],
            "SELECT TIMESTAMP_DIFF('2024-01-02', '2024-01-01', HOUR), UNIX_MILLIS('1970-01-02'), "
            "FORMAT_DATE('%F', DATE_TRUNC('2024-05-15', MONTH)), "
            "ARRAY_LENGTH(GENERATE_TIMESTAMP_ARRAY('2024-01-01', '2024-01-02', INTERVAL 1 DAY))": [
                (24, 86_400_000, "2024-05-01", 2)
            ],
            "SELECT NET.HOST('//Foo.com:80'), NET.HOST(''), NET.IP_TO_STRING(NET.IP_TRUNC("
            "NET.IP_FROM_STRING('10.1.2.3'), 8)), NET.SAFE_IP_FROM_STRING('x')": [
                ("Foo.com", None, "10.0.0.0", None)
            ],
            "SELECT CAST(TIMESTAMP '2024-02-29 10:11:12+00' AS STRING FORMAT "
            "'DD-MON-YY HH12:MI PM' AT TIME ZONE 'Asia/Tokyo'), CAST(b'He' AS STRING FORMAT 'HEX'), "
            "STRING(CAST('2024-02-29 10' AS TIMESTAMP FORMAT 'YYYY-MM-DD HH24' AT TIME ZONE "
            "'Asia/Tokyo')), PARSE_NUMERIC('1,234.5-') = -1234.5": [
                ("29-FEB-24 07:11 PM", "4865", "2024-02-29 01:00:00+00", True)
            ],
            "SELECT APPROX_TOP_COUNT(x, 1), MAX_BY(x, y) FROM UNNEST([STRUCT('a' AS x, 1 AS y), "
            "('b', 0), ('b', 0)])": [([{"value": "b", "count": 2}], "a")],
        }
    )


def test_updates_of_fields_and_of_defaults(bq, sql, answers, dataset):
    """Real BigQuery: other fields stay as they are; DEFAULT is what the table says now."""
    sql(
        "CREATE TABLE DS.t (id INT64, name STRING DEFAULT 'nn', "
        "s STRUCT<a INT64, b STRUCT<c STRING, d INT64>>)"
    )
    sql("INSERT INTO DS.t VALUES (1, 'x', (1, STRUCT('x', 2))), (2, 'y', NULL)")
    sql("UPDATE DS.t AS q SET s.a = 5, q.s.b.d = q.s.b.d + q.id, name = DEFAULT WHERE id = 1")
    sql("ALTER TABLE DS.t ALTER COLUMN name SET DEFAULT CONCAT('m', 'm')")
    sql(
        "MERGE DS.t t USING (SELECT 2 AS id) u ON t.id = u.id "
        "WHEN MATCHED THEN UPDATE SET s.a = 7, name = DEFAULT"
    )
    answers(
        {
            "SELECT name, s FROM DS.t ORDER BY id": [
                ("nn", {"a": 5, "b": {"c": "x", "d": 3}}),
                ("mm", {"a": 7, "b": None}),
            ]
        }
    )
    assert bq.get_table(f"{dataset}.t").schema[1].default_value_expression == "CONCAT('m', 'm')"


def test_definitions_with_options(bq, sql, answers, dataset):
    """Real BigQuery: options of columns, datasets, snapshots and views; names have to exist."""
    sql("CREATE TABLE DS.t (id INT64, name STRING DEFAULT 'nn', s STRUCT<a INT64>)")
    sql("INSERT INTO DS.t (id) VALUES (1)")
    sql(
        "ALTER TABLE DS.t ALTER COLUMN id SET OPTIONS (description='key (of all)'), "
        "ALTER COLUMN name SET OPTIONS (description='who')"
    )
    sql("ALTER SCHEMA DS SET OPTIONS (description='d', labels=[('a', 'b')], friendly_name='f')")
    sql("CREATE SNAPSHOT TABLE DS.snap CLONE DS.t OPTIONS (description='s', labels=[('a', 'b')])")
    sql("CREATE SNAPSHOT TABLE IF NOT EXISTS DS.snap CLONE DS.t")
    sql("CREATE TABLE DS.c CLONE DS.t")
    sql("INSERT INTO DS.t (id) VALUES (2)")
    sql("CREATE OR REPLACE TABLE DS.c CLONE DS.t")
    sql(
        "CREATE MATERIALIZED VIEW DS.mv CLUSTER BY name OPTIONS (enable_refresh=true) AS "
        "SELECT name, COUNT(*) AS n FROM DS.t GROUP BY name"
    )
    sql(
        "CREATE ROW ACCESS POLICY p ON DS.c GRANT TO ('allAuthenticatedUsers') FILTER USING (id > 1)"
    )
    sql("DROP ALL ROW ACCESS POLICIES ON DS.c")
    sql("CREATE SEARCH INDEX i ON DS.t(ALL COLUMNS)")
    sql("GRANT `roles/bigquery.dataViewer` ON TABLE DS.t TO 'user:a@example.com'")
    for statement, words in {
        "ALTER TABLE DS.t ALTER COLUMN gone SET OPTIONS (description='x')": "Column not found: gone",
        "CREATE SNAPSHOT TABLE DS.snap CLONE DS.t OPTIONS ()": "Already Exists",
        "ALTER SCHEMA gone SET OPTIONS (description='d')": "Not found: Dataset",
        "CREATE SEARCH INDEX i ON DS.gone(ALL COLUMNS)": "Not found: Table",
    }.items():
        with pytest.raises(GoogleAPICallError, match=words):
            sql(statement)
    known = bq.get_dataset(dataset)
    assert (known.description, known.labels, known.friendly_name) == ("d", {"a": "b"}, "f")
    assert bq.get_table(f"{dataset}.snap").description == "s"
    answers(
        {
            "SELECT (SELECT COUNT(*) FROM DS.snap), (SELECT COUNT(*) FROM DS.c), n FROM DS.mv": [
                (1, 2, 2)
            ],
            "SELECT field_path, LEFT(data_type, 3), description FROM "
            "DS.INFORMATION_SCHEMA.COLUMN_FIELD_PATHS WHERE table_name = 't' ORDER BY 1": [
                ("id", "INT", "key (of all)"),
                ("name", "STR", "who"),
                ("s", "STR", None),
                ("s.a", "INT", None),
            ],
            "SELECT SUBSTR(column_name, 1, 2), column_default FROM DS.INFORMATION_SCHEMA.COLUMNS "
            "WHERE CONCAT(table_name, '.', column_name) = 't.name'": [("na", "'nn'")],
            "SELECT UPPER(t.table_name), TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), creation_time, DAY), ddl "
            "FROM DS.INFORMATION_SCHEMA.TABLES AS t JOIN DS.INFORMATION_SCHEMA.COLUMNS AS c "
            "USING (table_name) WHERE c.column_name = 'id' AND table_name = 'snap'": [
                ("SNAP", 0, None)
            ],
        }
    )
