"""From a sample to the whole: intervals that are right for few rows, and for none that failed."""

import math

import pytest

from etlkit.engine.projection import Estimate, count_per_row, mean, quantile, wilson


@pytest.mark.parametrize(
    ("num", "of", "low", "high"),
    [  # of R's binom.confint(num, of, methods = "wilson")
        (0, 10, 0.0, 0.2775328),
        (1, 10, 0.01787621, 0.4041500),
        (5, 10, 0.2365931, 0.7634069),
        (10, 10, 0.7224672, 1.0),
        (3, 200, 0.005113, 0.0431787),
    ],
)
def test_a_share_has_wilsons_interval(num, of, low, high):
    """The interval of a share is Wilson's, also where no row failed or all did."""
    found = wilson(num, of)
    assert found.value == num / of
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_a_mean_has_an_interval_from_its_spread():
    """Equal rows have none, unequal ones have that of the normal distribution, one row has no end."""
    assert mean([2.0] * 50, [1] * 50) == Estimate(2.0, 2.0, 2.0)
    found = mean([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1])
    assert found.value == 2.5
    assert found.high - 2.5 == pytest.approx(1.96 * math.sqrt(5 / 3 / 4), rel=1e-3)
    one = mean([3.0], [1])
    assert (one.value, one.low, one.high) == (3.0, 0.0, math.inf)
    assert mean([], []) is None


def test_a_mean_of_batches_is_that_of_their_rows():
    """Batches of other sizes with the same time a row have no spread."""
    found = mean([16.0, 16.0, 4.0], [16, 16, 4])
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_counts_and_quantiles():
    """Calls that belong to no row that is known; and the value below which most values are."""
    assert count_per_row(100, 50).value == 2
    assert count_per_row(0, 50) == Estimate(0, 0, 0)
    assert count_per_row(5, 0) is None
    values = list(range(1, 101))
    assert (quantile(values, 0.5), quantile(values, 0.95), quantile(values, 1)) == (50, 95, 100)
    assert (quantile([7.0], 0.95), quantile([], 0.5)) == (7.0, None)
