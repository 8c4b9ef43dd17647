"""Jobs, workflows and runs as users with a strict type checker write them."""

from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    Check,
    CsvSource,
    Datamart,
    DatamartReport,
    DryRunReport,
    EtlkitError,
    JobError,
    Preview,
    Row,
    RowError,
    RunReport,
    Task,
    TaskContext,
    TransferJob,
    Workflow,
    WorkflowReport,
    dry_run_job,
    local_world,
    preview_job,
    run_datamart,
    run_job,
    run_workflow,
)
from etlkit.testing import FaultPlan, FaultServer, MemorySink, fake_rows, run_transform
from tests.typing.user_code.transforms import AsyncLookup, Greet

transfer = TransferJob(
    source=BigQuerySource("SELECT name FROM demo.people WHERE day = $day$"),
    transform=Greet,
    sink=BigQuerySink("demo.greetings", mode="merge", merge_keys=("name",)),
    on_row_error="reject",
    rate_limit="10/s",
    checks=[Check("SELECT COUNTIF(greeting IS NULL) FROM {staged}", at_most=0)],
)
files = TransferJob(source=CsvSource("people.csv"), transform=AsyncLookup, sink=MemorySink())


def made_for_tests() -> Greet:
    """A transform may be made by a function."""
    return Greet()


made_by_a_function = TransferJob(
    source=BigQuerySource("SELECT 1 AS name"), transform=made_for_tests, sink=MemorySink()
)
datamart = Datamart(sql="SELECT 1 AS n", query_mode="insert", destination="demo.numbers")


def tell(context: TaskContext) -> None:
    """A task that is a function."""
    assert_type(context.run_id, str)


workflow = Workflow(
    tasks=[
        Task("transfer", transfer),
        Task("datamart", datamart, after="transfer", retry_limit=2),
        Task("tell", tell, after=["transfer", "datamart"]),
    ]
)


def run() -> None:
    """Each kind of run has its own kind of report."""
    report = run_job(transfer, variables={"day": "2026-01-01"}, limit=10)
    assert_type(report, RunReport)
    assert_type(report.rows_published, int)
    assert_type(report.cost, float | None)
    assert_type(report.first_errors, list[str])
    assert_type(run_datamart(datamart), DatamartReport)
    assert_type(run_workflow(workflow), WorkflowReport)
    assert_type(preview_job(transfer, limit=3), Preview)
    assert_type(dry_run_job(transfer, queued_at=datetime.now().astimezone()), DryRunReport)


def handle() -> None:
    """Errors have a tree, and what they know as attributes."""
    try:
        run()
    except RowError as error:
        assert_type(error.row_number, int | None)
    except JobError as error:
        assert_type(error.exit_code, int)
    except EtlkitError as error:
        assert_type(error.exit_code, int)


def test() -> None:
    """What tests use."""
    assert_type(run_transform(Greet, [{"name": "Ada"}]), list[dict[str, Any]])
    assert_type(fake_rows({"name": "STRING"}, n=3), list[Row])
    with FaultServer(FaultPlan.script(["503"])) as server:
        assert_type(server.url, str)
        assert_type(server.calls, int)
    with local_world(Path(".etlkit")) as environ:
        assert_type(environ, dict[str, str])
