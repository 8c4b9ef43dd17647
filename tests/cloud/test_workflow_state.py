"""What the ledger remembers of workflows keeps the same contract as the memory in the tests."""

import threading
from contextlib import ExitStack
from functools import partial

import pytest

from etlkit import BigQuerySink, Datamart, EtlBase, TransferJob
from etlkit.api.run import LAST, RunRequest
from etlkit.bigquery.datamart import insert
from etlkit.bigquery.datamart.process import process_datamart
from etlkit.bigquery.datamart.run import run_plan
from etlkit.bigquery.runs.workflow_state import open_workflow_state
from etlkit.errors import AlreadyPublishedError, RunTakenOverError
from etlkit.runner import run_datamart, run_job
from etlkit.testing.workflow_state_contract import WorkflowStateContract, ended, graph, raised


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

    def test_no_run_of_a_task_begins_for_an_attempt_that_lost_its_run(self):
        """It was taken over, or it is published; nothing is left behind."""
        first = self._begun()
        self.kill(first)
        second = self._begun(resume=first.run_id)
        raised(RunTakenOverError, self.run_child, first.child(("load",)))
        second.end(graph(), None)
        raised(RunTakenOverError, self.run_child, first.child(("load",)))
        rows = self.world.client.query_and_wait(
            f"SELECT task FROM {self.world.work}.run_events WHERE parent_run_id = '{first.run_id}'"
        )
        assert list(rows) == []

    def test_a_request_that_is_sent_again_records_nothing_more(self):
        """Its answer was lost, and its job was forgotten."""
        state = self._begun()
        end = state._end_of(("load",), ended("load", value=1))
        other = state._end_of(("next",), ended("next"))
        for purpose, ends in (("once", [end]), ("again", [end, other]), ("last", [other])):
            state._owner.record([each.row for each in ends], purpose)
        rows = self.world.client.query_and_wait(
            f"SELECT task, COUNT(*) FROM {self.world.work}.run_events "
            f"WHERE run_id = '{state.run_id}' AND task IS NOT NULL GROUP BY task ORDER BY task"
        )
        assert [tuple(row) for row in rows] == [("load", 1), ("next", 1)]
        state.end(graph(), None)

    def test_a_run_that_is_published_already_is_told_as_it_was(self):
        """Whoever wants to resume it gets its report."""
        state = self._begun()
        state.task_ended(("load",), ended("load", value=7))
        state.end(graph(), None)
        with pytest.raises(AlreadyPublishedError) as done:
            self.open_state(resume=LAST)
        report = done.value.report
        assert (report.run_id, report.state) == (state.run_id, "published")
        assert [(task.state, task.value) for task in report.tasks] == [
            ("succeeded", 7),
            ("not_run", None),
        ]

    def test_the_value_of_a_published_datamart_is_known_without_a_word_of_its_task(self):
        """The process was killed between the two."""
        first = self._begun()
        job = Datamart(
            sql="SELECT 0; SELECT 7 AS n, NUMERIC '2.50' AS price, DATE '2024-01-31' AS day",
            work_dataset=self.world.work,
        )
        request = RunRequest("mart", self.world.settings, parent=first.child(("mart",)))
        now = {"queued_at": request.started_at, "started_at": request.started_at}
        run = partial(run_plan, wants_row=True)
        process_datamart(job, request, {"given": None, "loop": None, **now}, run)
        self.kill(first)
        second = self._begun(resume=first.run_id)
        (found,) = second.finished().values()
        assert found.value == {"n": 7, "price": 2.5, "day": "2024-01-31"}
        assert [each.state for each in found.statements] == ["done", "done"]
        second.end(graph(), None)

    @pytest.mark.parametrize("kind", ["transfer", "datamart"])
    def test_a_run_of_a_task_that_was_at_work_cannot_publish_after_a_resume(
        self, kind, monkeypatch
    ):
        """It was paused with its workflow; the resumed workflow goes on with it, or begins anew."""
        first, held = self._begun(), Held()
        errors = []

        def run():
            try:
                self.run_held(kind, first.child(("load",)), held, monkeypatch)
            except Exception as error:
                errors.append(error)
                held.reached.set()

        thread = threading.Thread(target=run)
        thread.start()
        assert held.reached.wait(60)
        self.kill(first)
        second = self._begun(resume=first.run_id)
        held.released.set()
        thread.join()
        (error,) = errors
        assert isinstance(error, RunTakenOverError)
        assert second.finished() == {}
        cut = second.unpublished_child(("load",))
        assert cut == (error.report.run_id if kind == "transfer" else None)
        client = self.world.client
        tables = {table.table_id for table in client.list_tables(self.dataset)}
        assert tables <= {"contract"}
        if tables:  # made empty, before the fence
            assert client.get_table(f"{self.dataset}.contract").num_rows == 0
        second.end(graph(), None)

    def run_held(self, kind, parent, held, monkeypatch):
        """Run a job as the work of a task; it waits shortly before it publishes."""
        settings = self.world.settings
        if kind == "datamart":
            monkeypatch.setattr(insert, "refuse_many_partitions", held)
            job = Datamart(
                sql="SELECT 1 AS n",
                query_mode="insert",
                destination=f"{self.dataset}.contract",
                write_disposition="append",
                work_dataset=self.world.work,
            )
            run_datamart(job, settings=settings, parent=parent)
        else:
            monkeypatch.setattr(Same, "held", held, raising=False)
            job = TransferJob(
                source=self._source, transform=Same, sink=self.make_sink(), name="contract_child"
            )
            run_job(job, settings=settings, parent=parent)


class Held:
    """A point where a run waits."""

    def __init__(self):
        self.reached, self.released = threading.Event(), threading.Event()

    def __call__(self, *_):
        self.reached.set()
        self.released.wait(60)


class Same(EtlBase):
    held: Held

    def transform_row(self, row):
        self.held()
        return row
