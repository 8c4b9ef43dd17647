"""The names in a text of GoogleSQL."""

import pytest

from etlkit.local.bigquery.sql_names import resolved, scan


@pytest.mark.parametrize(
    ("sql", "paths"),
    [
        ("SELECT 1 FROM d.t", [("SELECT",), ("FROM",), ("d", "t")]),
        ("`p.d.t` `p`.d.`my t`", [("p.d.t",), ("p", "d", "my t")]),
        ("p-1.d.t", [("p-1", "d", "t"), ("1", "d", "t")]),
        ("'d.t' \"d.t\" r'd.t\\d' '''d.'t''' -- d.t\n# d.t\n/* d.t */ x", [("x",)]),
        ("t . * @p @@error.message d . t", [("t", "*"), ("d", "t")]),
        ("d.events_*", [("d", "events_")]),
    ],
)
def test_paths(sql, paths):
    """Strings, comments and parameters have none."""
    assert list(scan(sql).paths) == paths


def test_dots_within_backticks_are_dots():
    """As BigQuery reads them."""
    assert resolved(("p.d", "t")) == ("p", "d", "t")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", False),
        ("SELECT 1; -- end", False),
        ("SELECT ';'", False),
        ("SELECT 1; SELECT 2", True),
        ("-- a\nDECLARE x INT64", True),
        ("BEGIN TRANSACTION", False),
        ("BEGIN", False),
        ("BEGIN TRANSACTION; COMMIT", True),
        ("BEGIN SELECT 1; END", True),
    ],
)
def test_scripts(sql, expected):
    """Several statements, or one of the procedural language."""
    assert scan(sql).is_script is expected


def test_models_and_connections():
    """What stands behind the words MODEL and CONNECTION."""
    sql = (
        "SELECT * FROM ML.PREDICT(MODEL `p.d.m`, TABLE d.t), ml . predict ( model d.n , (SELECT 1))"
    )
    calls = scan(sql).model_calls
    assert [(call.function, call.model) for call in calls] == [
        (("ML", "PREDICT"), ("p", "d", "m")),
        (("ml", "predict"), ("d", "n")),
    ]
    assert [sql[slice(*call.argument)] for call in calls] == ["MODEL `p.d.m`,", "model d.n ,"]
    assert scan("… WITH CONNECTION `us.c` x CONNECTION DEFAULT").connections == (("us.c",),)
