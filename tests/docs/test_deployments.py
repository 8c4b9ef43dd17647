"""The manifests in docs/guides/scale.md are those that `etlkit deploy` prints.

`ETLKIT_WRITE_DOCS=1` writes them into the page.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from etlkit.cli.root import main

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "scale.md"
SHOWN = re.compile(
    r"^<!-- from: etlkit (?P<command>[^\n]+): (?P<file>[\w.]+) -->\n```\w+\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SOURCE = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXCERPTS = {"deploy.sh": re.compile(r"^# The job:.*?(?=^echo|\Z)", re.MULTILINE | re.DOTALL)}
"""Of a long file only this part is shown."""

BASH = shutil.which("bash")


@pytest.fixture
def files(tmp_path, monkeypatch, capsys):
    """Runs a command of the page in a project with its job; gives what it prints, by file."""
    for path, code in SOURCE.findall(PAGE.read_text(encoding="utf-8")):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(code)
    (tmp_path / "requirements.txt").write_text("etlkit-bigquery\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(command):
        assert main(shlex.split(command)) == 0
        parts = re.split(r"^##### deploy/(\S+)\n", capsys.readouterr().out, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    yield run
    for name in [name for name in sys.modules if name.partition(".")[0] in {"jobs", "transforms"}]:
        del sys.modules[name]


def test_the_page_shows_what_the_commands_print(files):
    """Each block is the file that its command prints, or the part of it that is about tasks."""

    def made(match):
        text = files(match["command"])[match["file"]].rstrip("\n") + "\n"
        if match["file"] in EXCERPTS:
            text = EXCERPTS[match["file"]].search(text)[0].rstrip("\n") + "\n"
        whole = match[0]
        return whole[: match.start("text") - match.start()] + text + "```"

    page = PAGE.read_text(encoding="utf-8")
    written, number = SHOWN.subn(made, page)
    assert number == 3
    if os.environ.get("ETLKIT_WRITE_DOCS"):
        PAGE.write_text(written, encoding="utf-8")
    assert page == written


def test_the_manifests_of_kubernetes(files):
    """An Indexed Job whose pods know their number and their run; on a schedule, a CronJob of it."""
    command = "deploy kubernetes jobs.squares --project my-project --tasks 8 --image a/b:1"
    more = "--name sq --namespace etl --env A=b --secret KEY=keys:vision -- --var day=2024-01-31"
    printed = files(f"{command} {more}")
    job, account = yaml.safe_load(printed["job.yaml"]), yaml.safe_load(printed["account.yaml"])
    spec = job["spec"]
    assert (job["kind"], job["metadata"]["generateName"]) == ("Job", "sq-")
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 8, 8)
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # which backoffLimitPerIndex and the policy ask for
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    (container,) = pod["containers"]
    assert container["command"][-3:] == ["--resume=auto", "--var", "day=2024-01-31"]
    rules = spec["podFailurePolicy"]["rules"]
    assert rules[0]["onExitCodes"]["containerName"] == container["name"]
    values = {each["name"]: each.get("value") or each["valueFrom"] for each in container["env"]}
    assert (values["ETLKIT_TASK_COUNT"], values["A"]) == ("8", "b")
    assert values["KEY"] == {"secretKeyRef": {"name": "keys", "key": "vision"}}
    assert "controller-uid" in values["ETLKIT_RUN_KEY"]["fieldRef"]["fieldPath"]
    subprocess.run([BASH, "-n"], input=printed["deploy.sh"], text=True, check=True, timeout=60)

    cron = yaml.safe_load(files(f"{command} --schedule '30 5 * * *' --name sq")["job.yaml"])
    assert (cron["kind"], cron["spec"]["schedule"]) == ("CronJob", "30 5 * * *")
    assert cron["spec"]["jobTemplate"]["spec"]["completions"] == spec["completions"]


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_the_script_of_slurm_queues_a_failed_task_again(files, tmp_path):
    """Status 1 does, until it was often enough; the status is the job's."""
    script = tmp_path / "job.sbatch"
    script.write_text(files("deploy slurm jobs.squares --tasks 8 --max-retries 2")["job.sbatch"])
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, code in (("python", "exit $STATUS"), ("scontrol", 'echo "$@"')):
        (folder / name).write_text(f"#!{BASH}\n{code}\n")
        (folder / name).chmod(0o755)
    known = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    told = []
    for status, restarts in (("0", "0"), ("1", "0"), ("1", "2"), ("2", "0"), ("143", "0")):
        environ = {"STATUS": status, "SLURM_RESTART_COUNT": restarts, **known}
        environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        ended = subprocess.run(
            [BASH, script], env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == int(status)
        told.append(ended.stdout.strip())
    assert told == ["", "requeue 7_3", "", "", ""]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("kubernetes jobs.squares --project my-project --image 'a b'", "--image"),
        ("kubernetes jobs.squares --project my-project --image a --secret K=hunter2", "--secret K"),
        ("kubernetes jobs.squares --project my-project --image a --namespace No", "--namespace"),
        ("slurm jobs.squares --tasks 8 --time-limit soon", "--time-limit"),
        ("slurm jobs.squares --tasks 8 --env API_TOKEN=x", "API_TOKEN"),
        ("slurm jobs.squares:other --tasks 8", "--tasks 8"),
        ("slurm jobs.squares:direct --tasks 8", "append_direct"),
        ("slurm jobs.squares:nested --tasks 8", "the job cannot be sent to them"),
    ],
)
def test_what_cannot_be_used_is_refused(files, tmp_path, capsys, arguments, said):
    """Status 2, and no secret is repeated."""
    with (tmp_path / "jobs" / "squares.py").open("a") as module:
        module.write(
            "\nfrom dataclasses import replace\nfrom etlkit import Datamart\n"
            'other = Datamart(sql="SELECT 1")\n'
            'direct = replace(job, sink=BigQuerySink("demo.squares", mode="append_direct"))\n'
            "nested = replace(job, transform=lambda: Etl())\n"
        )
    assert main(["deploy", *shlex.split(arguments)]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "hunter2" not in printed
