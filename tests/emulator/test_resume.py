"""Stopping, resuming, sharing and looking up runs, from the command line."""

import json
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.api_core.exceptions import NotFound

from etlkit import RunStateError
from etlkit.api.run import Run, RunRequest, Settings
from etlkit.bigquery.client import connect as connect_run
from etlkit.bigquery.runs.run_owner import RunOwner
from etlkit.cli.runs import main as runs_main
from tests.warm_python import WarmPython

ROOT = Path(__file__).parents[2]

JOB = """
import threading
import time
from pathlib import Path
from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob

CALLS, GO, LOCK = Path("calls.txt"), Path("go"), threading.Lock()

class Etl(EtlBase):
    max_concurrency = {concurrency}

    def transform_row(self, row):
        with LOCK:
            with CALLS.open("a") as calls:
                calls.write(str(row["n"]) + "\\n")
            is_held = CALLS.read_text().count("\\n") > {held_after}
        while is_held and not GO.exists():
            time.sleep(0.01)
        {body}
        return row

job = TransferJob(
    source=BigQuerySource("SELECT n FROM UNNEST(GENERATE_ARRAY(1, {rows})) AS n"),
    transform=Etl,
    sink=BigQuerySink("{dataset}.target", mode="replace"),
    {options}
)
"""


ROWS, HELD_AFTER, CONCURRENCY = 60, 40, 2
HELD = HELD_AFTER + CONCURRENCY
"""Calls that have begun when all workers of a job that is held wait."""


@pytest.fixture
def write_job(tmp_path, dataset):
    """Write the job of this test; its name is unique to the test.

    It can be held after a number of calls, until `let_go`.
    """

    def write(body="pass", rows=50, options="", concurrency=CONCURRENCY, held_after=10**9):
        name = f"job_{dataset}"
        text = JOB.format(
            body=body,
            rows=rows,
            dataset=dataset,
            options=options,
            concurrency=concurrency,
            held_after=held_after,
        )
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


@pytest.fixture
def hold(start, write_job, calls, until):
    """Start a job that is held in the middle of its rows; gives its module and its process."""

    def held(rows=ROWS, held_after=HELD_AFTER, **options):
        module = write_job(rows=rows, held_after=held_after, **options)
        process = start(module)
        until(lambda: len(calls()) >= held_after + CONCURRENCY or process.poll() is not None)
        assert process.poll() is None, complaints(process)
        return module, process

    return held


@pytest.fixture
def let_go(tmp_path):
    """Let the job go on, now and later."""
    return (tmp_path / "go").touch


@pytest.fixture
def start(tmp_path, local_server):
    """Start the command line as a process of its own; it is gone when the test ends."""
    processes = []

    def call(*arguments):
        where = ["--local", "--local-dir", str(local_server.local_dir)]
        log = tmp_path / f"stderr_{len(processes)}.txt"
        with log.open("w") as stderr:
            process = WarmPython(
                ["-m", "etlkit.run", *arguments, *where],
                cwd=tmp_path,
                env=os.environ,
                stderr=stderr,
            )
        process.log = log
        processes.append(process)
        return process

    yield call
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.close()


def complaints(process):
    """What a process has said on stderr so far."""
    return process.log.read_text()


def end(process):
    """Let a process end; gives exit status, report and what was said."""
    out, _ = process.communicate(timeout=120)
    lines = out.strip().splitlines()
    return process.returncode, json.loads(lines[-1]) if lines else None, complaints(process)


