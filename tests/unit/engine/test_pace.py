from etlkit.engine.pace import Pace, Took


def took(seconds, thread_cpu_s=0.0, process_cpu_s=0.0):
    made = Took()
    made.seconds, made.thread_cpu_s, made.process_cpu_s = seconds, thread_cpu_s, process_cpu_s
    return made


def test_fast_rows_come_in_larger_and_larger_tasks():
    """Up to a bound: rows behind a slow one wait for it."""
    pace = Pace(4)
    sizes = []
    for _ in range(500):
        sizes.append(pace.task_rows)
        pace.add(pace.task_rows, took(0.00001))
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert sizes[-1] == 512


def test_one_slow_row_makes_tasks_of_one_row():
    """Whether it waited, or was a call."""
    pace = Pace(1)
    for _ in range(100):
        pace.add(64, took(0.0001))
    assert pace.task_rows == 512
    pace.add(64, took(0.05))
    assert pace.task_rows == 1


def test_tasks_grow_again_soon_after_a_single_slow_row():
    """Half as large as before; where slow rows come again and again, they stay small."""
    pace = Pace(4)
    for _ in range(100):
        pace.add(500, took(0.0001))
    sizes = []
    for _ in range(12):
        pace.add(1, took(0.05))
        assert pace.task_rows == 1
        for _ in range(8):
            assert pace.task_rows == 1
            pace.add(1, took(0.00001))
        sizes.append(pace.task_rows)
    assert sizes[0] == 256 - 64 // 2 * 3
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


def test_several_slow_tasks_at_once_are_one():
    """Those that were under way when the first was slow say nothing new."""
    pace = Pace(2)
    for _ in range(100):
        pace.add(500, took(0.0001))
    for _ in range(2):
        pace.add(1, took(0.05))
    for _ in range(4):
        pace.add(1, took(0.00001))
    assert 1 < pace.task_rows < 512


def test_waiting_for_the_interpreter_is_not_slow():
    """The process was busy all the time, with rows of other workers; a call leaves it idle."""
    assert took(0.04, thread_cpu_s=0.00001, process_cpu_s=0.04).is_fast(1)
    assert not took(0.04, thread_cpu_s=0.00001, process_cpu_s=0.001).is_fast(1)
    assert not took(0.04, thread_cpu_s=0.02, process_cpu_s=0.04).is_fast(1)
    assert not took(2.0, thread_cpu_s=0.00001, process_cpu_s=2.0).is_fast(1)
