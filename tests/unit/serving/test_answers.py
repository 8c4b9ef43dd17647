"""What the service remembers is bounded, and a row that nobody waits for is not begun."""

import pytest

from etlkit.serving.answers import Answers, BusyError


def calls(*names):
    return [(name.encode(), [name], 10) for name in names]


def test_replies_are_bounded_in_rows_and_bytes():
    """The one that was used least lately goes first; errors to repeat are not kept at all."""
    answers = Answers(2, 1000, 10, 1000)

    def ask(name, reply=b"x", *, is_final=True):
        (row,), new = answers.claim(calls(name), lambda: None)
        for pending in new:
            answers.begin(pending)
            answers.finish(pending, reply, is_final=is_final)
        return bool(new), row if isinstance(row, bytes) else row.reply

    assert [ask("a"), ask("b"), ask("a")] == [(True, b"x"), (True, b"x"), (False, b"x")]
    assert ask("c") == (True, b"x")
    assert (ask("a")[0], ask("b")[0]) == (False, True)
    assert [ask("down", is_final=False)[0] for _ in range(2)] == [True, True]
    ask("large", b"x" * 900)
    assert len(answers) == 0
    assert (answers.num_waiting, answers.num_at_work) == (0, 0)


def test_rows_nobody_waits_for_are_not_begun():
    """At the deadline a request leaves; what another one waits for goes on."""
    answers = Answers(10, 1000, 10, 1000)
    told = []
    one, two = (lambda: told.append(1)), (lambda: told.append(2))
    (a, b), _ = answers.claim(calls("a", "b"), one)
    (b_again,), new = answers.claim(calls("b"), two)
    assert (b_again is b, new) == (True, [])
    answers.leave([a, b], one)
    assert (answers.begin(a), answers.begin(b), answers.begin(b)) == (False, True, False)
    answers.finish(b, b"1", is_final=True)
    assert (told, b.reply, answers.num_waiting) == ([2], b"1", 0)
    (again,), new = answers.claim(calls("a"), one)
    assert new == [again]


def test_known_rows_need_no_room():
    """Only new rows count against the bounds; a request larger than them is taken when none waits."""
    answers = Answers(10, 1000, 2, 1000)
    answers.claim(calls("a", "b", "c"), lambda: None)
    with pytest.raises(BusyError):
        answers.claim(calls("a", "d"), lambda: None)
    assert answers.claim(calls("c", "a"), lambda: None)[1] == []
    assert answers.num_waiting == 3
    small = Answers(10, 1000, 10, 15)
    small.claim(calls("a"), lambda: None)
    with pytest.raises(BusyError):
        small.claim(calls("b"), lambda: None)
