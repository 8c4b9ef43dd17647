from decimal import Decimal

from google.cloud.bigquery import SchemaField

ALL_TYPES = """
    JSON '{"a": 1}' AS j, ST_GEOGPOINT(1, 2) AS g, DATETIME '2024-01-02 03:04:05' AS dt,
    TIME '10:11:12' AS tm, TIMESTAMP '2024-01-02 03:04:05.000006+00' AS ts, DATE '2024-01-02' AS da,
    CAST('1.123456789' AS NUMERIC) AS n, CAST('1.12345678901234' AS BIGNUMERIC) AS bn,
    b'ab' AS b, TRUE AS bo, 1.5 AS f, 1 AS i, 'x' AS s, GENERATE_UUID() AS u, [1, 2] AS a,
    STRUCT(1 AS x, JSON '1' AS y, ST_GEOGPOINT(1, 2) AS z) AS st, [STRUCT(JSON '2' AS jj)] AS sa
"""


def shape(fields) -> list[tuple]:
    return [
        (f.name, f.field_type, f.mode, *([shape(f.fields)] if f.fields else [])) for f in fields
    ]


EXPECTED = [
    ("j", "JSON", "NULLABLE"),
    ("g", "GEOGRAPHY", "NULLABLE"),
    ("dt", "DATETIME", "NULLABLE"),
    ("tm", "TIME", "NULLABLE"),
    ("ts", "TIMESTAMP", "NULLABLE"),
    ("da", "DATE", "NULLABLE"),
    ("n", "NUMERIC", "NULLABLE"),
    ("bn", "BIGNUMERIC", "NULLABLE"),
    ("b", "BYTES", "NULLABLE"),
    ("bo", "BOOLEAN", "NULLABLE"),
    ("f", "FLOAT", "NULLABLE"),
    ("i", "INTEGER", "NULLABLE"),
    ("s", "STRING", "NULLABLE"),
    ("u", "STRING", "NULLABLE"),
    ("a", "INTEGER", "REPEATED"),
    (
        "st",
        "RECORD",
        "NULLABLE",
        [
            ("x", "INTEGER", "NULLABLE"),
            ("y", "JSON", "NULLABLE"),
            ("z", "GEOGRAPHY", "NULLABLE"),
        ],
    ),
    ("sa", "RECORD", "REPEATED", [("jj", "JSON", "NULLABLE")]),
]


def test_create_table_as_select_keeps_every_type(bq, run, dataset):
    """Real BigQuery: the columns of CTAS have the types of their expressions, nested ones too."""
    run(f"CREATE TABLE {dataset}.t AS SELECT {ALL_TYPES}")
    assert shape(bq.get_table(f"{dataset}.t").schema) == EXPECTED
    rows = bq.query_and_wait(f"SELECT * FROM {dataset}.t")
    assert shape(rows.schema) == EXPECTED
    (row,) = rows
    assert row.j == {"a": 1}
    assert row.g == "POINT(1 2)"
    assert row.n == Decimal("1.123456789")
    assert row.bn == Decimal("1.12345678901234")
    assert row.st == {"x": 1, "y": 1, "z": "POINT(1 2)"}
    assert row.sa == [{"jj": 2}]


def test_query_result_has_the_types_of_its_expressions(bq):
    """Real BigQuery: the schema of a result is exact, also without a table."""
    assert shape(bq.query_and_wait(f"SELECT {ALL_TYPES}").schema) == EXPECTED


def test_integers_have_64_bits_after_ctas(run, dataset):
    """Real BigQuery: `SELECT 1` is an INT64, so a later row may need more than 32 bits."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS n, [1] AS a, STRUCT(1 AS x) AS s")
    run(f"INSERT INTO {dataset}.t VALUES (9000000000, [9000000000], STRUCT(9000000000))")
    assert run(f"SELECT MAX(n), MAX(a[OFFSET(0)]), MAX(s.x) FROM {dataset}.t") == [
        (9000000000, 9000000000, 9000000000)
    ]


def test_declared_columns_keep_types_and_modes(bq, run, dataset):
    """Real BigQuery: NUMERIC keeps 9 digits after the point, NOT NULL is REQUIRED and enforced."""
    run(
        f"CREATE TABLE {dataset}.t (r STRING NOT NULL, n NUMERIC, bn BIGNUMERIC, j JSON, "
        "g GEOGRAPHY, sa ARRAY<STRUCT<x JSON, t TIMESTAMP>>)"
    )
    assert shape(bq.get_table(f"{dataset}.t").schema) == [
        ("r", "STRING", "REQUIRED"),
        ("n", "NUMERIC", "NULLABLE"),
        ("bn", "BIGNUMERIC", "NULLABLE"),
        ("j", "JSON", "NULLABLE"),
        ("g", "GEOGRAPHY", "NULLABLE"),
        ("sa", "RECORD", "REPEATED", [("x", "JSON", "NULLABLE"), ("t", "TIMESTAMP", "NULLABLE")]),
    ]
    run(f"INSERT INTO {dataset}.t (r, n) VALUES ('a', NUMERIC '1.123456789')")
    assert run(f"SELECT n FROM {dataset}.t") == [(Decimal("1.123456789"),)]


def test_table_created_over_rest_has_its_types(bq, run, dataset):
    """Real BigQuery: `tables.insert` and DDL create the same table, with any name of a field."""
    schema = [
        SchemaField("id", "STRING", "REQUIRED"),
        SchemaField("bn", "BIGNUMERIC"),
        SchemaField("s", "RECORD", "REPEATED", fields=[SchemaField("end", "INT64")]),
    ]
    table = bq.create_table(bigquery_table(f"local.{dataset}.t", schema))
    assert [field.name for field in table.schema] == ["id", "bn", "s"]
    run(f"INSERT INTO {dataset}.t VALUES ('a', BIGNUMERIC '1.5', [STRUCT(7 AS `end`)])")
    assert run(f"SELECT bn, s[OFFSET(0)].`end` FROM {dataset}.t") == [(Decimal("1.5"), 7)]


def bigquery_table(name, schema):
    from google.cloud.bigquery import Table

    return Table(name, schema)


def test_alter_table_shows_in_the_catalog(bq, run, dataset):
    """Real BigQuery: an added, dropped or renamed column and a renamed table show at once."""
    run(f"CREATE TABLE {dataset}.t (a INT64 OPTIONS(description='first'), b STRING)")
    run(f"ALTER TABLE {dataset}.t ADD COLUMN j JSON")
    run(f"ALTER TABLE {dataset}.t DROP COLUMN b")
    assert shape(bq.get_table(f"{dataset}.t").schema) == [
        ("a", "INTEGER", "NULLABLE"),
        ("j", "JSON", "NULLABLE"),
    ]
    run(f"ALTER TABLE {dataset}.t RENAME TO t2")
    assert [table.table_id for table in bq.list_tables(dataset)] == ["t2"]


def test_patch_adds_columns(bq, run, dataset):
    """Real BigQuery: a column that `tables.patch` adds can be used."""
    run(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a")
    table = bq.get_table(f"{dataset}.t")
    table.schema = [*table.schema, SchemaField("note", "STRING")]
    bq.update_table(table, ["schema"])
    run(f"INSERT INTO {dataset}.t VALUES (2, 'x')")
    assert run(f"SELECT a, note FROM {dataset}.t ORDER BY a") == [(1, None), (2, "x")]
