"""Query parameters: a list has the one type that holds all its values, and every value can be sent."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from etlkit import ConfigError
from etlkit.bigquery.parameters import parameter_types, query_parameters
from etlkit.variables.values import resolve


def sent(value):
    """The type of a parameter and its value, as the request has them."""
    (parameter,) = query_parameters({"p": value})
    made = parameter.to_api_repr()
    kind, held = made["parameterType"], made["parameterValue"]
    if kind["type"] == "ARRAY":
        return f"ARRAY<{kind['arrayType']['type']}>", [
            each["value"] for each in held["arrayValues"]
        ]
    return kind["type"], held["value"]


@pytest.mark.edge_case("`[1, 2.5]`", "a query parameter", "ARRAY of FLOAT64 with 1.0 and 2.5")
@pytest.mark.edge_case("`[1, 2**70]`", "a query parameter", "ARRAY of NUMERIC")
@pytest.mark.parametrize(
    ("value", "kind", "texts"),
    [
        ([1, 2.5], "FLOAT64", [1.0, 2.5]),
        ([2.5, 1], "FLOAT64", [2.5, 1.0]),
        ([1, 2**70], "NUMERIC", ["1", str(2**70)]),
        ([1, Decimal("2.5")], "NUMERIC", ["1", "2.5"]),
        ([None, 2.5], "FLOAT64", [None, 2.5]),
        ([np.int64(1), np.float64(2.5)], "FLOAT64", [1.0, 2.5]),
        ([], "STRING", []),
    ],
)
def test_all_values_of_a_list_decide(value, kind, texts):
    """By the rules for new columns; the values are sent as that type has them."""
    found, values = sent(value)
    assert found == f"ARRAY<{kind}>" == parameter_types({"p": value})["p"]
    assert [None if text is None else Decimal(text) for text in values] == [
        None if text is None else Decimal(text) for text in texts
    ]


@pytest.mark.edge_case('`[1, "a"]`, lists of several kinds', "a query parameter", "refused by name")
@pytest.mark.edge_case(
    "half a character (a lone surrogate)", "a query parameter, a variable", "refused by name"
)
@pytest.mark.edge_case(
    "an integer of which no float is equal", "a list with floats", "refused by name"
)
@pytest.mark.parametrize(
    "value",
    [
        [1, "a"],
        [True, 1],
        [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1)],  # noqa: DTZ001
        [0.5, 2**53 + 1],
        [[1], [2]],
        "\ud800",
        ["a", "\udcff"],
        {"a": "\ud800"},
        10**80,
        Decimal("NaN"),
        pd.NaT,
        {1, 2},
    ],
    ids=ascii,
)
def test_what_has_no_type_is_refused(value):
    """Before anything is sent, with the parameter's name and without its value."""
    for call in (query_parameters, parameter_types):
        with pytest.raises(ConfigError, match=r"^query parameter @p: ") as caught:
            call({"fine": 1, "p": value})
        str(caught.value).encode()


def test_a_variable_has_whole_characters():
    """The command line makes half characters of bytes that are no UTF-8."""
    now = datetime(2024, 1, 1, tzinfo=UTC)
    with pytest.raises(ConfigError, match=r"^\$day\$ has half a character") as caught:
        resolve({"day": "x"}, given={"day": "\udcff"}, queued_at=now, started_at=now)
    str(caught.value).encode()


@pytest.mark.edge_case("numpy and pandas values", "a query parameter", "as their Python values")
def test_values_of_numpy_and_pandas():
    """Google's client would write a Timestamp's or a number's own text."""
    assert sent(np.int64(5)) == ("INT64", "5")
    assert sent(np.float32(0.5)) == ("FLOAT64", 0.5)
    kind, text = sent(pd.Timestamp("2024-01-31T05:30:00+09:00"))
    assert (kind, datetime.fromisoformat(text)) == (
        "TIMESTAMP",
        datetime(2024, 1, 30, 20, 30, tzinfo=UTC),
    )
