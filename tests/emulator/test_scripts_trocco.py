"""Scripts written for TROCCO run unchanged over the local BigQuery and the local Vision.

Two scripts run in two wordings: ours, and the article's to the letter where its text is here.
"""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from etlkit.local.bigquery.object_table import create_object_table
from etlkit.local.buckets import Buckets
from etlkit.local.vision.redirects import redirect_vision
from tests import article

ROOT = Path(__file__).parents[2]
OURS = ROOT / "tests" / "data" / "photos_pipeline"
PHOTO = ROOT / "photos" / "chelsea.jpg"
URI = "gs://trocco-photos/chelsea.jpg"
KEYS = {"ours": "ここに自分のキー", "article": "発行したAPIキーを記載"}
CATS = {"cat", "tabby", "tiger cat", "egyptian cat", "persian cat", "siamese cat"}


@pytest.fixture(params=KEYS)
def wording(request):
    """Whose scripts run: `ours` or the `article`'s."""
    return request.param


@pytest.fixture
def script(wording, tmp_path):
    """Write this script to a file of its own; returns the path."""

    def write(name):
        ours = (OURS / name).read_text(encoding="utf-8")
        text = ours if wording == "ours" else article.program(name)
        path = tmp_path / "scripts" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def source(local_server, bq):
    """A query of all metadata, over an object table of one cat."""
    buckets = Buckets(local_server.local_dir / "buckets")
    buckets.put([PHOTO], "gs://trocco-photos/")
    create_object_table(bq, "trocco_vision.object_table", ["gs://trocco-photos/*"], buckets)
    text = (OURS / "source.sql").read_text(encoding="utf-8")
    return text.replace("gallery.pictures", "trocco_vision.object_table")


@pytest.fixture(autouse=True)
def _own_vision(monkeypatch):
    for variable in ("ETLKIT_VISION_ENDPOINT", "ETLKIT_VISION_GRPC_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)


def test_the_rest_script_finds_the_cat(cli, script, wording, source, dataset, run, local_server):
    """`rest.py` posts to Google's address with a key; the stand-in answers and nobody sees the key."""
    key = KEYS[wording]
    assert key in script("rest.py").read_text(encoding="utf-8")
    status, report, said = cli(
        "--script", script("rest.py"), "--source", source, "--sink", f"{dataset}.found", "--debug"
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
        assert key not in place
        assert urllib.request.quote(key) not in place


def test_the_client_script_finds_the_cat(cli, script, source, dataset, run):
    """`client.py` makes Google's client without arguments and gets labels."""
    status, report, said = cli(
        "--script", script("client.py"), "--source", source, "--sink", f"{dataset}.labels",
        "--mode", "replace", "--name", "labels",
    )  # fmt: skip
    assert status == 0, said
    assert (report["job"], report["written"]) == ("labels", 1)
    ((response,),) = run(f"SELECT response FROM {dataset}.labels")
    labels = {each["description"].lower() for each in response["label_annotations"]}
    assert labels & CATS
    assert response["localized_object_annotations"] == []


def test_a_client_for_every_row_does_not_pile_up(cli, dataset, run, until):
    """The script makes a client per row; in the local world they share one connection."""
    descriptors = Path("/proc/self/fd")
    query = f"SELECT '{URI}' AS uri, n FROM UNNEST(GENERATE_ARRAY(1, 40)) AS n"

    def go(table):
        arguments = ["--script", OURS / "client.py", "--source", query]
        status, report, said = cli(
            *arguments, "--sink", f"{dataset}.{table}", "--max-concurrency", 4
        )
        assert (status, report["written"]) == (0, 40), said

    go("warm")
    threads = threading.active_count()
    files = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    go("again")
    until(lambda: threading.active_count() <= threads + 2)  # work tables are dropped beside the run
    if files:
        assert len(list(descriptors.iterdir())) <= files + 8
    assert run(f"SELECT COUNT(*) FROM {dataset}.again") == [(40,)]


def test_a_job_module_may_import_a_script(cli, source, dataset, tmp_path, run):
    """`from etl_base import EtlBase` also works in modules that a job module imports."""
    (tmp_path / "old_script.py").write_text((OURS / "rest.py").read_text(encoding="utf-8"))
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
    """--resume continues a script's run; changed code is refused unless it is allowed."""
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
    """--mode, --merge-keys, --on-row-error and --preview do what they do for a job module."""
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


@pytest.mark.parametrize("used_before", [False, True])
def test_other_hosts_are_not_led_away(used_before, local_server, monkeypatch):
    """Only calls to Vision are redirected, and only inside the local world."""
    monkeypatch.setenv("ETLKIT_VISION_ENDPOINT", local_server.endpoints.vision)
    before = urllib.request.build_opener() if used_before else None  # the first `urlopen` makes one
    monkeypatch.setattr(urllib.request, "_opener", before)
    body = json.dumps(
        {
            "requests": [
                {"image": {"source": {"imageUri": URI}}, "features": [{"type": "LABEL_DETECTION"}]}
            ]
        }
    ).encode()
    headers = {"Content-Type": "application/json"}
    url = f"https://eu-vision.googleapis.com/v1/images:annotate?key={KEYS['ours']}"
    request = urllib.request.Request(url, body, headers)
    with redirect_vision():
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - https
            assert answer.url.startswith("http://127.0.0.1")
            assert json.loads(answer.read())["responses"]
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen("https://vision.invalid/v1/x?key=k", timeout=5)
    assert urllib.request._opener is before


def test_an_opener_of_the_users_own_is_left_alone(monkeypatch):
    """An opener that the user installed is not replaced."""
    own = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    monkeypatch.setattr(urllib.request, "_opener", own)
    with redirect_vision():
        assert urllib.request._opener is own
    assert urllib.request._opener is own


def test_a_client_with_arguments_is_left_alone(monkeypatch):
    """A client with arguments uses them; outside the local world nothing is redirected."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import vision_v1

    monkeypatch.setitem(os.environ, "ETLKIT_VISION_GRPC_ENDPOINT", "127.0.0.1:1")
    before = vision_v1.ImageAnnotatorClient.__init__
    with redirect_vision():
        with vision_v1.ImageAnnotatorClient(credentials=AnonymousCredentials()) as own:
            assert own.transport.host == "vision.googleapis.com:443"
        assert vision_v1.ImageAnnotatorClient().transport.host == "127.0.0.1:1"
    assert vision_v1.ImageAnnotatorClient.__init__ is before


def test_a_client_that_is_imported_later_is_led_away_too():
    """Google's client is redirected also if it is imported after the local world was entered."""
    code = (
        "import sys\n"
        "from etlkit.local.vision.redirects import redirect_vision\n"
        "with redirect_vision():\n"
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


def test_an_error_of_the_rest_script_shows_no_key(cli, dataset, tmp_path, local_server):
    """urllib's message about an unusable address has the key in it; etlkit takes it out."""
    text = (OURS / "rest.py").read_text(encoding="utf-8").replace(KEYS["ours"], "s3cret key")
    script = tmp_path / "broken.py"
    script.write_text(text.replace("vision.googleapis.com", "127.0.0.1"))
    status, report, said = cli(
        "--script", script, "--source", f"SELECT '{URI}' AS uri", "--sink", f"{dataset}.found",
        "--debug",
    )  # fmt: skip
    assert status == 1
    assert "InvalidURL" in report["error"]
    assert "?key=…" in report["error"]
    assert "s3cret" not in said
