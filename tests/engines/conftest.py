from tests.faults.conftest import bq, fault_server, run, until

__all__ = ["bq", "fault_server", "run", "until"]
