"""The command `etlkit`: its commands, its help, and what it says to bad input."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import etlkit
from etlkit import ConfigError, JobError, RetryableError, RowError
from etlkit.api.run import Interrupted
from etlkit.cli import (
    check,
    completion,
    deploy,
    doctor,
    init,
    local,
    new,
    prove,
    report,
    run,
    runs,
    serve,
)
from etlkit.cli.invocation import invoke
from etlkit.cli.root import command, main

ROOT = Path(etlkit.__file__).parents[1]


def test_every_command_is_listed_with_the_module_that_has_it():
    """`etlkit --help` names the commands without importing them; they are the ones of `python -m`."""
    context = click.Context(command)
    modules = {
        "init": init,
        "new": new,
        "doctor": doctor,
        "run": run,
        "check": check,
        "prove": prove,
        "runs": runs,
        "report": report,
        "serve": serve,
        "deploy": deploy,
        "local": local,
    }
    modules["completion"] = completion
    assert command.list_commands(context) == list(modules)
    for name, module in modules.items():
        assert command.get_command(context, name) is module.command


def test_help_imports_nothing_slow():
    """`etlkit --help` needs neither Google's clients nor pyarrow nor a job's modules."""
    code = (
        "import sys; before = set(sys.modules);"
        "from etlkit.cli.root import main; main(['--help']);"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "completion" in done.stdout
    heavy = ("google", "pyarrow", "requests", "duckdb", "rich", "etlkit.runner", "etlkit.bigquery")
    assert [name for name in done.stderr.split() if name.startswith(heavy)] == []


def test_the_installed_command_is_this_one():
    """The entry point of the distribution names `main`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["etlkit"].partition(":")
    assert getattr(importlib.import_module(module), name) is main


def test_the_version(capsys):
    """`etlkit --version` prints name and version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"etlkit {etlkit.__version__}\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell, capsys):
    """The script calls `etlkit` back through the variable that click reads."""
    assert main(["completion", shell]) == 0
    assert "_ETLKIT_COMPLETE" in capsys.readouterr().out


def test_completion_completes_commands():
    """What the script asks for is answered with the commands."""
    done = subprocess.run(
        [sys.executable, "-c", "from etlkit.cli.root import main; main([])"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_ETLKIT_COMPLETE": "zsh_complete",
            "COMP_WORDS": "etlkit r",
            "COMP_CWORD": "1",
        },
    )
    assert [line for line in done.stdout.splitlines() if line in {"run", "runs", "local"}] == [
        "run",
        "runs",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "there is no command 'rnu'; did you mean 'run'?"),
        (["jobs.x"], "there is no command 'jobs.x'; to run a job write: etlkit run jobs.x"),
        (["zzz"], "there is no command 'zzz'; the commands are init, new, doctor, run, "),
        (["--verison"], "No such option"),
        (["run"], "name a job"),
        (["run", "--limt", "3", "x"], "--limit"),
        (["runs", "x", "--clean"], "--clean does not go with a RUN_ID"),
        (["local", "sql"], "give either SQL or --file FILE"),
        (["run", "jobs.vision_objcts"], "did you mean jobs.vision_objects?"),
        (["run", "no_such_module"], "no module 'no_such_module'"),
    ],
)
def test_bad_input_is_answered_with_a_sentence(arguments, message, capsys, monkeypatch):
    """Exit status 2, nothing on stdout, and what to write instead."""
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err


class Report:
    """A report of a run that has begun."""

    kept = 1


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("bad option"), 2, "error bad option\n"),
        (JobError("it broke"), 1, "error it broke\n"),
        (RowError("bad row"), 1, "error bad row\nLook at rows with --preview"),
        (RetryableError("too busy"), 1, "error too busy\nWhen the service is back, run it again"),
        (
            ValueError("at https://h/x?key=abc"),
            1,
            "error unexpected ValueError: at https://h/x?key=…",
        ),
        (KeyboardInterrupt(), 130, "error interrupted\n"),
        (Interrupted(15), 143, "error interrupted; nothing was published, 1 row has its result"),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_status(error, status, message, capsys):
    """Every command ends through the same place, whatever it raises."""
    if isinstance(error, Interrupted):
        error.report = Report()

    @click.command()
    def fails():
        raise error

    assert invoke(fails, [], "fails") == status
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert invoke(fails, ["--debug"], "fails") == status
    err = capsys.readouterr().err  # the advice works where no help text lists the option
    assert message in err
    assert "Traceback" in err


def test_json_logs_have_the_error_as_json(capsys):
    """With `--log-format json` the error is one JSON object as well."""
    assert main(["run", "no_such_module", "--log-format", "json"]) == 2
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "error"
    assert "no module 'no_such_module'" in line["message"]