@pytest.fixture
def calls(tmp_path):
    """The rows that were transformed so far."""

    def read():
        path = tmp_path / "calls.txt"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    return read


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_is_resumed(hold, let_go, cli, calls, until, run, dataset, signum, status):
    """What was in flight is settled and kept; the rest follows with --resume; no call twice."""
    module, process = hold()
    process.send_signal(signum)
    until(lambda: "stopping: calls in flight" in complaints(process))
    let_go()
    code, report, err = end(process)
    assert code == status, err
    assert report["state"] == "interrupted"
    assert "--resume" in err
    ledger = "SELECT state, finished_at IS NULL FROM etlkit_work.runs"
    assert run(f"{ledger} WHERE run_id = '{report['run_id']}'") == [("interrupted", False)]
    assert len(calls()) == HELD
    code, again, err = cli(module, "--resume")
    assert code == 0, err
    assert (again["run_id"], again["read"], again["resumed"]) == (report["run_id"], ROWS, HELD)
    assert sorted(calls()) == list(range(1, ROWS + 1))
    assert run(f"SELECT COUNT(*), COUNT(DISTINCT n) FROM {dataset}.target") == [(ROWS, ROWS)]
    code, again, err = cli(module, "--resume")
    assert code == 0
    assert (again["state"], again["run_id"]) == ("published", report["run_id"])
    assert "already published; there is nothing left to do" in err
    assert len(calls()) == ROWS


@pytest.mark.parametrize(("rows", "held_after"), [(ROWS, HELD_AFTER), (500, 400)])
def test_a_killed_run_is_resumed(hold, let_go, cli, calls, until, run, dataset, rows, held_after):
    """After SIGKILL nobody says goodbye; the ledger's process is dead, so the run can go on at once.

    Where rows were fast, each worker has several, and those before the call that is held are finished.
    """
    module, process = hold(rows=rows, held_after=held_after)
    ((run_id,),) = run(f"SELECT run_id FROM etlkit_work.runs WHERE job = '{module}'")

    def all_are_staged():
        try:
            return run(f"SELECT COUNT(*) FROM etlkit_work.out_{run_id}_1_1") == [(held_after,)]
        except NotFound:
            return False

    until(all_are_staged)
    process.kill()
    process.wait()
    let_go()
    code, report, err = cli(module, "--resume=auto")
    assert code == 0, err
    assert report["run_id"] == run_id
    assert (report["read"], report["written"], report["resumed"]) == (rows, rows, held_after)
    assert run(f"SELECT COUNT(*), COUNT(DISTINCT n) FROM {dataset}.target") == [(rows, rows)]
    assert len(calls()) == rows + CONCURRENCY  # those that were in flight are made again
    code, report, err = cli(module, "--resume=auto")  # as a schedule says it: a new run this time
    assert code == 0, err
    assert report["run_id"] != run_id
    assert (report["read"], report["resumed"]) == (rows, 0)


def test_changed_code_asks_first(cli, write_job, calls, run, dataset):
    """A mended transform goes on with the failed run only when that is asked for."""
    code, report, _ = cli(write_job("1 / (row['n'] - 40)", concurrency=1))
    assert code == 1
    first = len(calls())
    module = write_job("pass", concurrency=1)
    code, _, err = cli(module, "--resume", report["run_id"])
    assert code == 1
    assert "--allow-code-change" in err
    assert len(calls()) == first
    code, again, err = cli(module, "--resume", "--allow-code-change")
    assert code == 0, err
    assert again["resumed"] == 39
    assert calls()[first:] == list(range(40, 51))
    assert run(f"SELECT COUNT(*) FROM {dataset}.target") == [(50,)]


def test_the_same_job_twice_at_once(hold, let_go, cli):
    """The second is refused with the first one's run id, and the first one goes on."""
    module, process = hold()
    code, _, err = cli(module)
    assert code == 1
    let_go()
    status, report, said = end(process)
    assert status == 0, said
    assert f"in progress already, as run {report['run_id']}" in err


def test_a_run_in_progress_cannot_be_resumed(hold, cli):
    """Somebody is at it: the message names process and host."""
    module, process = hold()
    code, _, err = cli(module, "--resume")
    assert code == 1
    assert f"is in progress (process {process.pid} on " in err


