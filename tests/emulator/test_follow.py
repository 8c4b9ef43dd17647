"""`etlkit runs --follow`: runs at work, without a query as long as nothing ends."""

import json
import threading

import pytest

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob, run_job
from etlkit.api.run import Run, RunRequest, Settings, Worker
from etlkit.bigquery.client import Connection, connect
from etlkit.bigquery.names import work_dataset
from etlkit.bigquery.runs.follow import Follower
from etlkit.bigquery.runs.guard import LEASE_S
from etlkit.bigquery.runs.lease import Lease
from etlkit.bigquery.shards.shard_worker import ShardWorker
from etlkit.cli import follow as follow_module
from etlkit.cli.follow import follow
from etlkit.cli.runs import main as runs_main


@pytest.fixture
def held(local_server, dataset, monkeypatch):
    """A run that waits in its second row; gives its id, and lets it go on."""
    monkeypatch.setitem(Lease.__init__.__kwdefaults__, "renew_s", 0.05)
    settings = Settings(environ=local_server.endpoints.environ())
    begun, goes_on = threading.Event(), threading.Event()
    runs = []

    class Etl(EtlBase):
        def transform_row(self, row):
            if row["n"] == 2:
                begun.set()
                assert goes_on.wait(60)
            return row

    job = TransferJob(
        name=f"held_{dataset}",
        source=BigQuerySource("SELECT n FROM UNNEST([1, 2, 3]) AS n ORDER BY n"),
        transform=Etl,
        sink=BigQuerySink(f"{dataset}.rows"),
    )
    thread = threading.Thread(
        target=lambda: run_job(job, settings=settings, on_start=runs.append), daemon=True
    )
    thread.start()
    assert begun.wait(60)

    def end():
        goes_on.set()
        thread.join(60)

    yield settings, runs[0].run_id, end
    end()


def test_a_run_is_followed_to_its_end(held, capsys, monkeypatch):
    """Piped: a line a change. No query before the run has ended."""
    settings, run_id, end = held
    queries, selects = [], Connection.select
    monkeypatch.setattr(
        Connection, "select", lambda self, *a, **k: queries.append(a) or selects(self, *a, **k)
    )
    seen = []

    def pause(_seconds):
        seen.append(capsys.readouterr().out)
        if "1 of 3 rows, 1 written" not in "".join(seen):
            threading.Event().wait(0.05)  # the lease's thread tells of it
            return
        assert [
            each for each in queries if "run_events" in str(each) or "`runs`" in str(each)
        ] == []
        end()

    with Run(RunRequest("etlkit-runs", settings)) as run:
        follower = Follower(run, "etlkit_work")
        queries.clear()
        assert follow(follower, run_id, as_json=False, pause=pause) == 0
    lines = "".join([*seen, capsys.readouterr().out]).splitlines()
    assert f"{run_id} held" in lines[0]
    assert lines[-1].endswith("published, 3 rows, 3 written")
    assert len(set(lines)) == len(lines)


def test_workers_count_while_they_are_at_work(held):
    """Not those that were asked for, nor those that have left or give no sign of life."""
    settings, run_id, _ = held
    seconds = [0.0]
    with Run(RunRequest("etlkit-runs", settings)) as run:
        connection = connect(run)
        place = work_dataset("etlkit_work", connection.project)
        made = [
            ShardWorker(connection, place, run_id, 1, Worker(f"{n:08x}", n, 100), lambda: None)
            for n in range(3)
        ]
        follower = Follower(run, "etlkit_work", clock=lambda: seconds[0])
        assert follower.look()[run_id].workers is None  # nobody shares it yet
        for worker in made:
            worker.start()
        assert follower.look()[run_id].workers == 3
        made[0].end()
        assert follower.look()[run_id].workers == 2
        made[1]._lease.close()  # it is dead: it renews nothing, and says nothing
        for _ in range(4):  # one renewal may have been on its way
            seconds[0] += LEASE_S / 2
            made[2]._guard.renew()
            found = follower.look()[run_id].workers
        assert found == 1
        made[2].end()
        assert follower.look()[run_id].workers == 0


def test_ctrl_c_ends_it(held, capsys, monkeypatch, local_server):
    """It is the way to end it, so the exit status is 0. A run that is not there is an error."""
    _, run_id, _ = held

    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setitem(follow.__kwdefaults__, "pause", interrupt)
    local = ["--local", "--local-dir", str(local_server.local_dir), "--follow"]
    assert runs_main([*local, "--format", "json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [mine] = [each for each in found if each["run_id"] == run_id]
    assert (mine["state"], mine["attempt"]) == ("running", 1)
    assert mine["expected"] in {3, None}
    assert runs_main([*local, "20200101_000000000_00000000"]) == 1
    following = capsys.readouterr().err
    assert runs_main([*local[:-1], "20200101_000000000_00000000"]) == 1
    assert capsys.readouterr().err == following
    assert "there is no run 20200101_000000000_00000000 in " in following
    assert "To list the runs: etlkit runs" in following
    assert follow_module.LOOK_EVERY_S >= 5
