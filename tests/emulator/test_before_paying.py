"""Before paying: a preview, a rehearsal and a comparison, with a server that counts the calls."""

import json
import signal
import subprocess
from collections import Counter
from dataclasses import replace

import pytest

from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob, rehearse_job
from etlkit.api.run import Interrupted, Settings
from etlkit.errors import JobError, SinkError
from tests.loopback import answering

TRANSFORM = """
from etlkit import EtlBase
from etlkit.calls.http import HttpClient
from transforms.rules import is_left_out

class Etl(EtlBase):
    max_concurrency = 4

    def before_action(self):
        self.http = HttpClient("{url}", service="shouter")

    def transform_row(self, row):
        if is_left_out(row["n"]):
            return None
        if row["n"] % 20 == 7:
            raise ValueError("seven")
        row["loud"] = self.http.post_json("/shout", {{"word": row["word"]}})["loud"]
        return row
"""
JOB = """
from etlkit import BigQuerySink, BigQuerySource, TransferJob
from transforms.shout import Etl

SOURCE = BigQuerySource(
    "SELECT n, CONCAT('w', CAST(n AS STRING)) AS word FROM UNNEST(GENERATE_ARRAY(1, 200)) AS n")

def make(**options):
    return TransferJob(
        source=SOURCE, transform=Etl, on_row_error="reject", price_per_unit=0.5, max_rejected=None,
        sink=BigQuerySink("{dataset}.shouted", mode="replace"), **options)

job = make()
known = make(reuse="n, word", max_calls=60, checks=["SELECT n FROM {{staged}} WHERE n > 0"])
"""
RULES = "def is_left_out(n):\n    return n % 10 == {rest}\n"


@pytest.fixture
def shouter():
    """Answers each word in capitals, and refuses now and then; `asked` are the requests."""

    def answer(asked):
        word = json.loads(asked.body)["word"]
        return (
            200,
            {"Content-Type": "application/json"},
            json.dumps({"loud": word.upper()}).encode(),
        )

    with answering(answer) as server:
        yield server


@pytest.fixture
def project(here, shouter, dataset):
    """A project in a git repository with one commit."""
    for folder in ("jobs", "transforms"):
        (here / folder).mkdir()
    (here / "transforms" / "shout.py").write_text(TRANSFORM.format(url=shouter.url))
    (here / "transforms" / "rules.py").write_text(RULES.format(rest=3))
    (here / "jobs" / "shout.py").write_text(JOB.format(dataset=dataset))
    commit(here)
    return here


def commit(folder):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=folder, check=True, timeout=60)  # noqa: S607

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")


@pytest.fixture
def work_tables(bq):
    """The work tables that are left of runs, without ledger, locks and results."""

    def tables():
        names = {table.table_id for table in bq.list_tables("etlkit_work")}
        return {name for name in names if name.startswith(("src_", "out_", "rej_", "rehearsal_"))}

    bq.create_dataset("etlkit_work", exists_ok=True)
    return tables


def test_a_preview_says_which_calls_it_has_made(cli, project, shouter, bq, dataset):
    """One table, the reason of each rejected row, calls and price; and all of it as JSON."""
    status, _, seen = cli("jobs.shout", "--preview", "8")
    assert status == 1
    assert "for real" in seen
    assert "+ W1" in seen
    assert "3 skipped" in seen
    assert "7 rejected" in seen
    assert "row 7 rejected: ValueError: seven (transforms/shout.py:" in seen
    assert "6 real calls were made, 3.00 USD for 6 units" in seen
    assert len(shouter.asked) == 6
    status, shown, _ = cli("jobs.shout", "--preview", "3", "--json")
    assert (status, [row["state"] for row in shown["rows"]]) == (
        0,
        ["written", "written", "skipped"],
    )
    assert (shown["calls"], shown["cost"]) == (2, 1.0)
    assert not list(bq.list_tables(dataset))


