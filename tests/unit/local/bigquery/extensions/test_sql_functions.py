import asyncio

import pytest
import sqlglot
from bqemulator.domain.errors import InvalidQueryError
from sqlglot import exp

from etlkit.local.bigquery.extensions import sql_functions
from etlkit.local.bigquery.extensions.signatures import (
    MODEL,
    TABLE,
    Argument,
    ResultTable,
    Signature,
)
from etlkit.local.bigquery.extensions.sql_functions import (
    Procedure,
    RemoteFunction,
    ScalarFunction,
    TableFunction,
)
from etlkit.local.bigquery.extensions.statement_context import StatementContext

CONTEXT = StatementContext("local", None)
NUMBER = Argument("n", ("INT64",))
REMOTE = RemoteFunction(("local", "ds", "f"), Signature("ds.f", (NUMBER,), "STRING"))


PREDICT = Signature(
    "ML.PREDICT", (Argument("model", (MODEL,)), Argument("table", (TABLE,))), ResultTable()
)


@pytest.fixture(autouse=True)
def declared(monkeypatch):
    """A registry with the scalar `MY.TWICE`, the table-valued `ML.PREDICT` and the remote `ds.f`."""
    for registry in ("_scalar", "_table_valued", "_remote", "_procedures"):
        monkeypatch.setattr(sql_functions, registry, {})

    async def twice(call, _scope):
        return exp.Anonymous(this="duckdb_twice", expressions=call.expression.expressions)

    async def predict(table, _scope):
        query = table.this.expression
        return exp.select("1 AS answer", "*").from_(query.copy()).subquery()

    sql_functions.declare(
        ScalarFunction(Signature("MY.TWICE", (NUMBER,), "INT64"), twice),
        TableFunction(PREDICT, exp.Predict, predict),
        REMOTE,
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
    with pytest.raises(InvalidQueryError, match=r"function MY\.TWICE\. .* MY\.TWICE\(INT64\)"):
        rewritten("SELECT MY.TWICE(1, 2)")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "SELECT MY.TWICE('1')",
            (
                "No matching signature for function MY.TWICE: argument 1 has type STRING. "
                "Supported signature: MY.TWICE(INT64)"
            ),
        ),
        (
            "SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t, STRUCT(1 AS x))",
            (
                "Number of arguments does not match for function ML.PREDICT. "
                "Supported signature: ML.PREDICT(MODEL, TABLE)"
            ),
        ),
    ],
)
def test_wrong_arguments_are_refused(sql, message):
    """The message has the signature."""
    with pytest.raises(InvalidQueryError) as error:
        rewritten(sql)
    assert error.value.message == message


@pytest.mark.parametrize(
    "call",
    [
        "ds.f()",
        "ds.f(1, 2)",
        "ds.f('a')",
        "local.ds.f(TRUE)",
        "`local`.ds.f(1.5)",
        "`local.ds.f`(b'a')",
        "`ds.f`(DATE '2020-01-01')",
    ],
)
def test_wrong_calls_of_remote_functions_are_refused(call):
    """The emulator rewrites these calls by itself; a hook looks at them before."""
    with pytest.raises(InvalidQueryError, match=r"Supported signature: ds\.f\(INT64\)"):
        asyncio.run(sql_functions.refuse_wrong_calls(parse(f"SELECT {call}"), CONTEXT))


@pytest.mark.parametrize(
    "call", ["ds.f(-1)", "ds.f(n)", "ds.f(NULL)", "ds.f(@n)", "ds.F()", "other.ds.f()", "ds.f.g"]
)
def test_other_calls_are_not_refused(call):
    """The types of columns are not known; names of functions are case-sensitive."""
    tree = parse(f"SELECT {call}")
    assert asyncio.run(sql_functions.refuse_wrong_calls(tree, CONTEXT)) is None


def test_a_removed_function_is_unknown():
    """After DROP FUNCTION the registry has no entry."""
    assert REMOTE in sql_functions.declared()
    sql_functions.remove(REMOTE.name)
    assert REMOTE not in sql_functions.declared()
    tree = parse("SELECT ds.f()")
    assert asyncio.run(sql_functions.refuse_wrong_calls(tree, CONTEXT)) is None


def test_a_procedure_is_called_with_values_that_fit():
    """Procedures are found in any case; optional arguments may be left out."""
    calls = []
    text = Argument("name", ("STRING",))
    folders = Argument("folders", ("ARRAY<STRING>",), is_optional=True)
    signature = Signature("BQ.TOUCH", (text, folders))
    sql_functions.declare(Procedure(signature, lambda values, _context: calls.append(values)))
    procedure = sql_functions.find_procedure("bq.Touch")
    procedure.call(["a"], CONTEXT)
    procedure.call(["a", ["b"]], CONTEXT)
    assert calls == [["a"], ["a", ["b"]]]
    for wrong in ([], [1], ["a", ["b"], "c"]):
        with pytest.raises(InvalidQueryError, match=r"BQ\.TOUCH\(STRING, \[ARRAY<STRING>\]\)"):
            procedure.call(wrong, CONTEXT)
    assert sql_functions.find_procedure("bq.other") is None


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
