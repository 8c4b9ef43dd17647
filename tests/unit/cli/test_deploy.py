import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from etlkit.cli.cron_schedule import check_schedule
from etlkit.cli.root import main
from etlkit.errors import ConfigError

JOB = """
from etlkit import BigQuerySink, BigQuerySource, Datamart, EtlBase, TransferJob

class Etl(EtlBase):
    def transform_row(self, row):
        return row

job = TransferJob(source=BigQuerySource("SELECT 1 AS x"), transform=Etl, sink=BigQuerySink("d.t"))
mart = Datamart(sql="SELECT 1")
"""
PLACE = ("--project", "my-project", "--region", "us-central1")
SCHEDULE = ("--schedule", "30 5 * * *", "--time-zone", "Asia/Tokyo")
BASH = shutil.which("bash")
needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The folder of a user's project."""
    folder = tmp_path / "it's a project"
    (folder / "deploy_test_jobs").mkdir(parents=True)
    (folder / "deploy_test_jobs" / "daily_load.py").write_text(JOB)
    (folder / "requirements.txt").write_text("etlkit-bigquery\n")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("deploy_test_jobs")]:
        del sys.modules[name]


@pytest.fixture
def deploy(project, capsys):
    """Call the command; give the exit status and what it printed to both streams."""

    def call(*arguments, target="deploy_test_jobs.daily_load", place=PLACE):
        status = main(["deploy", "cloud-run", target, *place, *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def gcloud(tmp_path, monkeypatch):
    """A `gcloud` that writes down its arguments; nothing exists yet, so `describe` fails."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "gcloud.jsonl"
    program = folder / "gcloud"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        f"open({str(log)!r}, 'a').write(json.dumps([os.getcwd(), *sys.argv[1:]]) + '\\n')\n"
        "sys.exit('describe' in sys.argv and not os.environ.get('ALL_THERE'))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def run(script):
        subprocess.run([BASH, script], check=True, timeout=60, capture_output=True)
        calls = [json.loads(line) for line in log.read_text().splitlines()]
        log.unlink()
        return calls

    return run


def option(call, name):
    (value,) = (each.partition("=")[2] for each in call if each.startswith(f"{name}="))
    return value


def the(calls, *words):
    """The one call with these words."""
    (found,) = (call for call in calls if set(words) <= set(call))
    return found


def test_it_prints_everything_and_runs_nothing(deploy, project, gcloud):
    """Image, build, what is left out of it, and the commands; no file is written."""
    before = sorted(project.rglob("*"))
    status, out, err = deploy(*SCHEDULE)
    assert (status, err) == (0, "")
    parts = re.findall(r"^##### (\S+)$", out, re.MULTILINE)
    names = ["Dockerfile", "cloudbuild.json", "gcloudignore", "deploy.sh"]
    assert parts == [f"deploy/{name}" for name in names]
    assert [
        path for path in sorted(project.rglob("*")) if "__pycache__" not in path.parts
    ] == before


@needs_bash
def test_the_script_makes_image_job_and_schedule(deploy, project, gcloud):
    """Run by bash against a gcloud that takes notes: every argument arrives as it was meant."""
    assert deploy(*SCHEDULE, "--output", "ops/cloud run")[0] == 0
    script = project / "ops" / "cloud run" / "deploy.sh"
    subprocess.run([BASH, "-n", script], check=True, timeout=60)
    calls = gcloud(script)
    assert {call[0] for call in calls} == {str(project.resolve())}
    for call in calls:
        assert "--project=my-project" in call or "my-project" in call

    account = "etlkit-daily-load@my-project.iam.gserviceaccount.com"
    created = the(calls, "service-accounts", "create")
    assert created[4] == "etlkit-daily-load"
    roles = {option(call, "--role") for call in calls if "projects" in call}
    assert roles == {"roles/bigquery.user", "roles/bigquery.dataEditor"}

    build = the(calls, "builds", "submit")
    assert (build[1:4], option(build, "--config")) == (
        ["builds", "submit", "."],
        "ops/cloud run/cloudbuild.json",
    )
    image = option(build, "--substitutions").removeprefix("_IMAGE=")
    assert re.fullmatch(r"us-central1-docker\.pkg\.dev/my-project/etlkit/daily-load:\d+-\d+", image)
    config = json.loads((project / option(build, "--config")).read_text())
    (step,) = config["steps"]
    assert step["args"][:3] == ["build", "--file", "ops/cloud run/Dockerfile"]
    assert config["images"] == ["$_IMAGE"]

    job = the(calls, "jobs", "deploy")
    assert (job[4], option(job, "--image")) == ("daily-load", image)
    assert option(job, "--service-account") == account
    limits = {name: option(job, name) for name in ("--max-retries", "--task-timeout", "--tasks")}
    assert limits == {"--max-retries": "3", "--task-timeout": "1h", "--tasks": "1"}

    trigger = the(calls, "scheduler", "http", "create")
    assert option(trigger, "--schedule") == "30 5 * * *"
    assert option(trigger, "--time-zone") == "Asia/Tokyo"
    assert option(trigger, "--oauth-service-account-email") == account
    uri = "https://run.googleapis.com/v2/projects/my-project/locations/us-central1/jobs/daily-load:run"
    assert option(trigger, "--uri") == uri
    assert option(the(calls, "run", "add-iam-policy-binding"), "--role") == "roles/run.invoker"


@needs_bash
def test_a_second_run_updates(deploy, project, gcloud, monkeypatch):
    """What exists is not made again, and the schedule is updated."""
    deploy(*SCHEDULE, "--output", "deploy")
    monkeypatch.setenv("ALL_THERE", "1")
    calls = gcloud(project / "deploy" / "deploy.sh")
    assert [call for call in calls if "create" in call] == []
    assert the(calls, "scheduler", "update")


@needs_bash
def test_an_account_of_yours_is_not_made_and_without_a_schedule_nothing_starts(deploy, gcloud):
    """The account is used as it is given."""
    deploy("--service-account", "me@x.iam.gserviceaccount.com", "--output", "deploy")
    calls = gcloud("deploy/deploy.sh")
    assert [call for call in calls if "service-accounts" in call or "scheduler" in call] == []
    account = option(the(calls, "jobs", "deploy"), "--service-account")
    assert account == "me@x.iam.gserviceaccount.com"


HOSTILE = "a'b\"c $(touch hacked) `touch hacked` ; touch hacked #,|~^\\"


@needs_bash
def test_values_arrive_as_they_are(deploy, project, gcloud):
    """Whatever a value has in it, bash runs none of it and gcloud gets it whole."""
    environ = ["--env", f"GREETING={HOSTILE}", "--env", "PLAIN=x"]
    status, *_ = deploy(*environ, "--secret", "API_KEY=vision-key:3", "--output", "de'ploy")
    assert status == 0
    calls = gcloud(project / "de'ploy" / "deploy.sh")
    assert not (project / "hacked").exists()
    job = the(calls, "jobs", "deploy")
    given = option(job, "--set-env-vars")
    delimiter = re.match(r"\^(.+?)\^", given)[1]
    pairs = given.removeprefix(f"^{delimiter}^").split(delimiter)
    assert pairs == [f"GREETING={HOSTILE}", "PLAIN=x"]
    assert option(job, "--set-secrets") == "API_KEY=vision-key:3"
    assert the(calls, "secrets", "add-iam-policy-binding")[3] == "vision-key"


INSTRUCTIONS = {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT"}


def dockerfile(folder):
    """The instructions of a Dockerfile, as pairs."""
    lines = (folder / "Dockerfile").read_text().splitlines()
    found = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    assert {word for word, _ in found} <= INSTRUCTIONS
    return found


def test_the_image_starts_the_job_as_it_was_said(deploy, project):
    """It resumes by itself, is not root, and passes options on without a shell."""
    value = "day=$(date) '\"\\"
    deploy("--output", "deploy", "--", "--var", value, "--location", "EU")
    found = dockerfile(project / "deploy")
    assert found[0][1].startswith("python:")
    assert ["COPY", "requirements.txt ./"] in found
    assert ["USER", "etlkit"] in found
    command = json.loads(found[-1][1])
    assert command[:4] == ["python", "-m", "etlkit.run", "deploy_test_jobs.daily_load"]
    assert command[4:] == [
        *("--project", "my-project", "--resume=auto", "--var", value, "--location", "EU")
    ]


def test_a_datamart_has_nothing_to_resume(deploy, project):
    """Its image starts it without that option, and is called after the variable."""
    deploy("--output", "deploy", target="deploy_test_jobs.daily_load:mart")
    assert "--resume=auto" not in json.loads(dockerfile(project / "deploy")[-1][1])
    assert "NAME=mart\n" in (project / "deploy" / "deploy.sh").read_text()


def test_packages_of_a_project_with_pyproject(deploy, project):
    """The package is installed with the extras that are asked for."""
    (project / "requirements.txt").unlink()
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    deploy("--extra", "dbt", "--extra", "gcs", "--output", "deploy")
    assert ["RUN", "pip install --no-cache-dir '.[dbt,gcs]'"] in dockerfile(project / "deploy")


def test_nothing_secret_is_uploaded(deploy, project):
    """Files of keys and of the environment stay out of the image."""
    (project / ".gitignore").write_text("data/\n")
    deploy("--output", "deploy")
    ignored = (project / "deploy" / "gcloudignore").read_text().splitlines()
    assert {".env", ".env.*", "*.pem", "*.key", ".git", ".etlkit/"} <= set(ignored)
    assert "#!include:.gitignore" in ignored


KEY = json.dumps({"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--schedule", "every day"), "five"),
        (("--schedule", "61 * * * *"), "minute"),
        (("--time-zone", "Mars/Olympus"), "--time-zone"),
        (("--time-zone", "../../etc/passwd"), "--time-zone"),
        (("--name", "Has Spaces"), "--name"),
        (("--name", "$(rm -rf /)"), "--name"),
        (("--service-account", "me"), "--service-account"),
        (("--task-timeout", "soon"), "--task-timeout"),
        (("--memory", "much"), "--memory"),
        (("--env", "NOVALUE"), "NAME=VALUE"),
        (("--env", "A-B=c"), "letters, digits"),
        (("--env", "VISION_API_KEY=abc"), "--secret VISION_API_KEY"),
        (("--env", "X=a\nb"), "more than one line"),
        (("--output", "."), "inside of"),
        (("--output", "../elsewhere"), "inside of"),
        (("--extra", "dbt"), "requirements.txt"),
    ],
)
def test_wrong_values_are_refused(deploy, arguments, message):
    """With a sentence and exit status 2; nothing is printed that could be run."""
    status, out, err = deploy(*arguments)
    assert (status, out) == (2, "")
    assert message in err


def test_a_secret_instead_of_its_name_is_not_repeated(deploy):
    """What was typed by mistake does not get into a log."""
    status, out, err = deploy("--secret", "KEY=AIza!verysecret")
    assert (status, out) == (2, "")
    assert "Secret Manager" in err
    assert "verysecret" not in err


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("--project", "P!", "--region", "us-central1"), "--project"),
        (("--project", "my-project", "--region", "here"), "--region"),
        (("--project", "my-project"), "--region"),
    ],
)
def test_project_and_region_are_needed(deploy, place, message):
    """Both are parts of every command."""
    status, out, err = deploy(place=place)
    assert (status, out) == (2, "")
    assert message in err


def test_an_unknown_job_is_refused(deploy, project):
    """As `etlkit run` would refuse it."""
    status, out, err = deploy(target="deploy_test_jobs.daily_laod")
    assert (status, out) == (2, "")
    assert "did you mean" in err
    outside = project.parent / "outside.py"
    outside.write_text(JOB)
    status, out, err = deploy(target=str(outside))
    assert (status, out) == (2, "")
    assert "from the project" in err


def test_a_key_in_the_project_is_refused(deploy, project):
    """The key of a service account would be in the image."""
    (project / "config").mkdir()
    (project / "config" / "prod.json").write_text(KEY)
    status, out, err = deploy()
    assert (status, out) == (2, "")
    assert "config/prod.json" in err


def test_a_project_without_a_list_of_packages(deploy, project):
    """The image could not import the job."""
    (project / "requirements.txt").unlink()
    status, _, err = deploy()
    assert status == 2
    assert "requirements.txt" in err


@pytest.mark.parametrize(
    "text", ["* * * * *", "*/15 0-6,22 1,15 jan-mar MON-fri", "0  5\t* * 7", "59 23 31 12 0"]
)
def test_schedules_that_cron_takes(text):
    """Numbers, ranges, steps, lists and names; blanks do not matter."""
    assert check_schedule(text) == " ".join(text.split())


NO_SCHEDULES = """
* * * *|* * * * * *|60 * * * *|* 24 * * *|* * 0 * *|* * * 13 *|* * * * 8|5-1 * * * *|*/0 * * * *
5/2 * * * *|x * * * *|1,,2 * * * *|* * * * mon-|-1 * * * *|@daily|* * * feb-foo *|1;rm * * * *
٣ * * * *
"""


@pytest.mark.parametrize("text", ["", *NO_SCHEDULES.strip().replace("\n", "|").split("|")])
def test_schedules_that_cron_does_not_take(text):
    """Found before anything is deployed."""
    with pytest.raises(ConfigError, match="schedule"):
        check_schedule(text)


def test_more_tasks_than_can_share_a_run_are_refused(deploy):
    """Each of them would be refused by BigQuery, after it was deployed."""
    assert deploy("--tasks", "1000")[0] == 0
    status, out, err = deploy("--tasks", "1001")
    assert (status, out) == (2, "")
    assert "--tasks 1001 of 1 worker: a run takes 1,000 workers at most" in err