def test_what_a_rehearsal_has_paid_for_is_not_paid_for_again(
    cli, project, shouter, run, bq, dataset, work_tables
):
    """Random rows from end to end; then the real run calls for the others alone."""
    before = work_tables()
    status, report, seen = cli("jobs.shout:known", "--rehearse", "50", "--json")
    asked = Counter(request.body for request in shouter.asked)
    assert len(asked) == len(shouter.asked) == report["calls"] == report["written"]
    assert (report["source_rows"], report["read"]) == (200, 50)
    assert report["written"] + report["skipped"] + report["rejected"] == 50
    assert report["error_classes"] == {"ValueError": report["rejected"]}
    assert report["error_rate"]["low"] < report["rejected"] / 50 < report["error_rate"]["high"]
    assert report["call_s"]["num"] == report["calls"]
    assert report["known"] == report["results_kept"] == 50 - report["rejected"]
    whole = report["projection"]
    assert whole["rows"] == 200 - report["known"]
    assert whole["calls"]["low"] <= 170 - report["calls"] <= whole["calls"]["high"] * 1.2
    assert whole["cost"]["value"] == pytest.approx(whole["calls"]["value"] / 2)
    assert whole["seconds"]["low"] < whole["seconds"]["value"] < whole["seconds"]["high"]
    assert any("max_calls=60" in text for text in report["limits"])
    assert status == (1 if report["would_fail"] else 0)
    assert report["failed_checks"]
    assert report["changes"] == [f"local.{dataset}.shouted would be created"]
    assert not list(bq.list_tables(dataset))
    assert work_tables() == before

    known = report["known"]
    status, report, _ = cli("jobs.shout:known", "--rehearse", "30", "--json")
    assert (report["read"], report["reused"], report["results_kept"]) == (
        30,
        0,
        30 - report["rejected"],
    )
    assert report["known"] == known + report["results_kept"]

    (project / "jobs" / "shout.py").write_text(
        JOB.format(dataset=dataset)
        .replace("max_calls=60", "max_calls=900")
        .replace("n > 0", "n < 0")
    )
    status, real, seen = cli("jobs.shout:known")
    assert (status, real["state"]) == (0, "published"), seen
    assert real["reused"] == report["known"]
    asked = Counter(request.body for request in shouter.asked)
    assert set(asked.values()) == {1}
    assert len(asked) == 170
    ((num,),) = run(f"SELECT COUNT(*) FROM {dataset}.shouted")
    assert num == 170


def test_a_rehearsal_for_people_and_without_reuse(cli, project, bq, dataset, work_tables):
    """The summary says that calls are made again; the table is kept where that is asked for."""
    bq.query_and_wait(
        f"CREATE TABLE {dataset}.shouted (n INT64 NOT NULL, word STRING(3), loud STRING)"
    )
    bq.query_and_wait(f"INSERT INTO {dataset}.shouted VALUES (1, 'old', 'OLD')")
    status, report, seen = cli(
        "jobs.shout", "--rehearse", "200", "--keep-table", "--report", "r.json"
    )
    assert (status, report["read"], report["written"]) == (0, 200, 84)
    assert report["error_classes"] == {"RowSchemaError": 86, "ValueError": 10}
    for text in ("200 of 200 rows", "a run makes the 170 calls again", "for 7 days", "error rate"):
        assert text in " ".join(seen.replace("│", " ").split())
    assert json.loads((project / "r.json").read_text()) == report
    kept = bq.get_table(report["table"])
    assert (kept.num_rows, [field.name for field in kept.schema]) == (84, ["n", "word", "loud"])
    assert kept.expires is not None
    rejects = bq.get_table(f"{report['table']}_rejects")
    assert (rejects.num_rows, rejects.expires is not None) == (96, True)
    assert [tuple(row) for row in bq.list_rows(f"{dataset}.shouted")] == [(1, "old", "OLD")]
    for name in (report["table"], f"{report['table']}_rejects"):
        bq.delete_table(name)


class Broken(EtlBase):
    """Its code is wrong."""

    def transform_row(self, row):
        return nothing_of_the_kind(row)  # noqa: F821 - the point of it


def settings_of(server):
    return Settings(environ=server.endpoints.environ())


