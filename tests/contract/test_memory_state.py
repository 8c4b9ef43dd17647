"""What is remembered of workflows in memory keeps the contract of the ledger."""

from etlkit.testing import MemorySink
from etlkit.testing.memory_state import MemoryWorkflows
from etlkit.testing.workflow_state_contract import WorkflowStateContract


class TestMemoryWorkflowState(WorkflowStateContract):
    def setup_method(self):
        self.workflows = MemoryWorkflows()
        self.sink = MemorySink()

    def open_state(self, *, resume=None, is_runnable_concurrently=False):
        return self.workflows.open(
            "contract", resume=resume, is_runnable_concurrently=is_runnable_concurrently
        )

    def kill(self, state):
        state.kill()

    def make_sink(self):
        return self.sink
