"""A run that failed, or whose process was killed, is resumed: every row once, no call twice."""

from typing import ClassVar

import pytest

from etlkit import (
    BigQuerySink,
    BigQuerySource,
    EtlBase,
    RunStateError,
    TransferJob,
    TransformError,
)
from etlkit.runner import run_job

NUM_ROWS = 50


class Etl(EtlBase):
    """Fails from the row `fails_at` on, which is no part of its code."""

    calls: ClassVar[list[int]] = []
    fails_at: ClassVar[int | None] = None

    def transform_row(self, row):
        if Etl.fails_at is not None and row["n"] >= Etl.fails_at:
            raise ValueError("not today")
        Etl.calls.append(row["n"])
        if row["n"] % 10 == 0:
            return None
        return [{**row, "part": part} for part in range(1 + row["n"] % 2)]


@pytest.fixture(autouse=True)
def _fresh():
    Etl.calls = []
    Etl.fails_at = None


@pytest.fixture
def transfer(world, dataset):
    """Run the job, or resume it."""

    def run_transfer(mode="append", *, name="job", **options):
        keys = {"merge_keys": ("n", "part")} if mode == "merge" else {}
        query = f"SELECT n FROM UNNEST(GENERATE_ARRAY(1, {NUM_ROWS})) AS n"
        job = TransferJob(
            source=BigQuerySource(query, work_dataset=world.work),
            transform=Etl,
            sink=BigQuerySink(f"{dataset}.target", mode=mode, work_dataset=world.work, **keys),
            name=f"{dataset}_{name}",
        )
        return run_job(job, settings=world.settings, **options)

    return run_transfer


@pytest.mark.parametrize("mode", ["append", "replace", "merge"])
def test_a_failed_run_is_resumed(transfer, run, world, dataset, bq, mode):
    """What was staged is not transformed again; work tables go when the run is published."""
    Etl.fails_at = 30
    with pytest.raises(TransformError) as caught:
        transfer(mode)
    failed = caught.value.report
    done = list(Etl.calls)
    assert run(f"SELECT state FROM {world.work}.runs WHERE run_id = '{failed.run_id}'") == [
        ("failed",)
    ]
    Etl.fails_at = None
    report = transfer(mode, resume="last")
    assert (report.run_id, report.read, report.skipped) == (failed.run_id, NUM_ROWS, 5)
    assert report.resumed == len(done)
    assert sorted(Etl.calls) == list(range(1, NUM_ROWS + 1))
    rows = "SELECT COUNT(*), COUNT(DISTINCT n), COUNT(DISTINCT CONCAT(n, '/', part))"
    assert run(f"{rows} FROM {dataset}.target") == [(20 + 2 * 25, 45, 70)]
    again = transfer(mode, resume=failed.run_id)
    assert again.state == "published"
    assert len(Etl.calls) == NUM_ROWS
    assert [t for t in bq.list_tables(world.work) if failed.run_id in t.table_id] == []


def test_work_tables_expire(transfer, world, bq):
    """After a failure they stay for a resume, and are gone after seven days."""
    Etl.fails_at = 30
    with pytest.raises(TransformError) as caught:
        transfer()
    run_id = caught.value.report.run_id
    left = [t.table_id for t in bq.list_tables(world.work) if run_id in t.table_id]
    assert sorted(left) == [f"out_{run_id}_1_1", f"run_{run_id}", f"src_{run_id}"]
    for name in left:
        table = bq.get_table(f"{world.work}.{name}")
        assert round((table.expires - table.created).total_seconds() / 86_400, 1) == 7


def test_nothing_to_resume(transfer):
    """A job without runs, and an id that nobody knows."""
    with pytest.raises(RunStateError, match="has no run to resume"):
        transfer(name="new", resume="last")
    with pytest.raises(RunStateError, match="there is no run 20200101"):
        transfer(name="new", resume="20200101_000000000_00000000")
