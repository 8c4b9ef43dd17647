"""The files of docs/examples/schedule can be used as they are."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from etlkit.cli.cron_schedule import check_schedule
from etlkit.cli.run import command

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "examples" / "schedule"
GUIDE = (ROOT / "docs" / "guides" / "schedule.md").read_text(encoding="utf-8")
BASH = shutil.which("bash")
has_bash = pytest.mark.skipif(
    BASH is None or shutil.which("flock") is None, reason="there is no bash or no flock"
)


def text(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def test_the_guide_leads_to_every_file():
    """No file is forgotten, and what the guide shows is what is in the file."""
    for path in FOLDER.iterdir():
        assert f"(../examples/schedule/{path.name})" in GUIDE, path.name
    for name in ("crontab", "etlkit-workflow.timer"):
        assert text(name) in GUIDE


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_every_start_resumes_by_itself_with_options_that_exist(path):
    """Each file starts the job with `--resume=auto`, or starts the script that does."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".timer" or path.name == "crontab":
        return
    assert "--resume=auto" in content
    known = {option for parameter in command.params for option in parameter.opts}
    lines = [line for line in content.splitlines() if "etlkit" in line and "#" not in line]
    for option in re.findall(r"[ \"](--[a-z-]+)", "\n".join(lines)):
        assert option in known, option


def test_the_schedules_are_schedules():
    """Five fields each."""
    cron = re.search(r"^([^#=]+?)  /srv", text("crontab"), re.MULTILINE)
    github = yaml.safe_load(text("github-actions.yml"))[True]["schedule"][0]["cron"]  # `on` is true
    airflow = re.search(r'schedule="([^"]+)"', text("airflow_dag.py"))
    for schedule in (cron[1], github, airflow[1]):
        check_schedule(schedule)


def unit(name):
    """A unit of systemd by section and name, repeated names as one."""
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str
    parser.read_string(text(name))
    return parser


def test_the_units_of_systemd():
    """Status 1 is a reason to start again; a mistake and a stop are none."""
    service, timer = unit("etlkit-workflow.service"), unit("etlkit-workflow.timer")
    assert service["Service"]["Type"] == "oneshot"
    assert service["Service"]["Restart"] == "on-failure"
    assert service["Service"]["RestartPreventExitStatus"].split() == ["2", "130", "143"]
    assert timer["Timer"]["Persistent"] == "true"
    verify = shutil.which("systemd-analyze")
    if verify is not None:
        when = timer["Timer"]["OnCalendar"]
        subprocess.run([verify, "calendar", when], check=True, capture_output=True, timeout=60)


def test_the_steps_of_github_actions():
    """Every step is one, and its script is a script."""
    workflow = yaml.safe_load(text("github-actions.yml"))
    assert workflow["concurrency"]["cancel-in-progress"] is False
    steps = workflow["jobs"]["run"]["steps"]
    assert all(len({"run", "uses"} & set(step)) == 1 for step in steps)
    if BASH is not None:
        for step in steps:
            subprocess.run(
                [BASH, "-n"], input=step.get("run", ""), text=True, check=True, timeout=60
            )


def test_the_dag_is_python():
    """It is parsed, and its retries are not those of a mistake."""
    tree = ast.parse(text("airflow_dag.py"))
    raised = [
        node.exc.func.id for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc
    ]
    assert raised == ["AirflowFailException", "AirflowException"]


@pytest.fixture
def run_job(tmp_path):
    """Run `run-job.sh` with an etlkit whose exit statuses are given, and a sleep that takes no time."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    tools = tmp_path / "tools"
    tools.mkdir()
    calls, statuses = tmp_path / "calls", tmp_path / "statuses"

    def program(path, code):
        path.write_text(
            f"#!{sys.executable}\nimport sys\ncalls = open({str(calls)!r}, 'a')\n{code}"
        )
        path.chmod(0o755)

    program(tools / "sleep", "print('sleep', *sys.argv[1:], file=calls)")
    program(
        tmp_path / ".venv" / "bin" / "etlkit",
        f"print('etlkit', *sys.argv[1:], file=calls)\n"
        f"first, *rest = open({str(statuses)!r}).read().split()\n"
        f"open({str(statuses)!r}, 'w').write(' '.join(rest))\n"
        "print('a line of the log', file=sys.stderr)\nsys.exit(int(first))\n",
    )
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "ETLKIT_HOME": str(tmp_path)}
    environ.pop("ETLKIT_LOGS", None)

    def run(*given):
        statuses.write_text(" ".join(map(str, given)))
        calls.write_text("")
        script = [BASH, FOLDER / "run-job.sh", "jobs.workflow", "--project", "p"]
        done = subprocess.run(
            script, check=False, env=environ, capture_output=True, text=True, timeout=60
        )
        return done.returncode, calls.read_text().splitlines(), done.stderr

    return run


START = "etlkit run jobs.workflow --project p --resume=auto --log-format json"


@has_bash
@pytest.mark.parametrize(
    ("statuses", "calls"),
    [
        ([0], [START]),
        ([1, 0], [START, "sleep 60", START]),
        ([1, 1, 1, 1], [START, "sleep 60", START, "sleep 300", START, "sleep 900", START]),
        ([2], [START]),
        ([1, 143], [START, "sleep 60", START]),
    ],
)
def test_the_script_for_cron_tries_again_what_may_pass(run_job, tmp_path, statuses, calls):
    """Status 1 is tried again three times, others are not; only a failure prints something."""
    status, called, mail = run_job(*statuses)
    assert (status, called) == (statuses[-1], calls)
    assert bool(mail) is (status != 0)
    log = tmp_path / "logs" / "jobs.workflow.log"
    assert log.read_text().count("a line of the log") == calls.count(START)


@has_bash
def test_the_script_for_cron_runs_one_at_a_time(run_job, tmp_path):
    """The second start ends with a status of its own, and the job is not started."""
    import fcntl

    (tmp_path / "logs").mkdir()
    with (tmp_path / "logs" / "jobs.workflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, called, mail = run_job(0)
    assert (status, called) == (75, [])
    assert "still running" in mail
