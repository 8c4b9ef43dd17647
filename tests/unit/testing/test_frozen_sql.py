"""SQL with a clock that stands still: functions are replaced, and nothing that only looks like them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from etlkit import ConfigError
from etlkit.testing.frozen_sql import frozen

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
MOMENT = "TIMESTAMP '2026-01-02 03:04:05.000006+00'"


@pytest.mark.parametrize(
    ("sql", "there"),
    [
        ("SELECT CURRENT_TIMESTAMP()", f"SELECT {MOMENT}"),
        ("SELECT current_timestamp AS t", f"SELECT {MOMENT} AS t"),
        ("SELECT CURRENT_DATE()", f"SELECT DATE({MOMENT})"),
        ("SELECT CURRENT_DATE", f"SELECT DATE({MOMENT})"),
        ("SELECT CURRENT_DATE( 'Asia/Tokyo' )", f"SELECT DATE({MOMENT}, 'Asia/Tokyo')"),
        (
            "SELECT CURRENT_DATETIME(CONCAT('Asia', '/', (SELECT 'Tokyo')))",
            f"SELECT DATETIME({MOMENT}, CONCAT('Asia', '/', (SELECT 'Tokyo')))",
        ),
        (
            "SELECT CURRENT_TIME(), CURRENT_DATE() - 1;\nSELECT 1",
            f"SELECT TIME({MOMENT}), DATE({MOMENT}) - 1;\nSELECT 1",
        ),
        ("SELECT 'CURRENT_DATE()' -- CURRENT_DATE()", None),
        ("SELECT t.CURRENT_DATE, `CURRENT_DATE`", None),
        ("SELECT 1", None),
    ],
)
def test_calls_are_replaced_where_they_stand(sql, there):
    """With their time zone; texts, comments and columns stay."""
    assert frozen(sql, NOW) == (there or sql)


def test_the_moment_is_the_same_in_every_zone():
    """It is written in UTC."""
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert frozen("SELECT CURRENT_TIMESTAMP()", tokyo) == f"SELECT {MOMENT}"


def test_a_moment_without_a_zone_is_refused():
    """It would be another moment on another machine."""
    with pytest.raises(ConfigError, match="no timezone"):
        frozen("SELECT 1", datetime(2026, 1, 1))  # noqa: DTZ001
