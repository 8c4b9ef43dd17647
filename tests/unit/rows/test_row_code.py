from collections import OrderedDict

import pytest

from etlkit.calls.worker import Worker
from etlkit.rows.row_code import (
    END,
    PAUSE,
    OddPart,
    column_loop,
    row_maker,
    same_values,
    transform_loop,
)

NAMES = ("uri", "size")
VALUES = [("a", 1), ("b", 2), ("c", 3)]


def run(
    transform,
    values=None,
    known=frozenset(NAMES),
    clock=float,
    until=1.0,
    skipped="skipped",
    look=True,
    worker=None,
):
    """What a loop ended with, what it took, and what it copied on the way."""
    taken, copied = [], []

    def copy(row):
        copied.append(row)
        return dict(row)

    values = iter(VALUES if values is None else values)
    loop = transform_loop(NAMES)
    values = ((*each, look) for each in values)
    end = loop(values, transform, taken.append, copy, skipped, known, clock, until, worker)
    return end, taken, copied


def test_a_result_that_nobody_has_is_not_copied():
    """Be it the row, or a new dict."""
    for transform in (lambda row: row, dict, lambda row: {**row}):
        end, taken, copied = run(transform)
        assert end is END
        assert taken == [{"uri": "a", "size": 1}, {"uri": "b", "size": 2}, {"uri": "c", "size": 3}]
        assert copied == []


def test_a_result_that_somebody_has_is_copied():
    """It may be changed later, so what happens to it must not matter."""
    kept = []

    def keep(row):
        kept.append(row)
        return row

    _, taken, copied = run(keep)
    assert [id(row) for row in copied] == [id(row) for row in kept]
    for row in kept:
        row.clear()
    assert taken[2] == {"uri": "c", "size": 3}

    class Holder:
        def __call__(self, row):
            self.row = row  # the last one only
            return row

    assert len(run(Holder())[2]) == 3


def test_one_dict_returned_again_and_again_keeps_its_values():
    """Each row has those of its own time."""
    shared = {}

    def reuse(row):
        shared.update(row)
        return shared

    assert [row["uri"] for row in run(reuse)[1]] == ["a", "b", "c"]


def test_a_dict_held_by_the_frame_of_a_generator_is_copied():
    """A paused frame holds its variables."""

    def rows():
        row = {}
        while True:
            row["uri"] = yield row

    generator = rows()
    next(generator)
    assert [row["uri"] for row in run(lambda row: generator.send(row["uri"]))[1]] == ["a", "b", "c"]


def test_the_loop_goes_on_behind_an_exception():
    """The iterator stays where it is."""
    values = iter(VALUES)

    def fail(row):
        if row["size"] == 1:
            raise ValueError("no")
        return row

    with pytest.raises(ValueError, match="no"):
        run(fail, values)
    assert [row["uri"] for row in run(fail, values)[1]] == ["b", "c"]


def test_other_results_end_the_loop_with_their_row():
    """None is skipped in the loop; a list, or a row with another key, is given back."""
    values = iter(VALUES)
    end, taken, _ = run(lambda row: None if row["size"] == 1 else [row], values)
    assert (end, taken) == ([{"uri": "b", "size": 2}], ["skipped"])
    end, taken, _ = run(lambda row: {"uri": row["uri"], "more": 1}, values)
    assert (end, taken) == ({"uri": "c", "more": 1}, [])


def test_the_loop_pauses_after_the_row_that_reached_its_time():
    """So a slow row is followed by a look at the sink."""
    now = iter([0.1, 0.2, 1.5, 1.6])
    end, taken, _ = run(lambda row: row, VALUES * 2, clock=lambda: next(now))
    assert end is PAUSE
    assert len(taken) == 3


def run_columns(transform, *, same=(0,), made=("new",), nested=(), is_fan_out=False, look=True):
    """What a column loop ended with, and what it took."""
    outcomes, counts, columns = [], [], [[] for _ in made]
    loop = column_loop(NAMES, same, made, nested, is_fan_out=is_fan_out)
    values = iter([(*each, look) for each in VALUES])
    freezes = [list for _ in nested]
    worker = Worker()
    given = values, transform, outcomes, "taken", columns, counts, "skipped", freezes
    end = loop(*given, float, 0.0, worker)
    return end, outcomes, columns, counts


def test_a_column_loop_takes_new_values_alone():
    """None is skipped, and has a place among the values."""
    end, outcomes, columns, _ = run_columns(
        lambda row: None if row["size"] == 2 else {"uri": row["uri"], "new": row["size"]},
        look=False,
    )
    assert end is END
    assert outcomes == ["taken", "skipped", "taken"]
    assert columns == [[1, None, 3]]


