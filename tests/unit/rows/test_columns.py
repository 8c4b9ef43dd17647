import subprocess
import sys

import pyarrow as pa
import pytest

from etlkit.errors import ConfigError
from etlkit.rows.columns import (
    MAX_COLUMNS,
    Column,
    arrow_schema,
    arrow_type,
    check_names,
    parse_schema,
    quoted,
)

NESTED = "ARRAY<STRUCT<a INT64, b STRING NOT NULL, `c d` ARRAY<STRUCT<e NUMERIC(10, 2)>>>>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("STRING", Column("c", "STRING")),
        ("  string(50)  ", Column("c", "STRING", parameters=(50,))),
        ("STRING NOT NULL", Column("c", "STRING", "REQUIRED")),
        ("int64 not null", Column("c", "INT64", "REQUIRED")),
        ("NUMERIC(10,2)", Column("c", "NUMERIC", parameters=(10, 2))),
        ("BIGDECIMAL(40, 2) NOT NULL", Column("c", "BIGNUMERIC", "REQUIRED", parameters=(40, 2))),
        ("ARRAY<BYTES(16)>", Column("c", "BYTES", "REPEATED", parameters=(16,))),
        ("ARRAY<STRING NOT NULL>", Column("c", "STRING", "REPEATED")),
        ("RECORD<a INTEGER>", Column("c", "STRUCT", fields=(Column("a", "INT64"),))),
        ("STRUCT<array INT64>", Column("c", "STRUCT", fields=(Column("array", "INT64"),))),
    ],
)
def test_parse_reads_type_text(text, expected):
    """A type text is read in any case and spacing; parameters are kept."""
    assert Column.parse("c", text) == expected


def test_parse_reads_nested_types():
    """STRUCT and ARRAY nest, and a field keeps its NOT NULL and its quoted name."""
    parsed = Column.parse("c", NESTED)
    assert parsed == Column(
        "c",
        "STRUCT",
        "REPEATED",
        (
            Column("a", "INT64"),
            Column("b", "STRING", "REQUIRED"),
            Column("c d", "STRUCT", "REPEATED", (Column("e", "NUMERIC", parameters=(10, 2)),)),
        ),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a type at character 1"),
        ("STRING STRING", "expected the end of the type at character 8"),
        ("ARRAY<INT64", "expected '>' at character 12"),
        ("ARRAY INT64", "expected '<' at character 7"),
        (
            "ARRAY<ARRAY<INT64>>",
            "expected a type that is not an ARRAY (BigQuery has no ARRAY of ARRAYs",
        ),
        (
            "ARRAY<INT64> NOT NULL",
            "expected 'c' without NOT NULL (BigQuery stores empty arrays, but never NULL ones)",
        ),
        ("STRUCT<INT64>", "expected a type at character 13"),
        ("STRUCT<a INT64,>", "expected a field name at character 16"),
        ("STRUCT<>", "expected a field name at character 8"),
        ("INT64 NOT", "expected 'NULL' at character 10"),
        ("INT64(3)", "expected the end of the type at character 6"),
        ("NUMERIC(x)", "expected a number at character 9"),
        ("INT64; DROP", "expected a type name, a field name or one of"),
        ("STRUCT<a INT64 `>`", "expected '>' at character 16"),
        ("STRUCT<a " * 16 + "INT64" + ">" * 16, "expected at most 15 nested STRUCTs"),
        ("INTERVAL", "column 'c': type 'INTERVAL' is not supported; allowed are INT64"),
        ("STRUCT<a RANGE<DATE>>", "column 'c.a': type 'RANGE' is not supported"),
    ],
)
def test_parse_refuses_other_text_and_says_where(text, message):
    """Text that is not a type is a ConfigError that says at which character."""
    with pytest.raises(ConfigError) as caught:
        Column.parse("c", text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("alias", "standard"),
    [("INTEGER", "INT64"), ("float", "FLOAT64"), ("Boolean", "BOOL"), ("DECIMAL", "NUMERIC")],
)
def test_column_normalises_aliases(alias, standard):
    """The names that the REST API uses become standard names."""
    assert Column("c", alias).type == standard


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"type": "RANGE"}, "type 'RANGE' is not supported; allowed are INT64, FLOAT64"),
        ({"type": "INT64", "mode": "OPTIONAL"}, "mode 'OPTIONAL' is unknown; allowed: NULLABLE"),
        ({"type": "STRUCT"}, "a STRUCT needs at least one field"),
        ({"type": "INT64", "fields": (Column("a", "INT64"),)}, "a INT64 has no fields"),
    ],
)
def test_column_refuses_nonsense(arguments, message):
    """A column that BigQuery cannot have is refused when it is described."""
    with pytest.raises(ConfigError) as caught:
        Column("c", **arguments)
    assert message in str(caught.value)


def test_ddl_writes_the_type_without_constraints():
    """`ddl` quotes field names and leaves NOT NULL out on every level."""
    assert Column.parse("c", NESTED).ddl == (
        "ARRAY<STRUCT<`a` INT64, `b` STRING, `c d` ARRAY<STRUCT<`e` NUMERIC>>>>"
    )


