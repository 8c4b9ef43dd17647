"""How a run is stopped: from its own thread by a signal, and from another one."""

import signal
import threading

import pytest

from etlkit.api.run import Interrupted, Run, RunRequest


@pytest.fixture
def run():
    return Run(RunRequest("job"))


def elsewhere(call):
    """Call something on another thread."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_before_rows_are_in_flight_a_signal_ends_the_run_at_once(run):
    """There is nothing to finish."""
    with pytest.raises(Interrupted) as caught:
        run.request_stop(signal.SIGTERM)
    assert (caught.value.signum, run.stop_signal) == (signal.SIGTERM, signal.SIGTERM)
    run.check_interrupted()


def test_a_signal_waits_for_no_other_thread(run):
    """A handler that took the lock would wait for ever if its own thread had to release it."""
    with run._stop_lock, pytest.raises(Interrupted):
        run.request_stop(signal.SIGTERM)
    run.on_stop(lambda: None)
    with run._stop_lock:
        run.request_stop(signal.SIGINT)
    assert run.stop_signal == signal.SIGINT


def test_later_it_is_asked_to_finish_them(run):
    """Whoever asks, and on whatever thread."""
    asked = []
    run.on_stop(lambda: asked.append("rows"))
    run.on_interrupt(lambda: asked.append("jobs"))
    run.request_stop(signal.SIGINT)
    elsewhere(lambda: run.request_stop(signal.SIGTERM))
    assert asked == ["rows", "rows"]
    run.check_interrupted()


def test_another_thread_cancels_what_the_run_waits_for(run):
    """The run's own thread is interrupted once, as by a signal: its end can still be recorded."""
    cancelled = []
    run.on_interrupt(lambda: cancelled.append(run.stop_signal))
    elsewhere(lambda: run.request_stop(signal.SIGTERM))
    assert cancelled == [signal.SIGTERM]
    with pytest.raises(Interrupted):
        run.check_interrupted()
    run.check_interrupted()


def test_rows_that_begin_to_flow_are_told_by_the_signal(run):
    """Then the pipeline ends the run, and nothing else has to."""
    elsewhere(lambda: run.request_stop(signal.SIGTERM))
    run.on_stop(lambda: None)
    run.check_interrupted()
    assert run.stop_signal == signal.SIGTERM