def test_concurrent_runs_where_the_job_allows_them(hold, let_go, start, until, run):
    """`is_runnable_concurrently=True` lets both run."""
    module, first = hold(options="is_runnable_concurrently=True,")
    second = start(module)
    running = f"SELECT COUNT(*) FROM etlkit_work.runs WHERE job = '{module}' AND state = 'running'"
    until(lambda: run(running) == [(2,)] or second.poll() is not None)
    let_go()
    for process in (first, second):
        status, _, said = end(process)
        assert status == 0, said


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--resume", "20200101_000000_deadbeef"], 1, "there is no run 20200101_000000_deadbeef"),
        (["--allow-code-change"], 2, "--allow-code-change goes with --resume"),
        (["--only", "ValueError"], 2, "--only goes with --retry-rejects"),
        (["--retry-rejects", "x"], 1, "target_rejects"),
    ],
)
def test_bad_requests(cli, write_job, arguments, status, message):
    """Each is one sentence."""
    code, _, err = cli(write_job(), *arguments)
    assert code == status
    assert message in err
    assert "Traceback" not in err


def test_work_tables_expire_after_a_failure(cli, write_job, bq):
    """They stay for a resume, and are gone by themselves after seven days."""
    _, report, _ = cli(write_job("1 / (row['n'] - 40)"))
    left = [t.table_id for t in bq.list_tables("etlkit_work") if report["run_id"] in t.table_id]
    run_id = report["run_id"]
    assert sorted(left) == [f"out_{run_id}_1_1", f"run_{run_id}", f"src_{run_id}"]
    for name in left:
        rest = bq.get_table(f"etlkit_work.{name}").expires - datetime.now(UTC)
        assert timedelta(days=6, hours=23) < rest <= timedelta(days=7)


def test_runs_are_listed_shown_and_cleaned_up(cli, write_job, local_server, bq, capsys):
    """`python -m etlkit.runs` tells state, counts and age; --clean keeps what can be resumed."""

    def runs(*arguments):
        where = ["--local", "--local-dir", str(local_server.local_dir)]
        status = runs_main([*arguments, *where])
        return status, *capsys.readouterr()

    module = write_job()
    _, good, err = cli(module)
    assert good["state"] == "published", err
    _, bad, _ = cli(write_job("1 / (row['n'] - 40)"))
    bq.query(
        f"CREATE TABLE etlkit_work.out_{good['run_id']}_1_1 AS SELECT 1 AS left_behind"
    ).result()
    _, out, _ = runs("--format", "json", "--limit", "2")
    listed = json.loads(out)
    assert [row["state"] for row in listed] == ["failed", "published"]
    assert [row["run_id"] for row in listed] == [bad["run_id"], good["run_id"]]
    assert listed[1]["written"] == 50
    assert 0 <= listed[1]["age_s"] < time.monotonic() + 1e6
    status, out, _ = runs("--limit", "2")
    assert status == 0
    assert good["run_id"] in out
    _, out, _ = runs(bad["run_id"], "--format", "json")
    assert "ZeroDivisionError" in json.loads(out)["error"]
    status, out, _ = runs(good["run_id"])
    assert status == 0
    assert "fingerprint" in out
    _, out, _ = runs("--clean", "--format", "json")
    assert f"etlkit_work.out_{good['run_id']}_1_1" in [row["dropped"] for row in json.loads(out)]
    left = {t.table_id for t in bq.list_tables("etlkit_work")}
    assert f"out_{bad['run_id']}_1_1" in left
    assert f"out_{good['run_id']}_1_1" not in left
    status, _, err = runs("no_such_run")
    assert status == 1
    assert "there is no run no_such_run" in err


