import json

import pytest

from etlkit.errors import ConfigError
from etlkit.sql_check.known import KnownColumn, KnownModel, KnownRoutine, KnownTable, read_resource
from etlkit.sql_check.schema_files import SchemaFiles

FIELDS = [
    {"name": "id", "type": "INTEGER", "mode": "REQUIRED"},
    {"name": "price", "type": "NUMERIC", "precision": "10", "scale": "2"},
    {"name": "tags", "type": "STRING", "mode": "REPEATED"},
    {
        "name": "box",
        "type": "RECORD",
        "mode": "REPEATED",
        "fields": [{"name": "x min", "type": "FLOAT"}, {"name": "on", "type": "BOOLEAN"}],
    },
    {"name": "span", "type": "RANGE", "rangeElementType": {"type": "DATE"}},
    {"name": "at", "type": "TIMESTAMP", "defaultValueExpression": "CURRENT_TIMESTAMP()"},
]


@pytest.fixture
def folder(tmp_path):
    """A folder with one schema."""
    (tmp_path / "shop.orders.json").write_text(json.dumps(FIELDS), encoding="utf-8")
    return tmp_path


def test_the_schema_that_bq_shows(folder):
    """Each type has its GoogleSQL name; modes and defaults are kept."""
    table = SchemaFiles(folder, "").find("shop.orders")
    assert [each.type for each in table.columns] == [
        "INT64",
        "NUMERIC",
        "ARRAY<STRING>",
        "ARRAY<STRUCT<`x min` FLOAT64, `on` BOOL>>",
        "RANGE<DATE>",
        "TIMESTAMP",
    ]
    assert table.columns[0].is_required
    assert table.columns[5].has_default


@pytest.mark.parametrize(
    ("project", "name", "is_there"),
    [
        ("", "shop.orders", True),
        ("", "any-project.shop.orders", True),
        ("", "`any-project.shop.orders`", True),
        ("mine", "mine.shop.orders", True),
        ("mine", "other.shop.orders", False),
        ("", "shop.order", False),
    ],
)
def test_names_with_and_without_a_project(folder, project, name, is_there):
    """A file without a project is of the default one, or of any if none is given."""
    assert (SchemaFiles(folder, project).find(name) is not None) == is_there


def test_a_file_with_a_project(folder):
    """It is the table of that project."""
    (folder / "far.away.t.json").write_text(json.dumps(FIELDS[:1]), encoding="utf-8")
    assert SchemaFiles(folder, "mine").find("far.away.t") is not None
    assert SchemaFiles(folder, "mine").find("away.t") is None
    assert SchemaFiles(folder, "far").find("away.t") is not None


def test_a_wildcard(folder):
    """A name with a `*` has the columns of the last table that it fits, and `_TABLE_SUFFIX`."""
    for number, kind in (("1", "STRING"), ("2", "DATE")):
        field = {"name": "x", "type": kind}
        (folder / f"shop.events_{number}.json").write_text(json.dumps([field]), encoding="utf-8")
    for project in ("", "mine"):
        name = "shop.events_*" if not project else "mine.shop.events_*"
        table = SchemaFiles(folder, project).find(name)
        assert [each.type for each in table.columns] == ["DATE"]
        assert [each.name for each in table.pseudo_columns] == ["_TABLE_SUFFIX"]
    assert SchemaFiles(folder, "").find("shop.nothing_*") is None


def test_a_name_that_is_not_there(folder):
    """The hint names the file to write, and a similar name."""
    hint = SchemaFiles(folder, "").missing("shop.order")
    assert "shop.order.json" in hint
    assert "did you mean shop.orders?" in hint


def test_all_broken_files_are_named(folder):
    """Every file that cannot be read is in the message, with line and column."""
    (folder / "a.b.json").write_text('[{"name": "x",\n  "type" "INT64"}]', encoding="utf-8")
    (folder / "a.c.json").write_text('{"kind": "x"}', encoding="utf-8")
    (folder / "a.d.json").write_text('[{"name": "x"}]', encoding="utf-8")
    (folder / "a.e.json").write_bytes(b"\xff\xfe")
    (folder / "a.f.json").write_text('[{"name": "x", "type": "TEXT"}]', encoding="utf-8")
    (folder / "name.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        SchemaFiles(folder, "")
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert "a.b.json:2:10: it is not JSON" in lines[0]
    assert "it has no list of columns" in lines[1]
    assert "a column has no type" in lines[2]
    assert "it is not UTF-8 text" in lines[3]
    assert "column x: BigQuery has no type TEXT" in lines[4]
    assert "call it dataset.table.json" in lines[5]


def test_a_folder_that_is_not_there(tmp_path):
    """The message says how to write a schema."""
    with pytest.raises(ConfigError, match="bq show --schema"):
        SchemaFiles(tmp_path / "none", "")


def test_resources_of_other_kinds():
    """Tables by the REST API, models, functions and object tables are read, too."""
    table = read_resource(
        {
            "schema": {"fields": FIELDS[:1]},
            "type": "TABLE",
            "timePartitioning": {"type": "DAY"},
        }
    )
    assert [each.name for each in table.pseudo_columns] == ["_PARTITIONTIME", "_PARTITIONDATE"]
    view = read_resource({"schema": {"fields": FIELDS[:1]}, "type": "VIEW"})
    assert view.is_view
    floats = {"typeKind": "ARRAY", "arrayElementType": {"typeKind": "FLOAT64"}}
    model = read_resource(
        {"modelReference": {}, "labelColumns": [{"name": "scores", "type": floats}]}
    )
    assert model == KnownModel((), (KnownColumn("scores", "ARRAY<FLOAT64>"),))
    struct = {
        "typeKind": "STRUCT",
        "structType": {"fields": [{"name": "a", "type": {"typeKind": "INT64"}}]},
    }
    routine = read_resource(
        {
            "routineReference": {},
            "routineType": "SCALAR_FUNCTION",
            "arguments": [{"name": "x", "dataType": struct}, {"name": "any"}],
            "returnType": {"typeKind": "STRING"},
            "language": "JAVASCRIPT",
            "definitionBody": "return x",
        }
    )
    assert routine == KnownRoutine(
        "SCALAR_FUNCTION", (("x", "STRUCT<`a` INT64>"), ("any", "")), "STRING"
    )
    objects = read_resource({"externalDataConfiguration": {"objectMetadata": "SIMPLE"}})
    assert isinstance(objects, KnownTable)
    assert [each.name for each in objects.pseudo_columns] == ["data", "ref"]
