"""Scripts written for TROCCO, unchanged, over the local BigQuery and the local Vision.

The two programs are the article's; they are compared with it where it lies beside the checkout.
"""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from etlkit.cli.run import main
from etlkit.local.bigquery.object_table import create_object_table
from etlkit.local.buckets import Buckets
from etlkit.local.vision.redirects import detours

ROOT = Path(__file__).parents[2]
ARTICLE = ROOT / "tests" / "data" / "article"
SEED = ROOT.parent / "shared" / "seed"
PHOTO = ROOT / "photos" / "chelsea.jpg"
URI = "gs://trocco-photos/chelsea.jpg"
KEY = "発行したAPIキーを記載"
CATS = {"cat", "tabby", "tiger cat", "egyptian cat", "persian cat", "siamese cat"}


@pytest.mark.parametrize("name", ["client.py", "rest.py"])
def test_the_programs_are_the_articles(name):
    """What runs here is what the article prints, to the letter."""
    pages = [page.read_text(encoding="utf-8") for page in SEED.glob("*.txt")]
    if not pages:
        pytest.skip("the article is not beside this checkout")
    (page,) = pages
    start = page.index(f"\n{name}\n") + len(name) + 2
    last = "    return row\n"
    assert (ARTICLE / name).read_text(encoding="utf-8") == page[
        start : page.index(last, start) + len(last)
    ]


@pytest.fixture(scope="module")
def source(local_server, bq):
    """The article's source query, over an object table of one cat."""
    buckets = Buckets(local_server.local_dir / "buckets")
    buckets.put([PHOTO], "gs://trocco-photos/")
    create_object_table(bq, "trocco_vision.object_table", ["gs://trocco-photos/*"], buckets)
    text = (ARTICLE / "source.sql").read_text(encoding="utf-8")
    assert "updated,\nfrom" in text  # the comma before FROM is the article's
    return text.replace("bqml_vision", "trocco_vision")


