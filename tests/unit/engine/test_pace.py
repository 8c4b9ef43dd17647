from etlkit.engine.pace import Pace, Took


def took(seconds, thread_cpu_s=0.0, process_cpu_s=0.0):
    return Took(0.0, thread_cpu_s, process_cpu_s, seconds)


def test_fast_rows_come_in_larger_and_larger_tasks():
    """Up to a bound: rows behind a slow one wait for it."""
    pace = Pace(4)
    sizes = []
    for _ in range(500):
        sizes.append(pace.task_rows)
        pace.add(pace.task_rows, took(0.00001))
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert sizes[-1] == 256


def test_one_slow_row_makes_tasks_of_one_row():
    """Whether it waited, or was a call."""
    pace = Pace(1)
    for _ in range(100):
        pace.add(64, took(0.0001))
    assert pace.task_rows == 256
    pace.add(64, took(0.05))
    assert pace.task_rows == 1


def test_waiting_for_the_interpreter_is_not_slow():
    """The process was busy all the time, with rows of other workers; a call leaves it idle."""
    assert took(0.04, thread_cpu_s=0.00001, process_cpu_s=0.04).is_fast(1)
    assert not took(0.04, thread_cpu_s=0.00001, process_cpu_s=0.001).is_fast(1)
    assert not took(0.04, thread_cpu_s=0.02, process_cpu_s=0.04).is_fast(1)
    assert not took(2.0, thread_cpu_s=0.00001, process_cpu_s=2.0).is_fast(1)
