import subprocess
import sys
import threading

import pytest

from etlkit.files.throttle import Throttle

BLOCK = 10


class Stream:
    """Gives blocks without end and counts how many were read."""

    def __init__(self):
        self.blocks = 0

    def read(self, size):
        self.blocks += 1
        return b"x" * size


def test_a_reader_stays_two_blocks_ahead_and_is_released_at_the_end():
    """Without a consumer the reader waits; each request lets it read one more block."""
    stream, reads = Stream(), []
    throttle = Throttle(stream, BLOCK)

    def read_ahead():
        while data := throttle.read(BLOCK):
            reads.append(data)
            progress.release()

    progress = threading.Semaphore(0)
    thread = threading.Thread(target=read_ahead)
    thread.start()
    for _ in range(2):
        assert progress.acquire(timeout=10)
    assert not progress.acquire(timeout=0.05)
    with throttle.wanted():
        assert progress.acquire(timeout=10)
    throttle.end()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert len(reads) <= 4


def test_a_consumer_that_needs_more_gets_it():
    """Else both would wait for each other, e.g. in a file of empty lines."""
    throttle = Throttle(Stream(), BLOCK)
    with throttle.wanted():
        for _ in range(4):
            assert throttle.read(BLOCK) == b"x" * BLOCK
    throttle.end()
    assert throttle.read(BLOCK) == b""


CODE = """
import atexit, sys, threading
atexit.register(lambda: print("not given back:", len(throttle._lent)))  # runs last
from etlkit import CsvSource
from etlkit.files import throttle
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.testing.contract_job import contract_job

with open(sys.argv[1], "w") as file:
    file.write("a,b\\n" + f"1,{'x' * 60}\\n" * 300_000)
ready = threading.Event()

def read():
    with Run(RunRequest("abandoned", Settings())) as run:
        batches = CsvSource(sys.argv[1], encoding=sys.argv[2]).open(contract_job(), run).batches()
        next(batches)
        ready.set()
        threading.Event().wait()

threading.Thread(target=read, daemon=True).start()
assert ready.wait(60)
sys.exit(3)
"""


@pytest.mark.parametrize("encoding", ["utf-8", "cp932"])
def test_a_process_ends_although_a_file_is_half_read(tmp_path, encoding):
    """Before the interpreter ends, pyarrow's threads have given back all that they read ahead."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "a.csv"), encoding],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert done.stdout == b"not given back: 0\n"