def test_a_refused_start_leaves_no_trace(hold, let_go, cli, run, dataset):
    """After the first run is killed, --resume takes that one, not the one that was refused."""
    module, process = hold()
    ((run_id,),) = run(f"SELECT run_id FROM etlkit_work.runs WHERE job = '{module}'")
    code, _, _ = cli(module)
    assert code == 1
    process.kill()
    process.wait()
    let_go()
    code, report, err = cli(module, "--resume")
    assert code == 0, err
    assert report["run_id"] == run_id
    assert run(f"SELECT COUNT(*), COUNT(DISTINCT n) FROM {dataset}.target") == [(ROWS, ROWS)]


def test_an_older_run_is_not_resumed_by_accident(cli, write_job, run, dataset):
    """A run older than a published one is taken up only by its id: its rows would come on top."""
    _, failed, _ = cli(write_job("1 / (row['n'] - 40)"))
    _, good, _ = cli(write_job())
    code, report, err = cli(write_job(), "--resume")
    assert (code, report["run_id"]) == (0, good["run_id"])
    assert f"run {failed['run_id']} was never published; name it" in err
    assert run(f"SELECT COUNT(*) FROM {dataset}.target") == [(50,)]


def test_a_run_of_another_job_is_not_resumed(cli, write_job, tmp_path):
    """Neither one that is published nor one that goes elsewhere."""
    module = write_job()
    _, report, _ = cli(module)
    text = (tmp_path / f"{module}.py").read_text()
    (tmp_path / "another_job.py").write_text(text)
    code, _, err = cli("another_job", "--resume", report["run_id"])
    assert code == 1
    assert f"is a run of job {module}, not of another_job" in err
    (tmp_path / f"{module}.py").write_text(text.replace(".target", ".elsewhere"))
    code, _, err = cli(module, "--resume", report["run_id"])
    assert code == 1
    assert "Start a new run" in err


def test_cleaning_up_leaves_tables_of_people_alone(bq, dataset, local_server):
    """A table is not ours because its name begins like one of ours."""
    bq.query(f"CREATE TABLE {dataset}.src_customers AS SELECT 1 AS a").result()
    where = ["--local", "--local-dir", str(local_server.local_dir)]
    assert runs_main(["--clean", "--work-dataset", dataset, *where]) == 0
    assert [t.table_id for t in bq.list_tables(dataset)] == ["src_customers"]


def owner_of(run):
    dataset = ("local", "etlkit_work")
    return RunOwner(connect_run(run), run, dataset, target="local.d.t", mode="append")


def test_two_starts_at_the_same_instant(bq, dataset, local_server):
    """Whichever takes the job's lock first goes on; the other is refused and leaves no trace."""
    settings = Settings(environ=local_server.endpoints.environ())
    now = datetime.now(UTC)
    later = now + timedelta(milliseconds=2)
    with (
        Run(RunRequest(dataset, settings, started_at=now)) as early,
        Run(RunRequest(dataset, settings, started_at=later)) as late,
    ):
        assert early.run_id < late.run_id
        accepted, refused = (owner_of(run) for run in (late, early))
        accepted.start(exclusive=True)
        with pytest.raises(RunStateError, match=f"in progress already, as run {late.run_id}"):
            refused.start(exclusive=True)
        accepted.end(RuntimeError("enough seen"))
    rows = bq.query(f"SELECT run_id FROM etlkit_work.runs WHERE job = '{dataset}'").result()
    assert [row.run_id for row in rows] == [late.run_id]


def test_a_refused_resume_names_the_file_that_changed(cli, write_job, tmp_path):
    """A helper module counts, and the ledger remembers what it was."""
    module = write_job(body="import helper; helper.check(row)", rows=5)
    (tmp_path / "helper.py").write_text("def check(row):\n    raise ValueError('not yet')\n")
    code, report, _ = cli(module)
    assert code == 1
    (tmp_path / "helper.py").write_text("def check(row):\n    pass\n")
    code, _, err = cli(module, "--resume")
    assert code == 1
    assert f"changed since run {report['run_id']} began (helper.py changed): rows" in err
    code, report, _ = cli(module, "--resume", "--allow-code-change")
    assert (code, report["written"]) == (0, 5)
