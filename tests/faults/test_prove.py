"""`etlkit prove` finds what is planted, and nothing where there is nothing.

`ETLKIT_PROVE=1` is the long form: all kinds of weather, and all planted faults.
"""

import json
import os
import socket

import pytest

from etlkit.cli.root import main

IS_LONG = "ETLKIT_PROVE" in os.environ
RUNS = 7 if IS_LONG else 2
JOBS = "tests/faults/proved_jobs.py"
SOURCE = ("--local", "--fake", f"{JOBS}:double")


@pytest.fixture
def prove(capfd, fault_server):
    """Prove a job of `proved_jobs.py`; gives the exit status, what was found, and what was said."""

    def run(name, *arguments, runs=7):
        where = ("--local-dir", str(fault_server.local_dir))
        status = main(
            ["prove", f"{JOBS}:{name}", "--runs", str(runs), "--format", "json", *where, *arguments]
        )
        out, err = capfd.readouterr()
        return status, json.loads(out) if out else None, err

    return run


@pytest.mark.timeout(600)
def test_a_good_job_holds(prove):
    """Under all kinds of weather: nothing is lost, doubled or different, and no call is wasted."""
    status, found, err = prove("good", *SOURCE, runs=RUNS)
    runs = found["runs"]
    problems = {run["seed"]: run["problems"] for run in runs if run["problems"]}
    assert (status, problems, found["findings"]) == (0, {}, []), err
    assert [run["seed"] for run in runs] == list(range(1, RUNS + 1))
    assert len({run["weather"] for run in runs}) == RUNS
    assert sum(run["kills"] for run in runs) > 0
    faults = {name for run in runs for name in run["faults"]}
    if IS_LONG:
        assert sum(run["cuts"] for run in runs) > 0
        assert {"429", "disconnect", "truncate"} <= faults
    assert (found["rows"], found["calls_undisturbed"]) == (60, 60)
    assert found["rows_published"] == 63
    lost = sum(run["lost_answers"] for run in runs)
    assert sum(run["repaid_after_loss"] for run in runs) <= lost
    most = max(max(run["repaid_after_kill"], default=0) for run in runs)
    assert most <= found["bound"] == 8


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("loses", "lost in the target"),
        ("direct", "doubled in the target"),
        ("pays_twice", "paid for again after one kill; at most 1 were in flight"),
    ][: 3 if IS_LONG else 1],
)
def test_a_planted_fault_is_found(prove, name, problem):
    """Rows doubled, rows lost, calls paid twice: with the command that repeats it."""
    status, found, err = prove(name, *SOURCE, "--seed", "3", runs=4 if IS_LONG else 2)
    assert status == 1, err
    assert found["failed"]
    (first, *_) = (run for run in found["runs"] if run["problems"])
    assert problem in " ".join(first["problems"])
    again = f"etlkit prove {JOBS}:{name} --fake {JOBS}:double --local"
    assert found["repeat"][0].startswith(again)
    assert found["repeat"][0].endswith(f"--seed {first['seed']} --runs 1")


@pytest.mark.timeout(300)
def test_what_the_code_does_wrong_is_found_without_faults(prove, monkeypatch):
    """Values that differ, values that depend on other rows, connections past etlkit: with the place."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        monkeypatch.setenv("PAST_ETLKIT", f"127.0.0.1:{listener.getsockname()[1]}")
        status, found, _ = prove("careless", "--local", runs=1)
    assert status == 1
    differs, depends, past = found["findings"]
    assert differs.startswith("the values of token differ between two undisturbed runs")
    assert "--ignore token" in differs
    assert depends.startswith("the values of place depend on the order of the rows")
    assert past.startswith("tests/faults/proved_jobs.py:")
    assert "past etlkit (60 times in a run)" in past
    assert found["failed"] == []


@pytest.mark.timeout(300)
def test_nothing_is_paid_by_default(prove):
    """A service that nobody answers for is not called; the message says what to do."""
    status, _, err = prove("good", "--local")
    assert status == 2
    assert "calls https://api.example, e.g. GET /v1/double" in err
    assert "--fake tests/fakes.py:answer" in err
    assert "--record answers.json" in err
    status, _, err = prove("calls_past", "--local")
    assert status == 1
    assert "proved_jobs.py:" in err
    assert "connects to paid.example:80 past etlkit" in err
