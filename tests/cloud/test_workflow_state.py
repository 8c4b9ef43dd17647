"""What the ledger remembers of workflows keeps the same contract as the memory in the tests."""

from contextlib import ExitStack

import pytest

from etlkit import BigQuerySink
from etlkit.api.run import RunRequest
from etlkit.bigquery.runs.workflow_state import open_workflow_state
from etlkit.testing.workflow_state_contract import WorkflowStateContract


class TestBigQueryWorkflowState(WorkflowStateContract):
    @pytest.fixture(autouse=True)
    def _world(self, world, dataset):
        self.world = world
        self.dataset = dataset
        with ExitStack() as self.states:
            yield

    def open_state(self, *, resume=None, is_runnable_concurrently=False):
        request = RunRequest(self.dataset, self.world.settings, resume=resume)
        state = open_workflow_state(
            request, self.world.work, is_runnable_concurrently=is_runnable_concurrently
        )
        return self.states.enter_context(state)

    def kill(self, state):
        state.close()
        state._owner.guard.end()

    def make_sink(self):
        return BigQuerySink(f"{self.dataset}.contract", work_dataset=self.world.work)

    def make_settings(self):
        return self.world.settings
