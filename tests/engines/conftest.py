from tests.faults.conftest import bq, fault_server, run

__all__ = ["bq", "fault_server", "run"]
