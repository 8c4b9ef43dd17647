"""DuckDB, which answers GoogleSQL over small work tables."""

import duckdb
import pytest
import sqlglot

from etlkit.bigquery.names import TableName
from etlkit.bigquery.sql.staging import Staged
from etlkit.rows.columns import Column

VALUE = Column("v", "STRING")
OUT_1, OUT_2 = TableName("p", "d", "out_1"), TableName("p", "d", "out_2")
REJECTS = TableName("p", "d", "rej")


@pytest.fixture
def db():
    with duckdb.connect() as connection:
        connection.execute("ATTACH ':memory:' AS p; CREATE SCHEMA p.d")
        yield connection


@pytest.fixture
def ask(db):
    """Ask a GoogleSQL question."""

    def asked(text):
        (translated,) = sqlglot.transpile(text, read="bigquery", write="duckdb")
        return sorted(db.execute(translated).fetchall())

    return asked


@pytest.fixture
def stage(db):
    """Work tables: rows of (id, attempt, part, parts, v), and rejected rows of (id, attempt)."""

    def make(*tables, rejects=None):
        for name, rows in zip((OUT_1, OUT_2), tables, strict=False):
            db.execute(
                f"CREATE TABLE {name} (_etlkit_row_id TEXT, _etlkit_attempt INT, "
                "_etlkit_part INT, _etlkit_parts INT, v TEXT)"
            )
            if rows:
                db.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?, ?)", rows)
        if rejects is not None:
            db.execute(
                f"CREATE TABLE {REJECTS} (_etlkit_row_id TEXT, _etlkit_attempt INT, "
                "rejected_at TIMESTAMP, message TEXT)"
            )
            db.executemany(
                f"INSERT INTO {REJECTS} VALUES (?, ?, TIMESTAMP '2030-01-01', 'why')", rejects
            )
        names = tuple((name, (VALUE,)) for name, _ in zip((OUT_1, OUT_2), tables, strict=False))
        return Staged(names, None if rejects is None else REJECTS)

    return make
