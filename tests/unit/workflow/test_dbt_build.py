import itertools
import json
import os
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from etlkit import ConfigError, DbtBuild, JobError, Settings, TaskContext, TaskReport, Timestamp
from etlkit.api.run import Interrupted
from etlkit.workflow.dbt import process as dbt_process
from etlkit.workflow.dbt.profile import write_profile

EMULATOR = "http://127.0.0.1:9050"
LOCAL = Settings(environ={"BIGQUERY_EMULATOR_HOST": EMULATOR, "GOOGLE_CLOUD_PROJECT": "local"})


def context(**options):
    report = TaskReport(name="dbt", kind="dbt")
    options.setdefault("settings", LOCAL)
    return TaskContext(report=report, run_id="r", workflow="w", path=("dbt",), **options)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text("name: x\n")
    (folder / "models" / "m.sql").write_text("SELECT 1 AS x")
    return folder


@pytest.fixture
def fake_dbt(tmp_path):
    """Make an interpreter that runs a program of the test's own instead of dbt."""

    def make(code):
        program = tmp_path / "program.py"
        program.write_text("import json, os, sys, time\n" + code)
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\nexec {sys.executable} {program}\n")
        python.chmod(0o755)
        return python

    return make


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "a b"}, "dataset"),
        ({"dataset": "{{ x }}"}, "dataset"),
        ({"target": "a-b"}, "target"),
        ({"threads": 0}, "threads"),
        ({"select": ["--profiles-dir"]}, "select"),
        ({"exclude": ""}, "exclude"),
        ({"vars": {"x": Timestamp()}}, "JSON"),
    ],
)
def test_wrong_values_are_refused_at_once(options, message):
    """Before any file is read."""
    with pytest.raises(ConfigError, match=message):
        DbtBuild("nowhere", **{"dataset": "d", **options})


def test_a_folder_without_a_project(tmp_path):
    """The sentence names the file that is missing."""
    with pytest.raises(ConfigError, match=r"no dbt_project\.yml"):
        DbtBuild(tmp_path, "d").run(context())


def test_an_interpreter_without_dbt(project, tmp_path):
    """The sentence names the extra and the other way out."""
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(ConfigError, match="extra `dbt`"):
        DbtBuild(project, "d", python=bare).run(context())
    with pytest.raises(ConfigError, match="cannot start"):
        DbtBuild(project, "d", python=tmp_path / "none").run(context())


def test_the_profile_of_the_local_world(tmp_path):
    """It leads to the local BigQuery, has no secret, and only this user can read it."""
    write_profile(tmp_path, LOCAL, "d", "prod", {"threads": 2})
    path = tmp_path / "profiles.yml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {
        "etlkit": {
            "target": "prod",
            "outputs": {
                "prod": {
                    "type": "bigquery",
                    "dataset": "d",
                    "threads": 2,
                    "method": "oauth-secrets",
                    "token": "local",
                    "api_endpoint": EMULATOR,
                    "project": "local",
                    "execution_project": "local",
                }
            },
        }
    }


def test_the_profile_on_google_cloud(tmp_path, monkeypatch):
    """It uses the credentials of the environment and names no key; the project can be another one."""
    settings = Settings(project="payer", location="EU")
    write_profile(tmp_path, settings, "owner.d", "etlkit", {})
    output = json.loads((tmp_path / "profiles.yml").read_text())["etlkit"]["outputs"]["etlkit"]
    assert output == {
        "type": "bigquery",
        "method": "oauth",
        "project": "owner",
        "dataset": "d",
        "execution_project": "payer",
        "location": "EU",
    }


def test_without_credentials_dbt_is_not_started(project, monkeypatch, tmp_path):
    """dbt would open a browser and wait; the sentence says what to do."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.delenv("CLOUDSDK_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="--local"):
        DbtBuild(project, "d", python="/nowhere").run(context(settings=Settings()))


def test_what_dbt_is_asked(project, fake_dbt):
    """Every option reaches dbt over stdin; variables of the workflow stand in `vars` and `dataset`."""
    python = fake_dbt("""