@pytest.mark.parametrize("width", [2, 40])
def test_a_column_loop_gives_rows_that_are_dicts_in_the_order_of_their_columns(width):
    """Wide ones are made in another way."""
    names = tuple(f"c{i}" for i in range(width))
    seen = []

    def see(row):
        seen.append(dict(row))
        row["c0"] = row["new"] = 0  # no later row has it
        return row

    rows = [tuple(range(n, n + width)) for n in (10**6, 2 * 10**6)]
    columns = [[], []]
    loop = column_loop(names, tuple(range(1, width)), ("c0", "new"), (), is_fan_out=False)
    values = iter([(*row, True) for row in rows])
    given = values, see, [], "taken", columns, [], None, [], float, 1.0, Worker()
    assert loop(*given) is END
    assert [list(row) for row in seen] == [list(names)] * 2
    assert [tuple(row.values()) for row in seen] == rows
    assert columns == [[0, 0], [0, 0]]


class EqualText(str):
    """A text that equals another one and is not the same object."""

    __slots__ = ()


@pytest.mark.parametrize(
    "result",
    [
        {"uri": EqualText("a"), "new": 1},
        {"uri": "a"},
        {"uri": "a", "other": 1},
        {"uri": "a", "new": 1, "more": 1},
        OrderedDict(uri="a", new=1),
        "text",
    ],
)
def test_a_column_loop_gives_back_what_is_not_as_expected(result):
    """A missing key, another key, another object, or no dict at all."""
    end, outcomes, _, _ = run_columns(lambda _: result)
    assert end is result
    assert outcomes == []


def test_a_column_loop_takes_lists_as_they_are_now():
    """The transform may change them afterwards."""
    shared = []

    def reuse(row):
        shared[:] = [row["size"]]
        return {"uri": row["uri"], "new": shared}

    assert run_columns(reuse, nested=(0,), look=False)[2] == [[[1], [2], [3]]]


def test_a_column_loop_takes_several_results_of_a_row():
    """And stops at the first that is not as expected, with those that come behind it."""

    def parts(row):
        for part in range(row["size"]):
            yield {"uri": row["uri"], "new": part}
        if row["size"] == 3:
            yield "odd"
            yield "rest"

    odd, outcomes, columns, counts = run_columns(
        lambda row: parts(row) if row["size"] != 2 else None, is_fan_out=True, look=False
    )
    assert odd is PAUSE  # it looks after each row
    assert (outcomes, columns, counts) == (["taken"], [[0]], [1])
    loop = column_loop(NAMES, (0,), ("new",), (), is_fan_out=True)
    columns, counts = [[]], []
    values = iter([(*each, False) for each in VALUES])
    given = values, parts, [], "taken", columns, counts, "skipped", [], float, 1.0, Worker()
    odd = loop(*given)
    assert isinstance(odd, OddPart)
    assert (odd.num_before, odd.part, list(odd.rest)) == (3, "odd", ["rest"])
    assert (columns, counts) == ([[0, 0, 1, 0, 1, 2]], [1, 2])


@pytest.mark.parametrize("is_columns", [False, True])
def test_a_call_is_followed_by_a_look_at_the_clock(is_columns):
    """Clients of etlkit say that they make one; rows between two looks are only those without."""
    worker, values = Worker(), iter([(*each, False) for each in VALUES])

    def call(row):
        if row["size"] == 2:
            worker.begin_call()
        return row

    if is_columns:
        outcomes = []
        loop = column_loop(NAMES, (0, 1), (), (), is_fan_out=False)
        end = loop(values, call, outcomes, "taken", [], [], None, [], float, 0.0, worker)
    else:
        outcomes = []
        given = values, call, outcomes.append, dict, None, frozenset(NAMES), float, 0.0, worker
        end = transform_loop(NAMES)(*given)
    assert end is PAUSE
    assert len(outcomes) == 2


def test_no_name_becomes_code():
    """Names come from tables of others."""
    names = ("a'b", '"', "}); import os; ({", "\n", "{x}", "v0", "row")
    made = row_maker(names)(*[[n] for n in range(len(names))])
    assert made == [dict(zip(names, range(len(names)), strict=True))]
    taken = []
    values = iter([(*range(len(names)), True)])
    transform_loop(names)(values, dict, taken.append, dict, None, frozenset(names), float, 1.0)
    assert taken == made
    columns, values = [[]], iter([(*range(len(names)), True)])
    loop = column_loop(names, tuple(range(1, len(names))), (names[0],), (), is_fan_out=False)
    given = values, dict, [], "taken", columns, [], None, [], float, 1.0, Worker()
    assert (loop(*given), columns) == (END, [[0]])
    assert same_values(names, len(names))(made, [[n] for n in range(len(names))])


def test_the_same_values_are_the_same_objects():
    """1, True and 1.0 are equal, and stored differently."""
    one = [10**9]
    assert same_values(("n",), 1)([{"n": one[0]}], [one])
    for other in (10**9 + 0.0, int("1000000000")):
        assert not same_values(("n",), 1)([{"n": other}], [one])
    assert not same_values(("n",), 2)([{"n": one[0]}], [one])
    with pytest.raises(KeyError):
        same_values(("n",), 1)([{"m": 1}], [one])
