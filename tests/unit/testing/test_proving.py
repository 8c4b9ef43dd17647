"""The parts of `etlkit prove` that decide: what happens to a run, who paid twice, what is wrong."""

import pytest

from etlkit.testing.fault_plan import OK, Fault
from etlkit.testing.proving.bill import Bill
from etlkit.testing.proving.comparison import Difference, compare, differing_columns
from etlkit.testing.proving.scenario import MAX_FAULTS_OF_A_CALL, Scenario, Undisturbed, scenario

NEEDS = Undisturbed(calls=300, requests=40, appends=12, seconds=5.0)
NO_CALLS = Undisturbed(calls=0, requests=40, appends=12, seconds=5.0)


def test_a_seed_says_all_that_happens():
    """The same faults at the same calls, whenever it is asked; other seeds do something else."""
    for seed in range(30):
        one, again = scenario(seed, NEEDS), scenario(seed, NEEDS)
        assert one == again
        faults = [one.fault(n, f"row {n}", 0) for n in range(1, 301)]
        assert faults == [again.fault(n, f"row {n}", 0) for n in range(1, 301)]
    assert len({scenario(seed, NEEDS).attempts for seed in range(30)}) > 20


def test_seeds_in_a_row_go_through_all_weathers():
    """So ten runs are not ten storms; a job without calls has kills and cuts."""
    weathers = [scenario(seed, NEEDS).weather for seed in range(14)]
    assert weathers[:7] == weathers[7:]
    assert len(set(weathers)) == 7
    assert {scenario(seed, NO_CALLS).weather for seed in range(4)} == {"kills only", "cuts"}


def test_all_kinds_of_kills_and_cuts_come_within_the_run():
    """A kill at a call or request that never comes would prove nothing."""
    most = {"call": 300, "request": 40, "append": 12}
    made = [scenario(seed, NEEDS) for seed in range(200)]
    kills = [a.kill for each in made for a in each.attempts if a.kill is not None]
    assert {kill.at for kill in kills} == {"call", "request", "append", "time"}
    assert all(1 <= kill.number <= most[kill.at] for kill in kills if kill.at != "time")
    assert all(0 <= kill.seconds < 5.0 for kill in kills if kill.at == "time")
    assert all(each.attempts[-1].kill is None for each in made)  # the last one may end
    cuts = [cut for each in made for a in each.attempts for cut in a.cuts]
    assert {cut.over for cut in cuts} == {"rest", "grpc"}
    assert {cut.is_answered for cut in cuts} == {True, False}
    of_no_calls = [scenario(seed, NO_CALLS) for seed in range(100)]
    kinds = {a.kill.at for each in of_no_calls for a in each.attempts if a.kill is not None}
    assert kinds == {"request", "append", "time"}


def stormy() -> Scenario:
    return next(s for s in (scenario(n, NEEDS) for n in range(50)) if s.weather == "429 storms")


def test_a_storm_refuses_one_call_after_the_other():
    """With all ways to say when to come back, and with none."""
    found = stormy()
    assert len(found.storm) >= 5
    faults = [found.fault(found.storm.start, f"row {n}", 0) for n in range(100)]
    assert {each.status for each in faults} == {429}
    hints = {(each.retry_after_s, each.retry_after_date_s, each.retry_info_s) for each in faults}
    assert hints == {(0.2, None, None), (None, 0.2, None), (None, None, 0.2), (None, None, None)}


def test_a_call_that_failed_often_is_answered():
    """A service that never answers proves nothing."""
    found = stormy()
    at = found.storm.start
    assert found.fault(at, "row", MAX_FAULTS_OF_A_CALL - 1) != OK
    assert found.fault(at, "row", MAX_FAULTS_OF_A_CALL) == OK


def test_slow_answers_come_late_and_others_at_once():
    """By the key of a call, not by chance."""
    slow = next(s for s in (scenario(n, NEEDS) for n in range(50)) if s.weather == "slow")
    delays = [slow.delay_s(f"row {n}", 0) for n in range(50)]
    assert len(set(delays)) == 50
    assert 0 <= min(delays) < max(delays) < 0.25
    assert delays == [slow.delay_s(f"row {n}", 0) for n in range(50)]
    assert stormy().delay_s("row 1", 0) == 0.0


