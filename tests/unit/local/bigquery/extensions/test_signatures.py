import pytest
import sqlglot
from bqemulator.domain.errors import InvalidQueryError

from etlkit.local.bigquery.extensions import sql_functions
from etlkit.local.bigquery.extensions.object_tables import ObjectTables
from etlkit.local.bigquery.extensions.signatures import (
    MODEL,
    TABLE,
    Argument,
    ResultTable,
    Signature,
    parse_type,
)
from etlkit.local.ml import annotate_image, image_functions, predict

TEXT = Argument("text", ("STRING",))


@pytest.fixture
def declared(monkeypatch, tmp_path):
    """Everything that the local server declares when it starts."""
    for registry in ("_scalar", "_table_valued", "_remote", "_procedures"):
        monkeypatch.setattr(sql_functions, registry, {})
    monkeypatch.setattr(sql_functions, "_python", [])
    ObjectTables(None).declare_procedure()
    predict.declare_function()
    annotate_image.declare_functions(tmp_path)
    image_functions.declare_functions(tmp_path)
    return [entry.signature for entry in sql_functions.declared()]


def test_every_declared_signature_parses(declared):
    """All types of arguments and results are BigQuery's."""
    assert {signature.name for signature in declared} == {
        "BQ.REFRESH_EXTERNAL_METADATA_CACHE",
        "ML.ANNOTATE_IMAGE",
        "ML.CONVERT_COLOR_SPACE",
        "ML.CONVERT_IMAGE_TYPE",
        "ML.DECODE_IMAGE",
        "ML.PREDICT",
        "ML.RESIZE_IMAGE",
    }
    for signature in declared:
        types = [text for each in signature.arguments for text in each.types]
        if isinstance(signature.result, ResultTable):
            types += [text for _, text in signature.result.columns]
        elif signature.result is not None:
            types.append(signature.result)
        for text in set(types) - {MODEL, TABLE}:
            assert parse_type(text).sql(dialect="bigquery") == text


def test_every_declared_function_refuses_wrong_arguments(declared):
    """A call without arguments, or with too many, is refused with the signature."""
    for signature in declared:
        for given in ([], [None] * 9):
            with pytest.raises(InvalidQueryError) as error:
                signature.check_types(given)
            assert error.value.message.endswith(f"Supported signature: {signature}")


@pytest.mark.parametrize(
    "text", ["TEXT", "ARRAY<TEXT>", "STRUCT<a MODEL>", "VARCHAR", "INTERVAL", "NO"]
)
def test_a_type_that_bigquery_does_not_have_is_refused(text):
    """A signature cannot be declared with it."""
    with pytest.raises(ValueError, match="is not a type of BigQuery"):
        Argument("a", (text,))


@pytest.mark.parametrize(
    ("arguments", "calls", "refused"),
    [
        ((TEXT,), ["'a'", "x", "NULL", "@p"], ["", "'a', 'b'", "1", "TRUE", "CAST(x AS INT64)"]),
        ((Argument("n", ("FLOAT64",)),), ["1", "-1.5", "CAST(x AS INTEGER)"], ["'1'", "TRUE"]),
        ((Argument("t", ("TIMESTAMP",)),), ["'2020-01-01'", "DATE '2020-01-01'"], ["1", "b'a'"]),
        ((Argument("a", ("BYTES", "STRING")),), ["b'a'", "'a'"], ["1"]),
        ((TEXT, Argument("n", ("INT64",), is_optional=True)), ["'a'", "'a', 1"], ["'a', 'b'", ""]),
        ((TEXT, Argument("n", ("INT64",), is_repeated=True)), ["x", "x, 1, 2"], ["x, 1, 'b'", ""]),
    ],
)  # fmt: skip
def test_calls_are_checked(arguments, calls, refused):
    """Literals fit as BigQuery converts them; what is known only when the query runs is not refused."""
    signature = Signature("F", arguments, "INT64")

    def check(call):
        tree = sqlglot.parse_one(f"SELECT d.f({call})", dialect="bigquery")
        signature.check_call(tree.expressions[0].expression.expressions)

    for call in calls:
        check(call)
    for call in refused:
        with pytest.raises(InvalidQueryError, match="Supported signature: F"):
            check(call)


def test_a_signature_is_shown_as_bigquery_shows_it():
    """Optional arguments are in brackets, and repeated ones have dots."""
    number = Argument("n", ("INT64", "FLOAT64"), is_optional=True)
    more = Argument("more", ("BYTES",), is_repeated=True)
    assert (
        str(Signature("F", (TEXT, number, more))) == "F(STRING, [INT64 or FLOAT64], [BYTES, ...])"
    )
