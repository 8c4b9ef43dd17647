import threading

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