def test_nothing_is_left_of_a_rehearsal_that_ends_early(local_server, dataset, work_tables):
    """After an error and after a stop: no throw-away table, no staged rows, no target."""
    before = work_tables()
    job = TransferJob(
        source=BigQuerySource("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 9)) AS n"),
        transform=Broken,
        sink=BigQuerySink(f"{dataset}.x", mode="merge", merge_keys=("n",), before_load="DELETE x"),
    )
    settings = settings_of(local_server)
    with pytest.raises(JobError, match="nothing_of_the_kind") as caught:
        rehearse_job(job, settings=settings, num_rows=5)
    report = caught.value.report
    assert (report.state, report.projection, report.source_rows) == ("failed", None, 9)
    assert report.differences == ["before_load did not run: it changes the target"]
    assert work_tables() == before

    runs = []

    def stop(stage, *_):
        if stage == "transform":
            runs[0].request_stop(signal.SIGINT)

    with pytest.raises(Interrupted) as stopped:
        rehearse_job(job, settings=settings, on_start=runs.append, on_progress=stop)
    assert stopped.value.report.state == "interrupted"
    assert work_tables() == before
    elsewhere = replace(job, sink=BigQuerySink("no_such_dataset.x"))
    with pytest.raises(SinkError, match="does not exist"):
        rehearse_job(elsewhere, settings=settings)
    assert work_tables() == before


def test_a_comparison_with_a_revision(cli, project, shouter, bq, dataset, work_tables):
    """Equal requests are made once; rows and columns that differ are counted and shown."""
    before = work_tables()
    (project / "transforms" / "rules.py").write_text(RULES.format(rest=4))
    text = (project / "transforms" / "shout.py").read_text()
    changed = text.replace(
        "        return row\n", "        row['size'] = len(row['word'])\n        return row\n"
    )
    (project / "transforms" / "shout.py").write_text(changed)
    status, _, seen = cli("jobs.shout", "--diff", "HEAD", "--sample", "60", "--report", "r.json")
    report = json.loads((project / "r.json").read_text())
    assert (status, report["is_same"]) == (1, False)
    assert report["changed_files"] == ["transforms/rules.py changed", "transforms/shout.py changed"]
    assert [(c["column"], c["old_type"], c["new_type"]) for c in report["columns"]] == [
        ("size", None, "INT64")
    ]
    moved = report["moved"]
    assert set(moved) == {"written -> skipped", "skipped -> written"}
    assert report["new"]["calls"] == moved["skipped -> written"]
    assert len(shouter.asked) == report["old"]["calls"] + report["new"]["calls"]
    assert report["changed"] == report["columns"][0]["changed"] == report["new"]["replayed"]
    assert report["same"] + report["changed"] + sum(moved.values()) == 60

    for part in ("old: HEAD (", "+ size", "~ result", "skipped", "transforms/rules.py changed"):
        assert part in seen
    assert "different (60 of 200 rows compared, seed 0): " in seen
    assert not list(bq.list_tables(dataset))
    assert work_tables() == before


def test_results_that_are_known_are_not_asked_for_by_a_comparison(cli, project, shouter):
    """The old code's rows come from the results of earlier runs, the new code's if it is the same."""
    assert cli("jobs.shout:known", "--rehearse", "50")[1]["state"] == "rehearsed"
    shouter.asked.clear()
    status, report, _ = cli("jobs.shout:known", "--diff", "HEAD", "--sample", "50", "--json")
    failed = report["old"]["rejected"]
    assert (status, report["same"], report["old"]["known"]) == (0, 50, 50 - failed)
    assert (report["new"]["known"], shouter.asked) == (50 - failed, [])


def test_a_comparison_with_a_file(cli, project, shouter):
    """A script with a class Etl gets the job's source; what is wrong with it is said to be its."""
    text = (project / "transforms" / "shout.py").read_text()
    other = project / "other.py"
    other.write_text(text.replace('["loud"]\n', '["loud"].lower()\n'))
    status, report, _ = cli("jobs.shout", "--diff", "other.py", "--sample", "20", "--json")
    assert status == 1
    assert report["columns"] == [
        {"column": "loud", "old_type": "STRING", "new_type": "STRING", "changed": report["changed"]}
    ]
    assert report["changed"] == report["new"]["written"] == report["new"]["replayed"]
    other.write_text(text.replace("max_concurrency = 4", "columns = ('gone',)"))
    status, _, seen = cli("jobs.shout", "--diff", "other.py")
    assert status == 2
    assert "the code of other.py: the transform reads gone, but the source has only n, word" in seen
    status, _, seen = cli("jobs.shout", "--diff", "no-such-revision")
    assert status == 2
    assert "--diff no-such-revision: it is neither a file nor a revision that git knows" in seen
