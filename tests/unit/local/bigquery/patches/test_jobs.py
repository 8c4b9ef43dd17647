"""Results of jobs are kept for whoever asks again, as many as there is room for."""

import pyarrow as pa
import pytest
from bqemulator.jobs import executor

from etlkit.local.bigquery.patches import jobs


@pytest.mark.parametrize(
    ("limit", "value", "kept"),
    [("MAX_RESULTS", 3, ["2", "3", "4"]), ("MAX_RESULT_BYTES", 2500, ["3", "4"])],
)
def test_the_oldest_results_are_forgotten(monkeypatch, limit, value, kept):
    """By their number, and by their bytes; the last one is always kept."""
    monkeypatch.setattr(jobs, limit, value)
    monkeypatch.setattr(executor, "JOB_RESULTS", {})
    monkeypatch.setattr(executor, "JOB_SCHEMAS", {})
    monkeypatch.setattr(jobs, "_sizes", {})
    for number in range(5):
        executor.JOB_RESULTS[str(number)] = pa.table({"n": pa.array([number] * 125, pa.int64())})
        executor.JOB_SCHEMAS[str(number)] = ["n"]
        jobs._forget_old_results()
    assert [*executor.JOB_RESULTS] == [*executor.JOB_SCHEMAS] == kept
    executor.JOB_RESULTS["large"] = pa.table({"n": pa.array([0] * 1000, pa.int64())})
    jobs._forget_old_results()
    assert [*executor.JOB_RESULTS] == (["3", "4", "large"] if limit == "MAX_RESULTS" else ["large"])
