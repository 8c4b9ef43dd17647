"""The page on costs has the numbers that the repository computes."""

from pathlib import Path

import pytest

from etlkit.api.report import PRICE_PER_TIB
from etlkit.bigquery.sql.staging import STAGING_COLUMNS
from tests.bench import cost

PAGE = (Path(__file__).parents[2] / "docs/guides/cost.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", cost.tables())
def test_the_page_shows_what_the_command_prints(name):
    """Each table stands in the page as it is computed."""
    assert cost.tables()[name] in PAGE


def test_prices_in_the_page():
    """The list of prices names the constants."""
    prices = [
        f"{cost.QUERY_USD * cost.TIB:.2f} USD for a TiB",
        f"{cost.WRITE_USD * cost.GIB:.3f} USD for a GiB",
        f"{cost.READ_USD * cost.TIB:.2f} USD for a TiB",
        f"{cost.STORAGE_USD * cost.GIB:.2f} USD for a GiB and month",
        *(f"{price:.2f} USD ({edition})" for edition, price in cost.SLOT_HOUR_USD.items()),
    ]
    assert [price for price in prices if price not in PAGE] == []


def test_the_estimate_of_dry_runs_has_the_same_price():
    """One price for queries on demand."""
    assert cost.QUERY_USD * cost.TIB == PRICE_PER_TIB


def test_staged_rows_carry_the_columns_that_are_counted():
    """An id and three INT64: what the model adds to each staged row."""
    kinds = [column.type for column in STAGING_COLUMNS]
    assert kinds == ["STRING", "INT64", "INT64", "INT64"]
    assert f"carry {cost.ID_BYTES + cost.COUNTER_BYTES} bytes" in PAGE
    assert f"about {cost.EVENT_BYTES} bytes a row" in PAGE
    assert cost.MIN_QUERY_BYTES // cost.EVENT_BYTES > 200_000
