import pytest

from etlkit.rows.row_code import END, PAUSE, row_maker, same_values, transform_loop

NAMES = ("uri", "size")
VALUES = [("a", 1), ("b", 2), ("c", 3)]


def run(
    transform,
    values=None,
    num_keys=2,
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
    end = loop(values, transform, taken.append, copy, skipped, num_keys, clock, until, worker)
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
    """None is skipped in the loop; a list, or a row of too many keys, is given back."""
    values = iter(VALUES)
    end, taken, _ = run(lambda row: None if row["size"] == 1 else [row], values)
    assert (end, taken) == ([{"uri": "b", "size": 2}], ["skipped"])
    end, taken, _ = run(lambda row: {**row, "more": 1}, values)
    assert (end, taken) == ({"uri": "c", "size": 3, "more": 1}, [])


def test_the_loop_pauses_after_the_row_that_reached_its_time():
    """So a slow row is followed by a look at the sink."""
    now = iter([0.1, 0.2, 1.5, 1.6])
    end, taken, _ = run(lambda row: row, VALUES * 2, clock=lambda: next(now))
    assert end is PAUSE
    assert len(taken) == 3


def test_no_name_becomes_code():
    """Names come from tables of others."""
    names = ("a'b", '"', "}); import os; ({", "\n", "{x}", "v0", "row")
    made = row_maker(names)(*[[n] for n in range(len(names))])
    assert made == [dict(zip(names, range(len(names)), strict=True))]
    taken = []
    values = iter([(*range(len(names)), True)])
    transform_loop(names)(values, dict, taken.append, dict, None, len(names), float, 1.0)
    assert taken == made
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