request = json.loads(sys.stdin.readline())
profiles = request["arguments"][request["arguments"].index("--profiles-dir") + 1]
request["profile"] = json.load(open(profiles + "/profiles.yml"))
request["argv"] = sys.argv[1:]
json.dump(request, open(os.environ["SAYS"], "w"))
print(json.dumps({"event": "done", "success": True, "error": None}))
""")
    says = project.parent / "says.json"
    build = DbtBuild(
        project,
        "d_$suffix$",
        select=["a", "tag:b"],
        exclude="c",
        vars={"day": "$day$", "n": 3, "text": "x $n$"},
        target="prod",
        threads=7,
        full_refresh=True,
        python=python,
    )
    environ = {**LOCAL.environ, "SAYS": str(says)}
    given = {"suffix": "x", "day": "2024-01-02", "n": 5}
    build.run(context(settings=Settings(environ=environ), variables=given))
    said = json.loads(says.read_text())
    arguments = said["arguments"]
    value = dict(itertools.pairwise(arguments))
    assert arguments[arguments.index("--select") + 1 :][:2] == ["a", "tag:b"]
    assert (value["--exclude"], value["--target"]) == ("c", "prod")
    assert json.loads(value["--vars"]) == {"day": "2024-01-02", "n": 3, "text": "x 5"}
    assert {"build", "--full-refresh", "--no-send-anonymous-usage-stats"} <= set(arguments)
    assert value["--project-dir"] == str(project)
    output = said["profile"]["etlkit"]["outputs"]["prod"]
    assert (output["dataset"], output["threads"]) == ("d_x", 7)
    assert said["argv"] == []
    assert not Path(value["--profiles-dir"]).exists()
    assert build.used_variables() == {"suffix", "day", "n"}


def test_a_dbt_that_ends_early_shows_the_end_of_its_log(project, fake_dbt):
    """Without a word of how it went, the run has failed."""
    python = fake_dbt('print("no room", file=sys.stderr); sys.exit(3)')
    with pytest.raises(JobError, match=r"exit status 3(?s:.*)no room"):
        DbtBuild(project, "d", python=python).run(context())


def test_a_failure_of_dbt_itself(project, fake_dbt):
    """Its own words are the message."""
    python = fake_dbt('print(json.dumps({"event": "done", "success": False, "error": "bad yaml"}))')
    with pytest.raises(JobError, match="bad yaml"):
        DbtBuild(project, "d", python=python).run(context())


def test_a_dbt_that_does_not_stop_is_killed(project, fake_dbt, monkeypatch):
    """It gets some time to cancel its queries, and then it is gone, with all that it started."""
    monkeypatch.setattr(dbt_process, "STOP_S", 0.2)
    python = fake_dbt("""
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(json.dumps({"event": "started", "id": "model.x.m", "name": "m"}), flush=True)
open(os.environ["SAYS"], "w").write(str(os.getpid()))
time.sleep(600)
""")
    says = project.parent / "says"
    environ = {**LOCAL.environ, "SAYS": str(says)}
    running = context(settings=Settings(environ=environ))

    class Watcher:
        def task_changed(self, path, report):
            if report.state == "running":
                threading.Thread(target=running.stopping.request, args=(2,)).start()

    running.observer = Watcher()
    with pytest.raises(Interrupted):
        DbtBuild(project, "d", python=python).run(running)
    (child,) = running.report.children
    assert (child.name, child.state) == ("m", "interrupted")
    with pytest.raises(ProcessLookupError):
        os.kill(int(says.read_text() or 2**22), 0)


def manifest(project, at=None):
    path = project / "target" / "manifest.json"
    path.parent.mkdir(exist_ok=True)
    node = {
        "resource_type": "model",
        "schema": "made",
        "name": "m",
        "relation_name": "`p`.`made`.`m`",
    }
    path.write_text(
        json.dumps(
            {
                "sources": {"source.x.s.t": {"schema": "d", "identifier": "t", "name": "t"}},
                "nodes": {
                    "model.x.m": node,
                    "model.x.n": {**node, "name": "n", "alias": "other"},
                    "model.x.e": {**node, "name": "e", "relation_name": None},
                    "test.x.u": {**node, "resource_type": "test", "name": "u"},
                },
            }
        )
    )
    if at is not None:
        os.utime(path, (at, at))


def test_the_tables_of_a_manifest(project):
    """Sources are read and models are written; ephemeral models and tests are no tables."""
    manifest(project, at=time.time() + 10)
    tables = DbtBuild(project, "d").tables()
    assert (tables.reads, tables.writes, tables.unclear) == ({"d.t"}, {"made.m", "made.other"}, ())


def test_without_a_fresh_manifest_the_tables_are_unclear(project):
    """The sentence says how to make one."""
    (sentence,) = DbtBuild(project, "d").tables().unclear
    assert "dbt parse" in sentence
    manifest(project, at=1)
    (sentence,) = DbtBuild(project, "d").tables().unclear
    assert "changed" in sentence


def test_the_fingerprint_follows_the_files(project):
    """A resumed run notices another model; what dbt writes itself does not count."""
    before = DbtBuild(project, "d").fingerprint()
    manifest(project)
    assert DbtBuild(project, "d").fingerprint() == before
    (project / "models" / "m.sql").write_text("SELECT 2 AS x")
    assert DbtBuild(project, "d").fingerprint() != before