def test_definition_writes_all_create_table_needs():
    """`definition` has the quoted name, NOT NULL on every level and the description."""
    fields = (Column("a", "INT64", "REQUIRED", description='say "hi"\n😀'),)
    column = Column("c", "STRUCT", "REQUIRED", fields)
    assert column.definition == (
        '`c` STRUCT<`a` INT64 NOT NULL OPTIONS(description="say \\"hi\\"\\n😀")> NOT NULL'
    )


@pytest.mark.parametrize("text", ["STRING", NESTED.replace(" NOT NULL", "").replace("(10, 2)", "")])
def test_ddl_reads_back_as_the_same_column(text):
    """`parse` reads what `ddl` writes."""
    column = Column.parse("c", text)
    assert Column.parse("c", column.ddl) == column


def test_quoted_cannot_be_left():
    """A backtick or a backslash in a name stays inside the quotes and is read back."""
    assert quoted("a`b\\") == "`a\\`b\\\\`"
    assert Column.parse("c", f"STRUCT<{quoted('a`b')} INT64>").fields[0].name == "a`b"


def test_parse_schema_keeps_order_and_checks_names():
    """Columns are in the order of the mapping, and their names are checked."""
    assert [c.name for c in parse_schema({"b": "INT64", "a": "JSON"})] == ["b", "a"]
    with pytest.raises(ConfigError, match="'id' and 'ID' are one column"):
        parse_schema({"id": "INT64", "ID": "INT64"})


@pytest.mark.parametrize(
    "name", ["a", "_a", "a b", "名前", "é", "1a", "a&b%c=d+e:f'g<h>i#j|k-l", "x" * 300]
)
def test_check_names_takes_flexible_names(name):
    """BigQuery's flexible column names pass."""
    check_names([Column(name, "INT64")])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "has 0 characters"),
        ("x" * 301, "has 301 characters"),
        ("a.b", "has the character '.'"),
        ("a`b", "has the character '`'"),
        ("😀", "has the character"),
        ("a\n", "has the character '\\\\n'"),
        ("\ud800", "has the character"),
        ("_table_x", "starts with '_TABLE_', which BigQuery reserves"),
        ("_PARTITIONTIME", "starts with '_PARTITION'"),
        ("_ETLKIT_row", "starts with '_etlkit_', which etlkit reserves"),
    ],
)
def test_check_names_refuses_what_bigquery_refuses(name, message):
    """A name that BigQuery or etlkit does not allow is refused before any I/O."""
    with pytest.raises(ConfigError, match=message):
        check_names([Column(name, "INT64")])


@pytest.mark.parametrize("other", ["Uri", "uri"])
def test_check_names_refuses_names_that_differ_only_in_case(other):
    """The message has both names; the same name twice is refused as well."""
    with pytest.raises(ConfigError, match=f"'uri' and '{other}' are one column"):
        check_names([Column("uri", "STRING"), Column("a", "JSON"), Column(other, "STRING")])


def test_check_names_looks_into_structs():
    """Fields of a STRUCT obey the same rules, and the message has the path."""
    inner = (Column("zip", "STRING"), Column("ZIP", "STRING"))
    with pytest.raises(ConfigError, match=r"'address\.zip' and 'address\.ZIP' are one column"):
        check_names([Column("address", "STRUCT", fields=inner), Column("zip", "STRING")])


def test_check_names_refuses_more_columns_than_fit():
    """9,997 columns are allowed and 9,998 are not; each field of a STRUCT counts."""
    columns = [Column(f"c{i}", "INT64") for i in range(MAX_COLUMNS)]
    check_names(columns)
    check_names([Column("s", "STRUCT", fields=tuple(columns))])
    with pytest.raises(ConfigError, match=r"9,998 columns are too many.*9,997 are allowed"):
        check_names([*columns, Column("more", "INT64")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INT64", pa.int64()),
        ("FLOAT64", pa.float64()),
        ("NUMERIC", pa.decimal128(38, 9)),
        ("BIGNUMERIC", pa.decimal256(76, 38)),
        ("BOOL", pa.bool_()),
        ("STRING", pa.string()),
        ("JSON", pa.string()),
        ("GEOGRAPHY", pa.string()),
        ("BYTES", pa.binary()),
        ("DATE", pa.date32()),
        ("DATETIME", pa.timestamp("us")),
        ("TIME", pa.time64("us")),
        ("TIMESTAMP", pa.timestamp("us", tz="UTC")),
        ("ARRAY<DATE>", pa.list_(pa.date32())),
        ("ARRAY<STRUCT<a INT64>>", pa.list_(pa.struct([("a", pa.int64())]))),
    ],
)
def test_arrow_type_is_the_storage_apis(text, expected):
    """Each type has the Arrow type that BigQuery's Storage API uses."""
    assert arrow_type(Column.parse("c", text)) == expected


def test_arrow_schema_is_nullable_throughout():
    """A staging table holds skipped rows, so REQUIRED columns are nullable in Arrow."""
    columns = parse_schema({"a": "INT64 NOT NULL", "s": "STRUCT<b STRING NOT NULL>"})
    schema = arrow_schema(columns)
    assert schema.names == ["a", "s"]
    assert schema.field("a").nullable
    assert schema.field("s").type.field("b").nullable


def test_columns_do_not_import_pyarrow():
    """Describing columns does not import pyarrow."""
    code = (
        "import sys; from etlkit.rows.columns import parse_schema; parse_schema({'a': 'INT64'});"
        "sys.exit('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
