"""Lineage: from a target row to its source row, run, code and calls."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from etlkit import BigQuerySink, BigQuerySource, ConfigError, EtlBase, TransferJob, run_job
from etlkit.api.run import Settings
from etlkit.calls.backoff import RetryPolicy
from etlkit.calls.run_calls import caller
from etlkit.cli.runs import main as runs_main
from etlkit.errors import RetryableError, RowError

QUERY = "SELECT n, CONCAT('row ', CAST(n AS STRING)) AS name FROM UNNEST(GENERATE_ARRAY(0, 9)) AS n"
LINEAGE = ["_etlkit_run_id", "_etlkit_row_id"]


class Paid(EtlBase):
    """One call a row, two for row 3; row 4 is skipped, row 5 becomes two, row 6 fails."""

    max_concurrency = 4
    stop_at = None

    def transform_row(self, row):
        n, tries = row["n"], []
        if n == self.stop_at:
            raise ConfigError("stop here")

        def attempt(_timeout_s):
            tries.append(n)
            if n == 3 and len(tries) == 1:
                raise RetryableError("again", status=503)

        caller("paid", RetryPolicy(first_wait_s=0.01)).call(attempt, units=2)
        if n == 4:
            return None
        if n == 6:
            raise RowError("bad")
        rows = [{**row, "answer": n * 10 + part} for part in range(2 if n == 5 else 1)]
        return rows if n == 5 else rows[0]


class Counted(EtlBase):
    """One call a row."""

    def transform_row(self, row):
        caller("counted").call(lambda _timeout_s: None)
        return {**row, "answer": row["n"]}


@pytest.fixture
def world(bq, dataset, local_server):
    def run(text):
        return [dict(row) for row in bq.query_and_wait(text, retry=None, job_retry=None)]

    def go(mode="replace", etl=Paid, query=QUERY, resume=None, sink=None, retry=None, **options):
        options = {"on_row_error": "reject", "max_rejected": None, "lineage": True, **options}
        keys = {"merge_keys": ("answer",)} if mode == "merge" else {}
        job = TransferJob(
            name=f"lin_{dataset}",
            source=BigQuerySource(query),
            transform=etl,
            sink=BigQuerySink(f"{dataset}.target", mode=mode, **keys, **(sink or {})),
            price_per_unit=0.5,
            **options,
        )
        settings = Settings(environ={**local_server.endpoints.environ(), "ETLKIT_REVISION": "r1"})
        return run_job(
            job, settings=settings, resume=resume, allow_code_change=True, retry_rejects=retry
        )

    def lineage(report):
        rows = run(f"SELECT * FROM etlkit_work.row_lineage WHERE run_id = '{report.run_id}'")
        return {row["source_row"]["n"]: row for row in rows}

    return SimpleNamespace(run=run, go=go, lineage=lineage, target=f"{dataset}.target")


def test_a_target_row_leads_to_its_source_row_and_calls(world):
    """Fan-out, retries and skipped rows: each target row has one source row, with what it cost."""
    report = world.go()
    rows = world.run(f"SELECT * FROM {world.target}")
    assert list(rows[0]) == ["n", "name", "answer", *LINEAGE]
    assert {row["_etlkit_run_id"] for row in rows} == {report.run_id}
    kept = world.lineage(report)
    assert sorted(kept) == [0, 1, 2, 3, 5, 7, 8, 9]
    for row in rows:
        its = kept[row["n"]]
        assert its["row_id"] == row["_etlkit_row_id"] == its["made_by_row_id"]
        assert its["source_row"] == {"n": row["n"], "name": row["name"]}
        twice = row["n"] == 3
        assert (its["calls"], its["units"], its["cost"]) == ((2, 4, 2.0) if twice else (1, 2, 1.0))
        assert (its["num_rows"], its["attempt"], its["shared_by"]) == (1 + (row["n"] == 5), 1, 1)
    left = world.run("SELECT table_id FROM etlkit_work.__TABLES__")
    assert not [each for each in left if report.run_id in each["table_id"]]


@pytest.mark.parametrize("mode", ["append", "replace", "merge", "delete_in_advance"])
def test_an_existing_table_gets_the_two_columns(world, mode):
    """Also where no other column may change. Rows that were there keep NULL until they change."""
    world.run(f"CREATE TABLE {world.target} (n INT64, name STRING, answer INT64)")
    world.run(f"INSERT {world.target} VALUES (0, 'old', 0), (77, 'old', 770)")
    again = world.go(mode, on_schema_change="fail")
    mine = []
    if mode in {"append", "merge"}:  # the other two begin anew each time
        first, again = again, world.go(mode, on_schema_change="fail")
        mine = 9 * [first.run_id] if mode == "append" else []
    rows = world.run(f"SELECT name, n, {', '.join(LINEAGE)} FROM {world.target}")
    runs = [row["_etlkit_run_id"] for row in rows]
    old = [None] * 2 if mode == "append" else [None] if mode == "merge" else []
    assert sorted(filter(None, runs)) == sorted([*mine, *9 * [again.run_id]])
    assert [run_id for run_id in runs if run_id is None] == old
    assert all(row["_etlkit_row_id"] for row in rows if row["_etlkit_run_id"])


def test_columns_that_merge_updates_by_name_include_lineage(world):
    """A row that is updated comes from another source row than before."""
    world.run(
        f"CREATE TABLE {world.target} AS SELECT *, n * 10 + part AS answer, "
        f"'a run' AS {LINEAGE[0]}, 'a row' AS {LINEAGE[1]} "
        f"FROM ({QUERY}), UNNEST([0, 1]) AS part WHERE n NOT IN (4, 6) AND (part = 0 OR n = 5)"
    )
    world.run(f"ALTER TABLE {world.target} DROP COLUMN part")
    again = world.go("merge", sink={"merge_update_columns": ("name",)})
    assert {row["_etlkit_run_id"] for row in world.run(f"SELECT * FROM {world.target}")} == {
        again.run_id
    }


def test_without_lineage_the_columns_stay_or_go_as_any_other(world):
    """The next job of the table need not have lineage; a source of such rows is told what to do."""
    world.go("append")
    world.go("append", lineage=False)
    rows = world.run(f"SELECT COUNT(*) AS n, COUNT(_etlkit_run_id) AS known FROM {world.target}")
    assert rows == [{"n": 18, "known": 9}]
    with pytest.raises(ConfigError, match=r"SELECT \* EXCEPT \(_etlkit_run_id\)"):
        world.go(query=f"SELECT * FROM {world.target}")
    world.go("replace", lineage=False)
    assert list(world.run(f"SELECT * FROM {world.target}")[0]) == ["n", "name", "answer"]


def test_a_resumed_run_and_reused_results_lead_to_what_made_them(world, capsys, local_server):
    """The attempt that made each row; for a reused result the earlier run, its calls and its code."""
    stopped = type("Etl", (Paid,), {"stop_at": 8, "__module__": Paid.__module__})
    with pytest.raises(ConfigError, match="stop here") as caught:
        world.go(etl=stopped, reuse="n", max_concurrency=1)
    report = world.go(reuse="n", resume=caught.value.report.run_id, max_concurrency=1)
    attempts = {n: row["attempt"] for n, row in world.lineage(report).items()}
    assert {attempts[n] for n in (8, 9)} == {2}
    assert attempts[0] == 1
    assert sum(row["calls"] for row in world.lineage(report).values()) == 9
    reused = world.go(reuse="n", query=f"{QUERY} WHERE n > 0")
    kept = world.lineage(reused)
    assert {(r["attempt"], r["made_by_run_id"], r["calls"]) for r in kept.values()} == {
        (0, report.run_id, None)
    }
    local = ["--local", "--local-dir", str(local_server.local_dir), "--trace", world.target]
    capsys.readouterr()
    assert runs_main([*local, "--where", "n = 3", "--format", "json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["run_id"], row["made_by_run_id"]) == (reused.run_id, report.run_id)
    assert json.loads(row["source_row"]) == {"n": 3, "name": "row 3"}
    assert (row["calls"], row["cost"], row["revision"]) == (2, 2.0, "r1")
    assert runs_main([*local, "--where", "n = 5"]) == 0
    shown = capsys.readouterr().out
    assert shown.count('{"n":5,"name":"row 5"}') == 2
    assert f"none: result of run {report.run_id}" in shown
    assert runs_main([*local, "--where", "m = 5"]) == 1
    assert "m" in capsys.readouterr().err


def test_rejected_rows_that_are_run_again_keep_their_source_row(world):
    """They are in another run then, under the same row id."""
    first = world.go()
    again = type("Etl", (EtlBase,), {"transform_row": lambda _, row: {**row, "answer": 6}})
    report = world.go(etl=again, retry=first.run_id)
    [row] = world.run(f"SELECT * FROM {world.target} WHERE n = 6")
    kept = world.lineage(report)[6]
    assert (row["_etlkit_run_id"], row["_etlkit_row_id"]) == (report.run_id, kept["row_id"])
    assert kept["source_row"] == {"n": 6, "name": "row 6"}


def test_lineage_needs_staged_rows(world):
    """Said without any I/O."""
    with pytest.raises(ConfigError, match="lineage does not go with mode append_direct"):
        world.go("append_direct")


def test_the_documented_query_finds_what_the_trace_finds(world, bq):
    """The guide's query, with the names of this test."""
    report = world.go()
    guide = (Path(__file__).parents[2] / "docs/guides/observe.md").read_text("utf-8")
    query = re.search(r"```sql\n(SELECT\n  t\.\*.*?)```", guide, re.DOTALL)[1]
    rows = world.run(query.replace("demo.letters", world.target))
    [row] = [row for row in rows if row["n"] == 3]
    assert (row["source_row"], row["calls"], row["cost"]) == ({"n": 3, "name": "row 3"}, 2, 2.0)
    assert (row["job"], row["revision"], row["attempt"]) == (report.job, "r1", 1)
    assert row["cost_of_the_run"] == report.cost


def test_workers_of_one_run_count_their_calls(world):
    """Several processes stage rows and calls; whoever publishes records all of them."""
    report = world.go(etl=Counted, workers=2)
    kept = world.lineage(report)
    assert sorted(kept) == list(range(10))
    assert {(row["calls"], row["cost"]) for row in kept.values()} == {(1, 0.5)}
    [left] = world.run(f"SELECT COUNT(DISTINCT _etlkit_row_id) AS n FROM {world.target}")
    assert left["n"] == len(kept)
