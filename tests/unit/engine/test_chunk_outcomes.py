"""Which outcomes are not as most are."""

import random

import pytest

from etlkit.api.outcomes import SKIPPED
from etlkit.engine.chunk_outcomes import MADE, others, unmade


@pytest.mark.parametrize("num_rows", [0, 1, 31, 32, 33, 500])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_the_few_others_are_found_wherever_they_are(num_rows, share):
    """At the edges of what is counted together, too, and whatever they are."""
    rng = random.Random(f"{num_rows} {share}")  # noqa: S311 - no secret
    kinds = [SKIPPED, {"n": 1}, {}]
    outcomes = [rng.choice(kinds) if rng.random() < share else MADE for _ in range(num_rows)]
    expected = [at for at, each in enumerate(outcomes) if each is not MADE]
    assert unmade(outcomes) == others(outcomes, MADE) == expected
