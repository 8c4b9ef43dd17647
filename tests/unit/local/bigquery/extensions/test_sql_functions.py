import asyncio

import pytest
import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from etlkit.local.bigquery.extensions import sql_functions
from etlkit.local.bigquery.extensions.sql_functions import ScalarFunction, TableFunction


@pytest.fixture(autouse=True)
def declared(monkeypatch):
    """A registry with a scalar function `MY.TWICE` and the table-valued `ML.PREDICT`."""
    for registry in ("_scalar", "_table_valued"):
        monkeypatch.setattr(sql_functions, registry, {})

    async def twice(call, _scope):
        return exp.Anonymous(this="duckdb_twice", expressions=call.expression.expressions)

    async def predict(table, _scope):
        query = table.this.expression
        return exp.select("1 AS answer", "*").from_(query.copy()).subquery()

    sql_functions.declare(
        ScalarFunction("MY.TWICE", "INT64", 1, twice),
        TableFunction("ML.PREDICT", exp.Predict, predict),
    )


def parse(sql: str) -> exp.Expr:
    return sqlglot.parse_one(sql, dialect="bigquery")


def rewritten(sql: str) -> str:
    tree = parse(sql)
    assert asyncio.run(sql_functions.rewrite(tree, None))
    return tree.sql(dialect="bigquery")


def test_nested_calls_are_rewritten_in_any_case():
    """Calls in arguments and in queries of table-valued functions are rewritten too."""
    sql = "SELECT my.twice(My.Twice(x)) FROM ML.PREDICT(MODEL d.m, (SELECT MY.TWICE(1) AS x))"
    assert rewritten(sql) == (
        "SELECT duckdb_twice(duckdb_twice(x)) "
        "FROM (SELECT 1 AS answer, * FROM (SELECT duckdb_twice(1) AS x))"
    )


def test_clauses_after_a_table_function_stay():
    """The alias and the joins of a call belong to what replaces it."""
    sql = "SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t) AS p JOIN d.u ON p.x = u.x"
    assert rewritten(sql) == (
        "SELECT * FROM (SELECT 1 AS answer, * FROM d.t) AS p JOIN d.u ON p.x = u.x"
    )


def test_a_wrong_number_of_arguments_is_refused():
    """The message has the supported signature."""
    with pytest.raises(InvalidQueryError, match=r"function MY\.TWICE: 2\..* MY\.TWICE\(INT64\)"):
        rewritten("SELECT MY.TWICE(1, 2)")


@pytest.mark.parametrize("sql", ["SELECT a.twice FROM a", "SELECT OTHER.TWICE(1)", "SELECT 1"])
def test_other_names_are_left_alone(sql):
    """Columns and functions of other names are not calls of declared functions."""
    tree = parse(sql)
    assert not sql_functions.is_involved(tree, None)
    assert not asyncio.run(sql_functions.rewrite(tree, None))
    assert tree == parse(sql)


@pytest.mark.parametrize(
    "sql", ["SELECT MY.TWICE(1)", "SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t)"]
)
def test_a_declared_call_is_found(sql):
    """`is_involved` finds calls of both kinds."""
    assert sql_functions.is_involved(parse(sql), None)
