"""Workers of a service: they run as long as it does."""

import gc
import json

import pytest

from etlkit import EtlBase, TransferJob
from etlkit.engine.task import Task
from etlkit.rows.columns import parse_schema
from etlkit.serving.remote_function import RemoteFunction
from etlkit.testing import MemorySink, MemorySource


class Shout(EtlBase):
    def transform_row(self, row):
        return {"loud": row["word"].upper()}


class ShoutAsync(EtlBase):
    async def transform_row(self, row):
        return {"loud": row["word"].upper()}


def num_tasks() -> int:
    """How many tasks somebody holds."""
    gc.collect()
    return sum(type(each) is Task for each in gc.get_objects())


@pytest.mark.parametrize("etl", [Shout, ShoutAsync])
def test_nothing_is_left_of_rows_that_are_answered(etl, young_heap):
    """A service may answer millions of them."""
    job = TransferJob(source=MemorySource([]), transform=etl, sink=MemorySink("replace"))
    function = RemoteFunction(job, parse_schema({"word": "STRING"}))
    try:
        for number in range(50):
            calls = [[f"word {number}-{row}"] for row in range(4)]
            batch = function.start(json.dumps({"requestId": str(number), "calls": calls}).encode())
            batch.wait()
            replies = json.loads(function.answer(batch))["replies"]
            assert [each["value"]["loud"] for each in replies] == [w.upper() for (w,) in calls]
        assert num_tasks() < 20
    finally:
        function.close(5)
