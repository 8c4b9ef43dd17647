"""The page on scale has the numbers that the repository computes."""

from pathlib import Path

import pytest

from tests.bench import history, scale_model

PAGE = (Path(__file__).parents[2] / "docs/scale.md").read_text(encoding="utf-8")


def test_the_page_shows_what_the_command_prints():
    """Each table stands in the page as it is computed, which takes a second."""
    tables = scale_model.tables()
    assert tables
    assert [name for name, table in tables.items() if table not in PAGE] == []


def test_measured_constants_were_measured():
    """Each has its figure in the history, at the commit that it names."""
    measured = {
        (entry.commit, key, figure.value)
        for entry in history.read()
        for key, figure in entry.figures.items()
    }
    wanted = [(each.commit, each.key, each.value) for each in scale_model.MEASURED]
    assert [each for each in wanted if each not in measured] == []


def test_every_shard_is_claimed_once():
    """The simulation loses no work: all processes together are busy for as long as the rows take."""
    claims = scale_model.simulate(1_000_000, 100.0, 4)
    assert claims.seconds == pytest.approx(1_000_000 / 400, rel=0.1)
    assert claims.idle < 0.05
    assert scale_model.simulate(1_000_000, 100.0, 1).seconds == pytest.approx(10_000)


def test_the_shares_of_limits_follow_from_the_run():
    """A run ten times as fast uses ten times the bytes a second, and lasts a tenth."""
    slow, fast = (dict(scale_model.Run(10**8, rate).uses()) for rate in (30_000, 300_000))
    assert fast[scale_model.APPENDS] == pytest.approx(10 * slow[scale_model.APPENDS])
    assert fast[scale_model.SESSION] == pytest.approx(slow[scale_model.SESSION] / 10, rel=0.1)
    limit, share = scale_model.Run(10**9, 1_800).first_limit()
    assert (limit, share > 1) == (scale_model.SNAPSHOT, True)
    kept = scale_model.RATES[0] * 60 * 24 * scale_model.EXPIRE_DAYS
    assert f"From {kept / 1e6:.0f} million on" in PAGE
    assert f"{scale_model.CALLS_PER_S * 60:,.0f} calls a minute" in PAGE
