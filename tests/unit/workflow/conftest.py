"""Workflows in memory: functions as tasks, and what is remembered of them."""

from contextlib import contextmanager

import pytest

from etlkit import Settings, Task, Workflow
from etlkit.errors import EtlkitError
from etlkit.testing.memory_state import MemoryWorkflows
from etlkit.workflow.selection import Selection
from etlkit.workflow.workflow_run import WorkflowRequest
from etlkit.workflow.workflow_run import run as run_attempt


class Watcher:
    """Keeps what it is told, in order."""

    def __init__(self):
        self.changes = []
        self.progress = []

    def task_changed(self, path, report, /):
        self.changes.append(("/".join(path), report.state))

    def task_progress(self, path, stage, counts, expected, /):
        self.progress.append(("/".join(path), stage, counts.read, expected))


class Runs:
    """Runs workflows; all runs of a test share one memory."""

    def __init__(self):
        self.memory = MemoryWorkflows()
        self.watcher = Watcher()
        self.states = []
        self.error = None

    @contextmanager
    def _open(self, request):
        state = self.memory.open(request.job_name, resume=request.resume)
        self.states.append(state)
        yield state

    def __call__(self, workflow, *, name="flow", environ=None, on_start=None, **options):
        """Run a workflow, or a list of tasks; gives the report, also of a run that failed."""
        if not isinstance(workflow, Workflow):
            workflow = Workflow(tasks=workflow)
        chosen = {key: options.pop(key, ()) for key in ("from_task", "only", "skip")}
        request = WorkflowRequest(
            name=name,
            settings=Settings(environ=environ or {}),
            selection=Selection(**chosen),
            **options,
        )
        self.watcher, self.error = Watcher(), None
        try:
            return run_attempt(
                workflow, request, self._open, on_start=on_start, observer=self.watcher
            )
        except (EtlkitError, KeyboardInterrupt) as error:
            if not hasattr(error, "report"):
                raise
            self.error = error
            return error.report


@pytest.fixture
def runs():
    return Runs()


@pytest.fixture
def states():
    """Task to state, or to a dict of its children's."""

    def give(report):
        return {task.name: task.state for task in getattr(report, "tasks", None) or report.children}

    return give


@pytest.fixture
def fails():
    """A function that fails as often as it is told, and then returns."""

    def make(times=10**6, result=None, error=ValueError):
        calls = []

        def fail():
            calls.append(1)
            if len(calls) <= times:
                raise error(f"failure {len(calls)}")
            return result

        fail.calls = calls
        return fail

    return make


@pytest.fixture
def recorded():
    """Makes tasks that write their names into a list when they run."""
    names = []

    def make(name, run=None, **options):
        def note(context):
            names.append("/".join(context.path))
            return None if run is None else run()

        return Task(name, note, **options)

    make.names = names
    return make