def lost_once(key: str) -> Scenario:
    """A scenario in which the answer to the first call for a key is lost."""

    class Lossy(Scenario):
        def fault(self, number, asked, failures):
            return Fault.parse("disconnect") if asked == key and not failures else OK

    made = scenario(0, NEEDS)
    return Lossy(**{name: getattr(made, name) for name in made.__dataclass_fields__})


def test_who_pays_twice_and_why():
    """A lost answer, a killed process, a job that asks twice, one that did so before any fault."""
    bill = Bill()
    bill.begin(lost_once("lost"), {"twice by the job": 2})

    def pay(*keys):
        bill.paid(bill.arrive(keys))

    seen = []
    bill.begin_process(1, lambda number, how: seen.append((number, how)))
    pay("lost")
    pay("lost")
    pay("killed")
    pay("twice by the job")
    pay("twice by the job")
    bill.begin_process(2, None)
    pay("killed")
    pay("asked again")
    pay("asked again")
    charges = bill.charges
    assert seen[:2] == [(1, "arrived"), (1, "answered")]
    assert (charges.calls, charges.lost) == (8, 1)
    assert charges.repaid_after_loss == 1
    assert charges.repaid_after_kill == {1: 1}
    assert charges.repaid_alike == 1
    assert charges.faults == {"disconnect": 1}
    bill.begin(None, {})
    assert bill.charges.calls == 0


def test_images_of_a_call_are_paid_for_one_by_one():
    """A packed call that is repeated for one image repeats only that one."""
    bill = Bill()
    bill.begin(None, {})
    bill.begin_process(1, None)
    bill.paid(bill.arrive(("cat", "dog")))
    bill.paid(bill.arrive(("dog",)))
    assert bill.charges.paid == {"cat": 1, "dog": 2}
    assert bill.charges.repaid_alike == 1


def test_an_answer_of_a_killed_process_tells_nobody():
    """The service has worked; the process that comes after it is not told of a call of another."""
    bill = Bill()
    bill.begin(None, {})
    bill.begin_process(1, None)
    late = bill.arrive(("row",))
    told = []
    bill.begin_process(2, lambda *what: told.append(what))
    bill.paid(late)
    assert told == []
    assert bill.charges.paid == {"row": 1}


ROWS = [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}, {"n": 2, "s": "b"}]


@pytest.mark.parametrize(
    ("rows", "lost", "doubled", "different"),
    [
        (ROWS[::-1], 0, 0, 0),
        (ROWS[:2], 1, 0, 0),
        ([*ROWS, ROWS[0]], 0, 1, 0),
        ([*ROWS[:2], {"n": 2, "s": "B"}], 0, 0, 1),
        ([*ROWS, {"n": 9, "s": "z"}], 0, 0, 1),
        ([ROWS[0], ROWS[0], ROWS[1]], 1, 1, 0),
        ([], 3, 0, 0),
    ],
)
def test_what_is_wrong_with_a_table(rows, lost, doubled, different):
    """Rows are a bag: no order, no key, and some of them are there twice."""
    found = compare(rows, ROWS)
    assert (found.lost, found.doubled, found.different) == (lost, doubled, different)
    assert bool(found) == bool(found.examples) == (rows[::-1] != ROWS)


def test_a_column_may_be_left_out_and_examples_are_short():
    """A time of loading is another at each run; a long value would fill the terminal."""
    one = [{"n": 1, "at": 10, "none": None}]
    assert compare(one, [{"n": 1, "at": 11}], ignored={"at"}) == Difference()
    long = [{"n": "x" * 1000}] * 1 + [{"n": str(n)} for n in range(10)]
    found = compare([], long)
    assert len(found.examples) == 3
    assert all(len(example) < 200 for example in found.examples)


def test_columns_that_differ_between_two_runs_are_found():
    """Without faults: what differs then is the job's own chance, not a fault of the run."""
    rows = [{"n": n, "at": n * 10, "s": "a"} for n in range(5)]
    assert differing_columns(rows, rows[::-1]) == []
    assert differing_columns(rows, [{**row, "at": 7} for row in rows]) == ["at"]
    swapped = [{**row, "at": 40 - row["at"]} for row in rows]  # the same values in other rows
    assert differing_columns(rows, swapped) == ["at"]
    assert differing_columns(rows, rows[:-1]) is None
