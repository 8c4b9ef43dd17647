"""Slots: a limit for each workflow, shared by all below it."""

from etlkit.workflow.slots import Slots


class Line:
    """Those who were given a slot, in order, and their tickets."""

    def __init__(self):
        self.started = []
        self.tickets = {}

    def ask(self, slots, name):
        self.tickets[name] = slots.request(lambda _ticket: self.started.append(name))

    def leave(self, slots, name):
        slots.release(self.tickets[name])


def test_first_come_first_served():
    """A free slot is given at once, and a slot that is given back to the first who waits."""
    slots, line = Slots(2), Line()
    for name in "abcd":
        line.ask(slots, name)
    assert line.started == ["a", "b"]
    line.leave(slots, "b")
    assert line.started == ["a", "b", "c"]
    line.leave(slots, "a")
    assert line.started == ["a", "b", "c", "d"]


def test_a_child_counts_for_all_around_it():
    """Its own limit holds beside theirs, and one that is full keeps nobody else waiting."""
    outer, line = Slots(3), Line()
    inner = Slots(1, outer)
    line.ask(inner, "in1")
    line.ask(inner, "in2")
    line.ask(outer, "out1")
    line.ask(outer, "out2")
    line.ask(outer, "out3")
    assert line.started == ["in1", "out1", "out2"]
    line.leave(inner, "in1")
    assert line.started[3:] == ["in2"]
    line.leave(outer, "out1")
    assert line.started[4:] == ["out3"]


def test_a_full_parent_keeps_its_children_waiting():
    """Whatever their own limit is."""
    outer, line = Slots(1), Line()
    inner = Slots(2, Slots(2, outer))
    for name in "ab":
        line.ask(inner, name)
    assert line.started == ["a"]
    line.leave(inner, "a")
    assert line.started == ["a", "b"]


def test_who_leaves_the_queue_takes_no_slot():
    """There is time as long as the slot was not given."""
    slots, line = Slots(1), Line()
    for name in "abc":
        line.ask(slots, name)
    assert slots.withdraw(line.tickets["b"])
    assert not slots.withdraw(line.tickets["a"])
    line.leave(slots, "a")
    assert line.started == ["a", "c"]
