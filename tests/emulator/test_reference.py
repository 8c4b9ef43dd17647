"""The local server's answers beside those of GoogleSQL's reference evaluator.

The evaluator's answers are in files; a sample of them is evaluated anew. `make reference` is the long
form: with `ETLKIT_REFERENCE=20000 ETLKIT_SEED=7` everything is asked over both calls and evaluated
anew, and so are that many generated expressions. docs/reference/local-differences.md lists where
answers differ; `python -m tests.reference.page` writes it.
"""

import os
import random
import sys

import pytest

from tests.reference import evaluator, generated, local_answers, page, stored
from tests.reference.answers import agree, is_error

NUM_GENERATED = int(os.environ.get("ETLKIT_REFERENCE", "0"))
IS_LONG = NUM_GENERATED > 0
SEED = int(os.environ.get("ETLKIT_SEED", "1"))
CALLS = {"query": local_answers.by_job, "query_and_wait": local_answers.by_query}
PARTS = 1 if IS_LONG else 16
"""In the short form, each call gets a sixteenth of the expressions."""

NUM_SAMPLED = 60
NUM_FAILING = 5
"""Of the stored answers so many are evaluated anew in the short form; errors are evaluated singly."""


def say(figures: str) -> None:
    """Print figures; `pytest -s` shows them."""
    sys.stdout.write(f"{figures}\n")


@pytest.mark.timeout(3600 if IS_LONG else 180)
@pytest.mark.parametrize("call", CALLS)
def test_expressions_are_answered_as_bigquery_answers_them(bq, call):
    """Type and value of each expression are the evaluator's, or on the page of differences."""
    ask = CALLS[call](bq)
    known = page.listed(page.PAGE.read_text(encoding="utf-8"))
    first = (SEED + 2 * list(CALLS).index(call)) % PARTS
    num_asked, wrong = 0, []
    for area in stored.answers().values():
        reference = dict(list(area.items())[first::PARTS])
        local = local_answers.all_of(ask, reference, page.refused(known))
        found = page.differences(reference, local)
        listed = [row for row in known if row[0] in reference]
        wrong += sorted(set(found) ^ set(listed))
        num_asked += len(reference)
    say(f"{num_asked} expressions over {call}, {len(wrong)} other than on the page")
    assert num_asked >= 250
    assert wrong == [], "if it is right, run: python -m tests.reference.page"


@pytest.mark.timeout(3600 if IS_LONG else 180)
def test_stored_answers_are_those_of_the_evaluator():
    """The files say what the evaluator says."""
    known = {each: answer for area in stored.answers().values() for each, answer in area.items()}
    failing = sorted(each for each, answer in known.items() if is_error(answer))
    good = sorted(known.keys() - set(failing))
    if not IS_LONG:
        chance = random.Random(SEED)  # noqa: S311 - a choice of a test
        good, failing = chance.sample(good, NUM_SAMPLED), chance.sample(failing, NUM_FAILING)
    expected = {each: known[each] for each in (*good, *failing)}
    assert stored.evaluated(good) | stored.evaluated(failing) == expected


def test_the_page_counts_what_it_lists():
    """Its table of areas and its rows belong together, and to the stored answers."""
    text = page.PAGE.read_text(encoding="utf-8")
    rows = {row[0]: row for row in page.listed(text)}
    found = {
        name: (len(area), [rows[each] for each in area if each in rows])
        for name, area in stored.answers().items()
    }
    assert page.rendered(found) == text


@pytest.mark.timeout(3600 if IS_LONG else 180)
def test_generated_expressions_are_answered_as_bigquery_answers_them(bq):
    """Nested expressions of functions that agree when they are not nested agree, too.

    A NULL of constants has no type in DuckDB, so that its type is not compared.
    """
    expressions = generated.expressions(NUM_GENERATED or 120, SEED)
    answered = dict(zip(expressions, evaluator.in_batches(expressions), strict=True))
    answered = {each: answer for each, answer in answered.items() if not answer.endswith(" NULL")}
    reference = {each: answer for each, answer in answered.items() if not is_error(answer)}
    local = local_answers.all_of(local_answers.by_query(bq), reference, suspects=())
    wrong = [
        (each, reference[each], local[each])
        for each in local
        if not agree(reference[each], local[each])
    ]
    say(f"{len(reference)} generated expressions of seed {SEED}, {len(wrong)} differ")
    assert len(reference) > len(expressions) / 3
    assert wrong == []
