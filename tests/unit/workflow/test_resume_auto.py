from datetime import timedelta

import pytest

from etlkit import Task, Workflow
from etlkit.api import run as api_run


@pytest.fixture
def tasks():
    """Two tasks, of which the second fails as long as it is broken; calls are counted."""

    class Tasks(list):
        calls, is_broken = (), True

        def first(self):
            self.calls += ("first",)

        def second(self):
            self.calls += ("second",)
            if self.is_broken:
                raise ValueError("not yet")

    made = Tasks()
    made += [Task("first", made.first), Task("second", made.second, after="first")]
    return made


def test_what_a_schedule_says_each_time(runs, tasks):
    """A run that did not publish goes on where it stopped; after that each start is a new run."""
    failed = runs(tasks, resume="auto")
    tasks.is_broken = False
    resumed = runs(tasks, resume="auto")
    assert (resumed.run_id, resumed.state, resumed.attempt) == (failed.run_id, "published", 2)
    assert tasks.calls == ("first", "second", "second")
    again = runs(tasks, resume="auto")
    assert (again.state, again.attempt) == ("published", 1)
    assert again.run_id != failed.run_id
    assert tasks.calls == ("first", "second", "second", "first", "second")


def test_another_value_of_a_variable_begins_a_new_run(runs, tasks):
    """The results of yesterday's day do not count for today's."""
    workflow = Workflow(tasks=tasks, variables={"day": "-"})
    failed = runs(workflow, resume="auto", variables={"day": "monday"})
    tasks.is_broken = False
    tuesday = runs(workflow, resume="auto", variables={"day": "tuesday"})
    assert tuesday.run_id != failed.run_id
    assert tuesday.variables == {"day": "tuesday"}


def test_an_old_run_is_left_alone(runs, tasks, monkeypatch):
    """Its frozen rows may be gone."""
    failed = runs(tasks, resume="auto")
    tasks.is_broken = False
    monkeypatch.setattr(api_run, "MAX_AUTO_AGE", timedelta(seconds=-1))
    assert runs(tasks, resume="auto").run_id != failed.run_id


def test_a_run_in_progress_is_not_joined(runs, tasks):
    """The second start is refused, as without auto."""
    refused = []

    def start_again():
        try:
            runs([Task("inner", lambda: None)], resume="auto")
        except Exception as error:
            refused.append(str(error))

    runs([Task("outer", start_again)])
    (message,) = refused
    assert "in progress" in message
