"""Names of tables, and labels: one rule, before any I/O."""

import pytest

from etlkit import BigQuerySink, ConfigError, Definition, EtlBase, TransferJob
from etlkit.api.datamart import Datamart
from etlkit.api.labels import check_labels
from etlkit.bigquery.names import TableName, parse_table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d.t", TableName("p", "d", "t")),
        ("other-1.d.t", TableName("other-1", "d", "t")),
        ("example.com:proj.d.t", TableName("example.com:proj", "d", "t")),
        ("`d.my table-2`", TableName("p", "d", "my table-2")),
        ("d.表_ünï", TableName("p", "d", "表_ünï")),
    ],
)
def test_names_that_bigquery_has(text, expected):
    """Letters, marks, digits, connectors, dashes and spaces of any script."""
    assert BigQuerySink(text).table == text
    assert parse_table(text, "p") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("d.t$20240101", "names one partition"),
        ("d.t_*", "names several tables"),
        ("d.t@-3600000", "names an earlier state"),
        ("d.t;x", "has no such character"),
        ("d.t\nx", "has no such character"),
        ("d.", "is not a table name"),
        ("t", "is not a table name"),
        ("a.b.c.d", "is not a table name"),
        ("dä.t", "letters, digits and underscores"),
        ("d." + "x" * 1000, "1,000 bytes"),
        (None, "is not a table name"),
    ],
)
def test_names_that_bigquery_refuses(text, message):
    """The job cannot even be described, so no row is read."""
    with pytest.raises(ConfigError, match=message):
        BigQuerySink(text)


def test_a_name_with_a_variable_is_judged_around_it():
    """What the variable brings is judged when the job runs."""
    assert BigQuerySink("d.t_$day$").table == "d.t_$day$"
    with pytest.raises(ConfigError, match="names several tables"):
        BigQuerySink("d.t_$day$*")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"Team": "a"}, "'Team' cannot be a label's key"),
        ({"1team": "a"}, "begins with a letter"),
        ({"": "a"}, "cannot be a label's key"),
        ({"team": "Data Science"}, "team='Data Science' cannot be a label's value"),
        ({"team": "x" * 64}, "at most 63 characters"),
        ({"team": None}, "team=None cannot be a label's value"),
        ({f"k{n}": "v" for n in range(63)}, "63 labels; at most 62"),
    ],
)
def test_labels_that_bigquery_refuses(labels, message):
    """They are refused wherever a user can write them."""
    sink = BigQuerySink("d.t")
    with pytest.raises(ConfigError, match=message):
        TransferJob(source=sink, transform=EtlBase, sink=sink, labels=labels)
    with pytest.raises(ConfigError, match=message):
        Datamart(sql="SELECT 1", labels=labels)
    with pytest.raises(ConfigError, match=message):
        Definition(labels=labels)


def test_labels_that_bigquery_takes():
    """Empty values, digits, dashes and letters of other scripts."""
    check_labels({"team": "", "größe": "表-1_x", "日本": "x"}, "here")
