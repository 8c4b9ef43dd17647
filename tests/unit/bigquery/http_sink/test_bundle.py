import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit import RowSchemaError
from etlkit.bigquery.http_sink.bundle import Item, halves, key_in_words, key_of, unsettled


def items(*row_ids, attempt=1, num_parts=1):
    return [Item(row_id, 0, num_parts, attempt, at, "{}") for at, row_id in enumerate(row_ids)]


def test_a_key_names_run_attempt_and_row():
    """People find the row in the tables by it."""
    assert key_of("run", items("r-1")) == "run-1-r-1"
    assert key_of("run", [Item("r-1", 2, 3, 4, 0, "{}")]) == "run-4-r-1-2"


def test_a_key_fits_a_header():
    """Row ids that a header cannot hold, and several of them, are digested."""
    for made in (key_of("run", items("é\n")), key_of("run", items("a", "b"))):
        assert made.isascii()
        assert made.isprintable()
        assert len(made) == len("run-1-") + 32


def test_a_key_can_be_worded_by_the_job():
    """The same in every run; what a header cannot hold is digested, and a row needs its values."""
    assert key_in_words("order-{id}-{v}", {"id": 7, "v": "a"}) == "order-7-a"
    assert len(key_in_words("{id}", {"id": "é\n"})) == 32
    for value in (None, ""):
        with pytest.raises(RowSchemaError, match="idempotency key"):
            key_in_words("order-{id}", {"id": value})


def test_other_items_have_another_key():
    """Other rows, another order, another attempt that staged them."""
    made = [items("a", "b"), items("b", "a"), items("a"), items("a", "b", attempt=2)]
    assert len({key_of("run", each) for each in made}) == 4
    assert key_of("run", items("a", "b")) == key_of("run", items("a", "b"))


@given(st.integers(1, 40), st.data())
def test_what_is_left_is_cut_where_a_refused_request_is_halved(number, data):
    """So each request that may have been on its way has the same items, and the same key, again."""
    all_items = items(*map(str, range(number)))
    sent = [all_items]
    while data.draw(st.booleans()):  # the way of a bundle that is refused again and again
        at = data.draw(st.integers(0, len(sent) - 1))
        if len(sent[at]) > 1:
            sent[at : at + 1] = halves(sent[at])
    is_settled = [data.draw(st.booleans()) for _ in sent]
    settled = {i.id for part, done in zip(sent, is_settled, strict=True) if done for i in part}
    left = unsettled(all_items, settled)
    assert [i for part in left for i in part] == [i for i in all_items if i.id not in settled]
    if settled:
        in_flight = [part for part, done in zip(sent, is_settled, strict=True) if not done]
        for part in left:  # each is one of those, or several that lay side by side in one refused
            assert part in in_flight or all(
                set(each) <= set(part) or not set(each) & set(part) for each in in_flight
            )


@pytest.mark.parametrize("number", [2, 3, 8])
def test_halves_keep_the_order(number):
    """None is empty."""
    first, second = halves(items(*map(str, range(number))))
    assert [item.position for item in first + second] == list(range(number))
    assert first
    assert second
