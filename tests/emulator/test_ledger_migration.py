"""A ledger of the first form, one mutable row a run, becomes events under a view."""

import pytest
from google.cloud import bigquery

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob, run_job
from etlkit.api.run import Settings
from etlkit.cli.runs import main as runs_main

OLD = {
    "run_id": "STRING",
    "job": "STRING",
    "state": "STRING",
    "mode": "STRING",
    "target": "STRING",
    "read": "INT64",
    "written": "INT64",
    "skipped": "INT64",
    "rejected": "INT64",
    "rows_published": "INT64",
    "error": "STRING",
    "attempt": "INT64",
    "fingerprint": "STRING",
    "variables": "JSON",
    "owner": "STRING",
    "host": "STRING",
    "pid": "INT64",
    "pid_started": "STRING",
    "etlkit_version": "STRING",
    "started_at": "TIMESTAMP",
    "updated_at": "TIMESTAMP",
    "finished_at": "TIMESTAMP",
}
DONE, CUT = "20240101_000000000_00000001", "20240102_000000000_00000002"


class Etl(EtlBase):
    def transform_row(self, row):
        return row


@pytest.fixture
def old_ledger(bq, dataset):
    """A published run, and one that was killed; the column `retry_of` came later."""
    fields = [bigquery.SchemaField(name, kind) for name, kind in OLD.items()]
    bq.create_table(bigquery.Table(f"{bq.project}.{dataset}.runs", schema=fields))
    started = "TIMESTAMP '2024-01-01 00:00:00+00'"
    for run_id, state, finished in ((DONE, "published", started), (CUT, "running", "NULL")):
        bq.query(
            f"INSERT INTO {dataset}.runs (run_id, job, state, mode, target, `read`, written, skipped, "
            "rejected, rows_published, attempt, fingerprint, variables, owner, started_at, "
            f"updated_at, finished_at) VALUES ('{run_id}', 'old', '{state}', 'append', "
            f"'{bq.project}.{dataset}.target', 3, 2, 1, 0, 2, 1, 'code', "
            f"PARSE_JSON('{{\"a\": 1}}'), 'x', {started}, {started}, {finished})"
        ).result()
    return dataset


def job(dataset):
    return TransferJob(
        source=BigQuerySource("SELECT 7 AS n", work_dataset=dataset),
        transform=Etl,
        sink=BigQuerySink(f"{dataset}.target", work_dataset=dataset),
        name="old",
    )


def test_its_runs_stay_and_can_be_resumed(old_ledger, bq, run, local_server, capsys):
    """History, counts and variables are kept; a run that was killed goes on."""
    settings = Settings(environ=local_server.endpoints.environ())
    report = run_job(job(old_ledger), settings=settings)
    found = run(
        f"SELECT run_id, state, written, JSON_VALUE(variables, '$.a') FROM {old_ledger}.runs "
        "ORDER BY run_id"
    )
    assert found == [
        (DONE, "published", 2, "1"),
        (CUT, "running", 2, "1"),
        (report.run_id, "published", 1, None),
    ]
    assert bq.get_table(f"{old_ledger}.runs").table_type == "VIEW"
    where = ["--local", "--local-dir", str(local_server.local_dir), "--work-dataset", old_ledger]
    assert runs_main([*where, "--format", "json"]) == 0
    assert '"state": "dead"' in capsys.readouterr().out
    resumed = run_job(job(old_ledger), settings=settings, resume=CUT, allow_code_change=True)
    assert (resumed.run_id, resumed.rows_published) == (CUT, 1)
    assert run(f"SELECT n FROM {old_ledger}.target") == [(7,), (7,)]
    again = run_job(job(old_ledger), settings=settings, resume=DONE, allow_code_change=True)
    assert (again.state, again.resumed) == ("published", 3)


def test_a_conversion_that_was_cut_off_is_done_again(old_ledger, bq, run, local_server):
    """Killed after some rows were copied: none is lost, none doubled."""
    settings = Settings(environ=local_server.endpoints.environ())
    bq.query(f"CREATE TABLE {old_ledger}.kept AS SELECT * FROM {old_ledger}.runs").result()
    run_job(job(old_ledger), settings=settings)
    bq.delete_table(f"{old_ledger}.runs")
    bq.query(f"CREATE TABLE {old_ledger}.runs AS SELECT * FROM {old_ledger}.kept").result()
    run_job(job(old_ledger), settings=settings)
    counts = run(
        f"SELECT COUNT(*), COUNT(DISTINCT run_id) FROM {old_ledger}.run_events "
        f"WHERE run_id IN ('{DONE}', '{CUT}')"
    )
    assert counts == [(2, 2)]
    assert len(run(f"SELECT run_id FROM {old_ledger}.runs")) == 4


LATER = ("parent_run_id", "task", "seconds", "bytes_billed", "cost", "report", "value")
"""Columns that came with workflows."""


def test_a_ledger_without_workflows_can_be_read_and_learns_of_them(
    dataset, bq, run, local_server, capsys
):
    """`etlkit runs` reads it as it is; the next run adds the columns, and changes no event."""
    settings = Settings(environ=local_server.endpoints.environ())
    before = run_job(job(dataset), settings=settings)
    view = bq.get_table(f"{dataset}.runs").view_query
    bq.delete_table(f"{dataset}.runs")
    bq.query(
        f"CREATE TABLE {dataset}.kept AS SELECT * EXCEPT ({', '.join(LATER)}) "
        f"FROM {dataset}.run_events"
    ).result()
    bq.delete_table(f"{dataset}.run_events")
    bq.query(f"CREATE TABLE {dataset}.run_events AS SELECT * FROM {dataset}.kept").result()
    old = bigquery.Table(f"{bq.project}.{dataset}.runs")
    old.view_query = view.replace(f"{', '.join(LATER[:-1])}, ", "")
    bq.create_table(old)
    where = ["--local", "--local-dir", str(local_server.local_dir), "--work-dataset", dataset]
    for arguments in ([], [before.run_id], ["--clean"]):
        assert runs_main([*where, *arguments]) == 0
        assert (before.run_id in capsys.readouterr().out) == (arguments != ["--clean"])
    after = run_job(job(dataset), settings=settings)
    rows = run(
        f"SELECT run_id, JSON_VALUE(report, '$.written'), parent_run_id FROM {dataset}.runs "
        "ORDER BY began_at"
    )
    assert rows == [(before.run_id, None, None), (after.run_id, "1", None)]
    names = [field.name for field in bq.get_table(f"{dataset}.run_events").schema]
    assert sorted(names[-len(LATER) :]) == sorted(LATER)
