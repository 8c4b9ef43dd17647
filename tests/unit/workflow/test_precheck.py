from datetime import UTC, datetime

import pytest

from etlkit import BigQuerySink, BigQuerySource, Datamart, EtlBase, Task, TransferJob, Workflow
from etlkit.api.run import Settings
from etlkit.errors import ConfigError
from etlkit.testing import MemorySink, MemorySource
from etlkit.workflow.precheck import check_tasks, outermost_context


class Etl(EtlBase):
    def transform_row(self, row):
        return row


def transfer(sink):
    return TransferJob(
        source=BigQuerySource("SELECT 1 AS n", work_dataset=sink.work_dataset),
        transform=Etl,
        sink=sink,
    )


def look(workflow):
    now = datetime(2030, 1, 1, tzinfo=UTC)
    check_tasks(workflow, outermost_context(workflow, "w", Settings(), {}, now))


JOBS = {
    "transfer": lambda where: transfer(BigQuerySink("d.t", work_dataset=where)),
    "datamart": lambda where: Datamart(sql="SELECT 1", work_dataset=where),
}


@pytest.mark.parametrize("kind", JOBS)
@pytest.mark.parametrize("nested", [False, True], ids=["outermost", "in a child"])
def test_a_job_with_another_ledger_than_its_workflow_is_refused(kind, nested):
    """Before anything runs, whatever the ledger of a child workflow would be."""
    task = Task("load", JOBS[kind]("other"))
    tasks = [Task("child", Workflow(tasks=[task], work_dataset="other"))] if nested else [task]
    path = "child/load" if nested else "load"
    with pytest.raises(ConfigError, match=f"task '{path}': its work_dataset is 'other' .*'mine'"):
        look(Workflow(tasks=tasks, work_dataset="mine"))


@pytest.mark.parametrize(
    ("own", "ledger", "fits"),
    [
        ("w", "w", True),
        ("w", "p.w", True),
        ("p.w", "w", True),
        ("p.w", "p.w", True),
        ("p.w", "q.w", False),
        ("p.w", "p.v", False),
    ],
)
def test_a_dataset_without_a_project_may_be_the_same(own, ledger, fits):
    """The project that is billed is known when the run begins."""
    workflow = Workflow(tasks=[Task("load", JOBS["datamart"](own))], work_dataset=ledger)
    if fits:
        look(workflow)
        return
    with pytest.raises(ConfigError, match="give them the same"):
        look(workflow)


def test_jobs_that_keep_no_runs_in_a_ledger_are_fine():
    """Sinks of one's own have a place of their own."""
    job = TransferJob(source=MemorySource([{"n": 1}]), transform=Etl, sink=MemorySink())
    look(Workflow(tasks=[Task("load", job)], work_dataset="mine"))