@pytest.fixture
def cli(local_server, tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder; gives status, report and all that was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for variable in ("ETLKIT_VISION_ENDPOINT", "ETLKIT_VISION_GRPC_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)

    def call(*arguments):
        status = main([*map(str, arguments), "--local", "--local-dir", str(local_server.local_dir)])
        out, err = capsys.readouterr()
        lines = out.strip().splitlines()
        report = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None
        return status, report, out + err

    return call


def test_the_rest_program_finds_the_cat(cli, source, dataset, run, local_server):
    """`rest.py` posts to Google's address, key and all; the stand-in answers, and no key is seen."""
    status, report, said = cli(
        "--script", ARTICLE / "rest.py", "--source", source, "--sink", f"{dataset}.found", "--debug"
    )
    assert status == 0, said
    assert (report["job"], report["written"]) == ("rest", 1)
    ((uri, size, response),) = run(f"SELECT uri, size, response FROM {dataset}.found")
    assert (uri, size) == (URI, PHOTO.stat().st_size)
    assert [each["name"] for each in response["responses"][0]["localizedObjectAnnotations"]] == [
        "Cat"
    ]
    ledger = json.dumps(run("SELECT TO_JSON_STRING(r) FROM etlkit_work.runs AS r"))
    log = (local_server.local_dir / "server.log").read_text(encoding="utf-8", errors="replace")
    for place in (said, ledger, log):
        assert KEY not in place
        assert urllib.request.quote(KEY) not in place


def test_the_client_program_finds_the_cat(cli, source, dataset, run):
    """`client.py` makes Google's client without arguments, and labels come out."""
    status, report, said = cli(
        "--script", ARTICLE / "client.py", "--source", source, "--sink", f"{dataset}.labels",
        "--mode", "replace", "--name", "labels",
    )  # fmt: skip
    assert status == 0, said
    assert (report["job"], report["written"]) == ("labels", 1)
    ((response,),) = run(f"SELECT response FROM {dataset}.labels")
    labels = {each["description"].lower() for each in response["label_annotations"]}
    assert labels & CATS
    assert response["localized_object_annotations"] == []


def test_a_client_for_every_row_does_not_pile_up(cli, dataset, run):
    """The program makes a client per row; in the local world they share one connection."""
    descriptors = Path("/proc/self/fd")
    query = f"SELECT '{URI}' AS uri, n FROM UNNEST(GENERATE_ARRAY(1, 40)) AS n"

    def go(table):
        arguments = ["--script", ARTICLE / "client.py", "--source", query]
        status, report, said = cli(
            *arguments, "--sink", f"{dataset}.{table}", "--max-concurrency", 4
        )
        assert (status, report["written"]) == (0, 40), said

    go("warm")
    threads = threading.active_count()
    files = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    go("again")
    assert threading.active_count() <= threads + 2
    if files:
        assert len(list(descriptors.iterdir())) <= files + 8
    assert run(f"SELECT COUNT(*) FROM {dataset}.again") == [(40,)]


def test_a_job_module_may_import_a_script(cli, source, dataset, tmp_path, run):
    """`from etl_base import EtlBase` also works in what a job module imports."""
    (tmp_path / "old_script.py").write_text((ARTICLE / "rest.py").read_text(encoding="utf-8"))
    (tmp_path / "trocco_job.py").write_text(
        "from etlkit import BigQuerySink, BigQuerySource, TransferJob\n"
        "from old_script import Etl\n"
        f'job = TransferJob(source=BigQuerySource("""{source}"""), transform=Etl,\n'
        f'    sink=BigQuerySink("{dataset}.found", mode="replace"))\n'
    )
    try:
        status, report, said = cli("trocco_job")
    finally:
        for name in ("old_script", "trocco_job"):
            sys.modules.pop(name, None)
    assert status == 0, said
    assert report["job"] == "trocco_job"
    assert run(f"SELECT COUNT(*) FROM {dataset}.found") == [(1,)]


SCRIPT = """
from etl_base import EtlBase

class Etl(EtlBase):
  def __init__(self):
    self.seen = []

  def before_action(self):
    self.greeting = "hello"

  def transform_row(self, row):
    self.seen.append(row["n"])
    if row["n"] == {fails}:
      raise ValueError("no such number")
    if row["n"] == 2:
      return None
    row["said"] = self.greeting
    del row["other"]
    return row
"""
ROWS = "SELECT n, 'x' AS other FROM UNNEST(GENERATE_ARRAY(1, 5)) AS n"


def test_a_failed_script_is_resumed_and_knows_its_own_code(cli, dataset, tmp_path, run):
    """--resume goes on with a script's run; changed code is refused unless it is allowed."""
    script = tmp_path / "greet.py"
    script.write_text(SCRIPT.format(fails=4))
    arguments = ["--script", script, "--source", ROWS, "--sink", f"{dataset}.greeted"]
    status, report, said = cli(*arguments)
    assert status == 1
    assert "greet.py:14" in said
    script.write_text(SCRIPT.format(fails=99))
    status, _, said = cli(*arguments, "--resume")
    assert status == 1
    assert "--allow-code-change" in said
    status, resumed, said = cli(*arguments, "--allow-code-change", "--resume", report["run_id"])
    assert status == 0, said
    assert (resumed["job"], resumed["skipped"], resumed["written"]) == ("greet", 1, 4)
    rows = run(f"SELECT n, said FROM {dataset}.greeted ORDER BY n")
    assert rows == [(n, "hello") for n in (1, 3, 4, 5)]


def test_modes_and_row_errors_are_options(cli, dataset, tmp_path, run):
    """--mode merge with --merge-keys, --on-row-error reject, --preview: as in a job module."""
    script = tmp_path / "greet.py"
    script.write_text(SCRIPT.format(fails=4))
    run(f"CREATE TABLE {dataset}.greeted AS SELECT 1 AS n, 'old' AS said")
    arguments = [
        "--script", script, "--source", ROWS, "--sink", f"{dataset}.greeted",
        "--mode", "merge", "--merge-keys", "n", "--on-row-error", "reject",
    ]  # fmt: skip
    assert cli(*arguments, "--preview=3")[0] == 0
    assert run(f"SELECT COUNT(*) FROM {dataset}.greeted") == [(1,)]
    status, report, said = cli(*arguments)
    assert status == 0, said
    assert (report["written"], report["skipped"], report["rejected"]) == (3, 1, 1)
    rows = run(f"SELECT n, said FROM {dataset}.greeted ORDER BY n")
    assert rows == [(n, "hello") for n in (1, 3, 5)]


def test_other_hosts_are_not_led_away(local_server, monkeypatch):
    """Only Vision's own address is; and when the world is left, nothing is."""
    monkeypatch.setenv("ETLKIT_VISION_ENDPOINT", local_server.endpoints.vision)
    body = json.dumps(
        {
            "requests": [
                {"image": {"source": {"imageUri": URI}}, "features": [{"type": "LABEL_DETECTION"}]}
            ]
        }
    ).encode()
    headers = {"Content-Type": "application/json"}
    url = f"https://eu-vision.googleapis.com/v1/images:annotate?key={KEY}"
    request = urllib.request.Request(url, body, headers)
    with detours():
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - https
            assert answer.url.startswith("http://127.0.0.1")
            assert json.loads(answer.read())["responses"]
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen("https://vision.invalid/v1/x?key=k", timeout=5)
    assert urllib.request._opener is None


def test_an_opener_of_the_users_own_is_left_alone(monkeypatch):
    """Somebody who has installed an opener knows what it does."""
    own = urllib.request.build_opener()
    monkeypatch.setattr(urllib.request, "_opener", own)
    with detours():
        assert urllib.request._opener is own
    assert urllib.request._opener is own


def test_a_client_with_arguments_is_left_alone(monkeypatch):
    """Arguments say where the client shall go; and outside of the world it is Google's own again."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import vision_v1

    monkeypatch.setitem(os.environ, "ETLKIT_VISION_GRPC_ENDPOINT", "127.0.0.1:1")
    before = vision_v1.ImageAnnotatorClient.__init__
    with detours():
        with vision_v1.ImageAnnotatorClient(credentials=AnonymousCredentials()) as own:
            assert own.transport.host == "vision.googleapis.com:443"
        assert vision_v1.ImageAnnotatorClient().transport.host == "127.0.0.1:1"
    assert vision_v1.ImageAnnotatorClient.__init__ is before


def test_a_client_that_is_imported_later_is_led_away_too():
    """Nobody has imported Google's client when the world is entered: it is changed as it comes."""
    code = (
        "import sys\n"
        "from etlkit.local.vision.redirects import detours\n"
        "with detours():\n"
        "    assert 'google.cloud.vision_v1' not in sys.modules\n"
        "    from google.cloud import vision_v1\n"
        "    transports = []\n"
        "    for _ in range(3):\n"
        "        with vision_v1.ImageAnnotatorClient() as client:\n"
        "            transports.append(client.transport)\n"
        "print(transports[0].host, transports[0] is transports[1] is transports[2])\n"
        "print(hasattr(vision_v1.ImageAnnotatorClient.__init__, '__wrapped__'))\n"
    )
    environ = {**os.environ, "ETLKIT_VISION_GRPC_ENDPOINT": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split("\n")[:-1] == ["127.0.0.1:1 True", "False"]


def test_an_error_of_the_rest_program_shows_no_key(cli, dataset, tmp_path, local_server):
    """What urllib says of an address that it cannot use has the key in it; nobody sees it."""
    text = (ARTICLE / "rest.py").read_text(encoding="utf-8")
    script = tmp_path / "broken.py"
    script.write_text(text.replace(KEY, "s3cret key").replace("vision.googleapis.com", "127.0.0.1"))
    status, report, said = cli(
        "--script", script, "--source", f"SELECT '{URI}' AS uri", "--sink", f"{dataset}.found",
        "--debug",
    )  # fmt: skip
    assert status == 1
    assert "InvalidURL" in report["error"]
    assert "?key=…" in report["error"]
    assert "s3cret" not in said
