"""For your own tests: run a transform on fake rows; sources and sinks in memory; a fault server.

```python
from etlkit.testing import run_transform

def test_adds_a_greeting():
    assert run_transform(Etl, [{"name": "Ada"}]) == [{"name": "Ada", "greeting": "hello Ada"}]
```

Names are loaded when they are first used: importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etlkit.calls.clock import no_sleep
    from etlkit.engine.trocco import load_etl
    from etlkit.testing.datamart_run import datamart_rows
    from etlkit.testing.fake_http import FakeHttp, FakeRequest
    from etlkit.testing.fake_vision import FakeVision
    from etlkit.testing.fault_plan import FaultPlan
    from etlkit.testing.fault_server import FaultServer
    from etlkit.testing.frozen_time import freeze_time
    from etlkit.testing.memory import MemorySink, MemorySource
    from etlkit.testing.row_comparison import assert_rows
    from etlkit.testing.row_fakes import fake_rows, sample_rows
    from etlkit.testing.sink_contract import SinkContract
    from etlkit.testing.source_contract import SourceContract
    from etlkit.testing.transforms import run_transform

_HOMES = {
    "FakeHttp": "etlkit.testing.fake_http",
    "FakeRequest": "etlkit.testing.fake_http",
    "FakeVision": "etlkit.testing.fake_vision",
    "FaultPlan": "etlkit.testing.fault_plan",
    "FaultServer": "etlkit.testing.fault_server",
    "MemorySink": "etlkit.testing.memory",
    "MemorySource": "etlkit.testing.memory",
    "SinkContract": "etlkit.testing.sink_contract",
    "SourceContract": "etlkit.testing.source_contract",
    "assert_rows": "etlkit.testing.row_comparison",
    "datamart_rows": "etlkit.testing.datamart_run",
    "fake_rows": "etlkit.testing.row_fakes",
    "freeze_time": "etlkit.testing.frozen_time",
    "load_etl": "etlkit.engine.trocco",
    "no_sleep": "etlkit.calls.clock",
    "run_transform": "etlkit.testing.transforms",
    "sample_rows": "etlkit.testing.row_fakes",
}

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
    "freeze_time",
    "load_etl",
    "no_sleep",
    "run_transform",
    "sample_rows",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'etlkit.testing' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
