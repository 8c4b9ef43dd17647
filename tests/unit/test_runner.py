"""The functions that run jobs from Python."""

import inspect
from itertools import islice

import pytest

from etlkit import (
    ConfigError,
    Datamart,
    DatamartReport,
    EtlBase,
    RunReport,
    TransferJob,
    check_datamart,
    preview_job,
    run_datamart,
    run_job,
)
from etlkit.testing import MemorySink, MemorySource


class Inverse(EtlBase):
    def transform_row(self, row):
        return {"inverse": 1 / row["n"]}


def job(rows, sink):
    return TransferJob(source=MemorySource(rows), transform=Inverse, sink=sink)


@pytest.mark.parametrize("function", [run_job, preview_job, run_datamart, check_datamart])
def test_all_kinds_of_jobs_have_one_signature(function):
    """The first parameters are the same for every kind; then come those of one kind."""
    names = list(islice(inspect.signature(function).parameters, 6))
    assert names == ["job", "name", "settings", "variables", "loop", "queued_at"]


def test_a_run_is_reported_under_the_given_name():
    """`run_job` publishes the rows; the report has what all reports have in common."""
    sink = MemorySink("replace")
    report = run_job(job([{"n": 2}], sink), name="inverse")
    assert sink.rows == [{"inverse": 0.5}]
    assert (report.job, report.state, report.error) == ("inverse", "published", None)
    assert report.total_s == sum(report.seconds.values())


def test_a_preview_writes_nothing():
    """`preview_job` gives rows before and after, and the error of a row that failed."""
    sink = MemorySink("replace")
    preview = preview_job(job([{"n": 4}, {"n": 0}, {"n": 1}], sink), limit=2)
    assert [(row.before, row.after) for row in preview.rows] == [
        ({"n": 4}, ({"inverse": 0.25},)),
        ({"n": 0}, ()),
    ]
    assert preview.num_errors == 1
    assert "ZeroDivisionError" in preview.errors[0]
    assert (sink.rows, sink.columns) == ([], ())


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        (lambda: run_job(job([{"n": 0}], MemorySink())), RunReport),
        (lambda: run_datamart(Datamart(sql="SELECT '")), DatamartReport),
    ],
)
def test_an_error_has_the_report_of_its_run(run, kind):
    """Whatever kind of job failed: state, error and name are there."""
    with pytest.raises(Exception, match=r"division|quote") as caught:
        run()
    report = caught.value.report
    assert isinstance(report, kind)
    assert (report.state, report.error) == ("failed", str(caught.value))
    assert f'"job": "{report.job}"' in report.to_json()


def test_a_variable_without_a_definition_is_refused():
    """Before the source is opened."""
    with pytest.raises(ConfigError, match="unknown variable"):
        preview_job(job([], MemorySink()), variables={"day": "1"})
