"""The contract of everything that remembers workflows, as a pytest class to inherit from.

```python
class TestMyState(WorkflowStateContract):
    def open_state(self, *, resume=None, is_runnable_concurrently=False): ...
    def kill(self, state): ...
    def make_sink(self): ...
```
"""

# ruff: noqa: S101 - these are tests that ship
from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from etlkit.api.job import TransferJob
from etlkit.api.run import LAST, ParentRun, Settings
from etlkit.api.transform import EtlBase
from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.api.workflow_state import MAX_VALUE_BYTES, WorkflowState
from etlkit.errors import (
    AlreadyPublishedError,
    EtlkitError,
    JobError,
    RunStateError,
    RunTakenOverError,
)
from etlkit.runner import run_job
from etlkit.testing.memory import MemorySource

if TYPE_CHECKING:
    from etlkit.api.sink import Sink
    from etlkit.rows.row import Row

NUM_AT_ONCE = 12


class WorkflowStateContract:
    """Override `open_state`, `kill` and `make_sink`; `make_settings` if the sink needs some."""

    def open_state(
        self, *, resume: str | None = None, is_runnable_concurrently: bool = False
    ) -> WorkflowState:
        """Make the state of an attempt at a run of the test's workflow; it is closed by the test."""
        raise NotImplementedError

    def kill(self, state: WorkflowState) -> None:
        """Leave the attempt as a process does that was killed, with its lease run out."""
        raise NotImplementedError

    def make_sink(self) -> Sink:
        """Make a sink for the transfer of a task; all of one test have the same target."""
        raise NotImplementedError

    def make_settings(self) -> Settings | None:
        """Make settings for the transfer of a task."""
        return None

    @cached_property
    def _source(self) -> MemorySource:
        return MemorySource([{"n": 1}], {"n": "INT64"})

    def run_child(
        self, parent: ParentRun, *, fails: bool = False, resume: str | None = None
    ) -> str:
        """Run a transfer of one row as the work of a task; gives its id, also if it fails."""

        class Same(EtlBase):
            def transform_row(self, row: Row) -> Row:
                if fails:
                    raise JobError("stopped by the test")
                return row

        job = TransferJob(
            source=self._source,
            transform=Same,
            sink=self.make_sink(),
            name="contract_child",
        )
        settings = self.make_settings()
        try:
            return run_job(job, settings=settings, parent=parent, resume=resume).run_id
        except JobError as error:
            if not fails:
                raise
            return str(error.report.run_id)  # type: ignore[attr-defined]

    def _begun(self, **options: Any) -> WorkflowState:
        state = self.open_state(**options)
        state.begin(graph())
        return state

    def test_a_new_run_remembers_nothing(self) -> None:
        """It is attempt 1, and no task of it has ended."""
        state = self._begun()
        assert (state.attempt, state.earlier()) == (1, None)
        assert state.finished() == {}
        assert state.unpublished_child(("load",)) is None
        state.check()
        state.end(graph(), None)

    def test_a_resumed_run_knows_what_has_ended(self) -> None:
        """Ends are given back as they were, values included; those of failed tasks are not."""
        first = self._begun()
        value = {"text": "Zürich 猫 '\"\\ $x$ @y", "list": [1, 0.1, None, True], "big": 2**60}
        loaded = ended("load", value=value, rows=7, details={"SQL": "SELECT 1"})
        first.task_ended(("load",), loaded)
        first.task_ended(("chosen",), ended("chosen", branch="then"))
        first.task_ended(("off",), ended("off", state="bypassed"))
        first.task_ended(("bad",), ended("bad", state="failed", error="no"))
        first.end(graph(), JobError("task bad failed"))
        again = self._begun(resume=first.run_id)
        assert (again.run_id, again.attempt) == (first.run_id, 2)
        earlier = again.earlier()
        assert earlier is not None
        assert earlier.tasks == graph().tasks
        assert again.finished() == {
            ("load",): loaded,
            ("chosen",): ended("chosen", branch="then"),
            ("off",): ended("off", state="bypassed"),
        }
        again.end(graph(), None)

    def test_a_killed_run_knows_what_has_ended(self) -> None:
        """What `task_ended` has returned from outlives the process; the latest run is found."""
        first = self._begun()
        first.task_ended(("load",), ended("load", value=1))
        self.kill(first)
        second = self._begun(resume=LAST)
        assert second.finished() == {("load",): ended("load", value=1)}
        second.task_ended(("next",), ended("next", value=2))
        self.kill(second)
        third = self._begun(resume=LAST)
        assert (third.run_id, third.attempt) == (first.run_id, 3)
        assert sorted(third.finished()) == [("load",), ("next",)]
        third.end(graph(), None)

    def test_an_end_that_is_recorded_again_changes_nothing(self) -> None:
        """The first one counts."""
        first = self._begun()
        first.task_ended(("load",), ended("load", value=1))
        first.task_ended(("load",), ended("load", value=2))
        self.kill(first)
        again = self._begun(resume=first.run_id)
        assert again.finished()["load",].value == 1
        again.end(graph(), None)

    def test_what_has_ended_is_known_before_the_attempt_begins(self) -> None:
        """So that it can be told what to forget."""
        first = self._begun()
        first.task_ended(("load",), ended("load", rows=1))
        first.end(graph(), JobError("another task failed"))
        again = self.open_state(resume=first.run_id)
        assert again.finished() == {("load",): ended("load", rows=1)}
        again.begin(graph(), forget=[("load",)])
        assert again.finished() == {}
        again.end(graph(), None)

    def test_a_task_that_failed_may_end_again(self) -> None:
        """Such as one inside of a child workflow that is tried again: its last end counts."""
        first = self._begun()
        for path, other in ((("child", "load"), None), (("child", "next"), ("other",))):
            first.task_ended(path, ended(path[-1], state="failed", error="no"))
            if other is not None:  # the first end is in the ledger when the second one comes
                first.task_ended(other, ended(other[-1]))
            first.task_ended(path, ended(path[-1], rows=1))
        first.end(graph(), JobError("another task failed"))
        again = self._begun(resume=first.run_id)
        assert again.finished() == {
            ("child", "load"): ended("load", rows=1),
            ("child", "next"): ended("next", rows=1),
            ("other",): ended("other"),
        }
        again.end(graph(), None)

    def test_iterations_are_remembered_one_by_one(self) -> None:
        """Each under its own path, whatever its name; their loop has them as children."""
        names = ["2024-01-01", "a/b", "50%", "%2F", "猫 'x'"]
        first = self._begun()
        iterations = [ended(name, value=name) for name in names]
        for each in iterations:
            first.task_ended(("load", each.name), each)
        self.kill(first)
        second = self._begun(resume=first.run_id)
        assert second.finished() == {("load", each.name): each for each in iterations}
        inner = [ended("model", rows=3), ended("test")]
        whole = ended("load", children=iterations)
        dbt = ended("dbt", children=inner)
        second.task_ended(("load",), whole)
        second.task_ended(("dbt",), dbt)
        self.kill(second)
        third = self._begun(resume=first.run_id)
        assert third.finished()["load",] == whole
        assert third.finished()["dbt",] == dbt
        third.end(graph(), None)

    def test_tasks_that_are_to_run_again_are_forgotten(self) -> None:
        """With what is below them, in this attempt and in later ones."""
        first = self._begun()
        for path in (("load",), ("loop", "a"), ("loop",), ("loopy",)):
            first.task_ended(path, ended(path[-1], value=1))
        published = self.run_child(first.child(("transfer",)))
        first.task_ended(("transfer",), ended("transfer", run_id=published))
        first.end(graph(), JobError("stop"))
        second = self.open_state(resume=first.run_id)
        second.begin(graph(), forget=[("loop",), ("transfer",)])
        assert sorted(second.finished()) == [("load",), ("loopy",)]
        second.task_ended(("loop", "b"), ended("b", value=1))
        self.kill(second)
        third = self._begun(resume=first.run_id)
        assert sorted(third.finished()) == [("load",), ("loop", "b"), ("loopy",)]
        assert third.unpublished_child(("transfer",)) is None
        third.end(graph(), None)

    def test_a_value_that_cannot_be_kept_is_refused(self) -> None:
        """One that is no JSON, or too large; a large one that is allowed is kept whole."""
        state = self._begun()
        for value, words in ((float("nan"), "kept"), ({1, 2}, "kept"), ("\ud800", "kept")):
            assert words in raised(JobError, state.task_ended, ("a",), ended("a", value=value))
        large = "x" * (MAX_VALUE_BYTES - 2)
        assert "at most" in raised(
            JobError, state.task_ended, ("a",), ended("a", value=large + "x")
        )
        state.task_ended(("large",), ended("large", value=large))
        self.kill(state)
        again = self._begun(resume=state.run_id)
        assert {path: each.value for path, each in again.finished().items()} == {("large",): large}
        again.end(graph(), None)

    def test_tasks_that_end_at_once_are_all_recorded(self) -> None:
        """Their recordings do not get into each other's way."""
        state = self._begun()
        ready = threading.Barrier(NUM_AT_ONCE)
        errors: list[BaseException] = []

        def end(number: int) -> None:
            ready.wait()
            try:
                state.task_ended(("loop", str(number)), ended(str(number), value=number))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=end, args=(number,)) for number in range(NUM_AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        self.kill(state)
        again = self._begun(resume=state.run_id)
        assert sorted(each.value for each in again.finished().values()) == [*range(NUM_AT_ONCE)]
        again.end(graph(), None)

    def test_a_second_start_is_refused(self) -> None:
        """While the workflow runs, unless it may run concurrently; not after it has ended."""
        first = self._begun()
        second = self.open_state()
        assert first.run_id in raised(RunStateError, second.begin, graph())
        beside = self._begun(is_runnable_concurrently=True)
        beside.end(graph(), None)
        first.task_ended(("load",), ended("load"))
        first.end(graph(), None)
        self._begun().end(graph(), None)

    def test_a_run_in_progress_is_not_resumed(self) -> None:
        """It is refused when it is looked for."""
        first = self._begun()
        assert first.run_id in raised(RunStateError, self.open_state, resume=first.run_id)
        first.end(graph(), None)

    def test_of_two_resumes_one_is_refused(self) -> None:
        """Although both have found the run as one to resume."""
        first = self._begun()
        self.kill(first)
        one = self.open_state(resume=first.run_id)
        other = self.open_state(resume=first.run_id)
        one.begin(graph())
        assert first.run_id in raised(RunStateError, other.begin, graph())
        one.task_ended(("load",), ended("load", value=1))
        one.end(graph(), None)

    def test_a_published_run_is_not_resumed(self) -> None:
        """And a run that nobody knows is not found."""
        raised(RunStateError, self.open_state, resume=LAST)
        first = self._begun()
        first.end(graph(), None)
        for resume in (LAST, first.run_id):
            raised(AlreadyPublishedError, self.open_state, resume=resume)
        raised(RunStateError, self.open_state, resume="20200101_000000000_00000000")

    def test_an_attempt_that_lost_its_run_records_nothing(self) -> None:
        """Neither the end of a task nor that of the run."""
        first = self._begun()
        first.task_ended(("load",), ended("load", value=1))
        self.kill(first)
        second = self._begun(resume=first.run_id)
        raised(RunTakenOverError, first.task_ended, ("next",), ended("next", value="first"))
        raised(RunTakenOverError, first.end, graph(), None)
        second.task_ended(("next",), ended("next", value="second"))
        second.end(graph(), JobError("stop"))
        third = self._begun(resume=first.run_id)
        assert {path: each.value for path, each in third.finished().items()} == {
            ("load",): 1,
            ("next",): "second",
        }
        third.end(graph(), None)

    def test_the_run_of_a_task_is_found_again(self) -> None:
        """An unpublished one to resume; a published one is an end, although nothing else was said."""
        first = self._begun()
        cut = self.run_child(first.child(("cut",)), fails=True)
        done = self.run_child(first.child(("done",)))
        self.kill(first)
        second = self._begun(resume=first.run_id)
        assert second.unpublished_child(("cut",)) == cut
        assert second.unpublished_child(("done",)) is None
        (path,) = second.finished()
        found = second.finished()[path]
        assert (path, found.state, found.run_id) == (("done",), "succeeded", done)
        assert self.run_child(second.child(("cut",)), resume=cut) == cut
        self.kill(second)
        third = self._begun(resume=first.run_id)
        assert sorted(third.finished()) == [("cut",), ("done",)]
        third.end(graph(), None)


def graph() -> WorkflowReport:
    """A graph of two tasks."""
    tasks = [
        TaskReport(name="load", kind="transfer", details={"SQL": "SELECT 1"}),
        TaskReport(name="next", kind="check", after={"load": ""}),
    ]
    return WorkflowReport(run_id="", job="contract", tasks=tasks)


def ended(name: str, **values: Any) -> TaskReport:
    """A task that has ended well, unless the values say something else."""
    return TaskReport(**{"name": name, "kind": "python", "state": "succeeded", **values})


def raised(
    kind: type[EtlkitError], call: Callable[..., object], *arguments: Any, **options: Any
) -> str:
    """The message of the error that a call raises."""
    try:
        call(*arguments, **options)
    except kind as error:
        return str(error)
    raise AssertionError(f"{kind.__name__} was not raised")
