"""Signals that end a command, while it waits for them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

WAITING = """
import sys
from etlkit.cli.stop_signals import StopSignals
for _ in range(30):
    stop = StopSignals()
    print("waits", flush=True)
    while not stop.wait(0.0):
        pass
print("stopped", stop.wait(60), flush=True)
sys.stdin.read()
"""
"""Looks again and again, so that many signals come in the middle of `wait`.

In two of five, the `wait` of an `Event` holds its lock then.
"""


@pytest.mark.skipif(os.name != "posix", reason="signals between processes")
def test_a_signal_in_the_middle_of_a_wait_ends_it():
    """A handler that took the lock of what its own thread waits for would hang for ever."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        for _ in range(30):
            assert process.stdout.readline() == "waits\n"
            process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopped True\n"
        for _ in range(100):  # more signals do no harm
            process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
