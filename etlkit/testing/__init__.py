"""For your own tests: run a transform on fake rows; sources and sinks in memory; a fault server.

```python
from etlkit.testing import run_transform

def test_adds_a_greeting():
    assert run_transform(Etl, [{"name": "Ada"}]) == [{"name": "Ada", "greeting": "hello Ada"}]
```
"""

from etlkit.calls.clock import no_sleep
from etlkit.engine.trocco import load_etl
from etlkit.testing.assert_rows import assert_rows
from etlkit.testing.datamart_rows import datamart_rows
from etlkit.testing.fake_http import FakeHttp, FakeRequest
from etlkit.testing.fake_rows import fake_rows, sample_rows
from etlkit.testing.fake_vision import FakeVision
from etlkit.testing.fault_plan import FaultPlan
from etlkit.testing.fault_server import FaultServer
from etlkit.testing.memory import MemorySink, MemorySource
from etlkit.testing.sink_contract import SinkContract
from etlkit.testing.source_contract import SourceContract
from etlkit.testing.transforms import run_transform

__all__ = [
    "FakeHttp",
    "FakeRequest",
    "FakeVision",
    "FaultPlan",
    "FaultServer",
    "MemorySink",
    "MemorySource",
    "SinkContract",
    "SourceContract",
    "assert_rows",
    "datamart_rows",
    "fake_rows",
    "load_etl",
    "no_sleep",
    "run_transform",
    "sample_rows",
]
