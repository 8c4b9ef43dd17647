"""The local server's answers beside those of GoogleSQL's reference evaluator.

The evaluator's answers to the hand-written expressions are in a file; a sample of it is evaluated anew.
`ETLKIT_REFERENCE=20000 ETLKIT_SEED=7` is the long form: everything is asked over both calls and
evaluated anew, and so are that many generated expressions. Where answers differ: docs/reference/local-differences.md,
which `python -m tests.reference.page` writes.
"""

import os
import random

import pytest

from tests.reference import evaluator, generated, local_answers, page, stored
from tests.reference.answers import agree

NUM_GENERATED = int(os.environ.get("ETLKIT_REFERENCE", "0"))
IS_LONG = NUM_GENERATED > 0
SEED = int(os.environ.get("ETLKIT_SEED", "1"))
CALLS = {"query": local_answers.by_job, "query_and_wait": local_answers.by_query}
PART = 1 if IS_LONG else 4
"""Of the hand-written expressions, one of this many is asked over each call."""

SAMPLE = 120
"""So many of the stored answers are evaluated anew in the short form."""


def share(area: dict[str, str], first: int) -> dict[str, str]:
    """Each n-th expression of an area."""
    return dict(list(area.items())[first % PART :: PART])


@pytest.mark.parametrize("first", range(2), ids=list(CALLS))
def test_expressions_are_answered_as_bigquery_answers_them(bq, first):
    """Type and value of each expression are the evaluator's, or on the page of differences."""
    ask = list(CALLS.values())[first](bq)
    known = page.listed(page.PAGE.read_text(encoding="utf-8"))
    num_asked, new, gone = 0, [], []
    for area in stored.answers().values():
        reference = share(area, first * 2 + SEED)
        found = page.differences(reference, local_answers.all_of(ask, reference))
        num_asked += len(reference)
        new += [row for row in found if row not in known]
        gone += [row for row in known if row[0] in reference and row not in found]
    print(f"{num_asked} expressions over {list(CALLS)[first]}: {len(new)} new, {len(gone)} gone")
    assert num_asked >= 1000
    assert (new, gone) == ([], []), "run: python -m tests.reference.page"


def test_the_stored_answers_are_the_evaluators():
    """The file has an answer for each expression, and it is the evaluator's."""
    if IS_LONG:
        assert stored.evaluated() == stored.answers()
        return
    known = {each: answer for area in stored.answers().values() for each, answer in area.items()}
    assert list(known) == [
        each for area in stored.cases.hand_written().values() for each in area
    ]
    chosen = random.Random(SEED).sample(sorted(known), SAMPLE)  # noqa: S311 - a test's choice
    good = [each for each in chosen if not known[each].startswith("ERROR")]
    assert dict(zip(good, evaluator.answers(good), strict=True)) == {e: known[e] for e in good}
    for refused in sorted(set(chosen) - set(good))[:5]:
        assert evaluator.answers([refused]) == [known[refused]]


def test_the_page_counts_what_it_lists():
    """Its table of areas and its rows belong together, and to the stored answers."""
    text = page.PAGE.read_text(encoding="utf-8")
    rows, areas = page.listed(text), stored.answers()
    found = {
        name: (len(area), [row for each in area for row in rows if row[0] == each])
        for name, area in areas.items()
    }
    assert page.rendered(found) == text
    assert not [row for row in rows if agree(row[1], row[2])]
