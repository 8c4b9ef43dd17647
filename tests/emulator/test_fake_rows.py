"""Fake rows for a table or query of the local BigQuery, and rows of its own."""

import pytest

from etlkit import SourceError
from etlkit.testing import assert_rows, fake_rows, sample_rows


@pytest.fixture
def table(dataset, run, local_server, monkeypatch):
    """A table of 20 rows, found by Google's clients in this process."""
    for name, value in local_server.endpoints.environ().items():
        monkeypatch.setenv(name, value)
    run(
        f"CREATE TABLE {dataset}.t (id INT64 NOT NULL, price NUMERIC(5, 2), tags ARRAY<STRING>) "
        f"AS SELECT n, NULL, ['a'] FROM UNNEST(GENERATE_ARRAY(1, 20)) AS n"
    )
    return f"{dataset}.t"


def test_columns_of_a_table_or_a_query(table):
    """The types are BigQuery's; nothing is read."""
    schema = {"id": "INT64 NOT NULL", "price": "NUMERIC(5, 2)", "tags": "ARRAY<STRING>"}
    assert [list(row) for row in fake_rows(table, 2)] == [list(schema)] * 2
    assert_rows(fake_rows(f"SELECT id FROM {table}", 9), fake_rows({"id": "INT64"}, 9))


def test_a_sample_is_rows_of_the_table(table, run):
    """The same ones for the same seed; a seed of its own gives others."""
    there = [
        dict(zip(("id", "price", "tags"), row, strict=True))
        for row in run(f"SELECT * FROM {table}")
    ]
    found = sample_rows(table, 5)
    assert len(found) == 5
    assert all(row in there for row in found)
    assert_rows(sample_rows(table, 5), found, by="id")
    others = [sample_rows(f"SELECT id FROM {table}", 5, seed=seed) for seed in range(1, 4)]
    assert len({frozenset(row["id"] for row in rows) for rows in others}) > 1
    assert len(sample_rows(table, 100)) == 20


def test_a_table_that_is_not_there(table):
    """The error names it."""
    with pytest.raises(SourceError, match="nowhere"):
        fake_rows(f"{table}_nowhere")
