"""`TellingSink`: a `MemorySink` that tells which rows are durable, so that its runs have a journal."""

from etlkit.testing import MemorySink
from etlkit.testing.memory import MemoryWriter


class _Telling(MemoryWriter):
    notify = staticmethod(lambda _: None)

    def on_durable(self, notify):
        self.notify = notify

    def write(self, batch):
        super().write(batch)
        self.notify(batch.column(0))


class TellingSink(MemorySink):
    """In memory every row is durable as soon as it is written."""

    def open(self, job, run, reader):
        """Open it."""
        writer = super().open(job, run, reader)
        writer.__class__ = _Telling
        return writer
