import os
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from etlkit.bigquery.runs import process_identity
from etlkit.bigquery.runs.process_identity import ProcessIdentity

ME = ProcessIdentity.current()


@pytest.fixture
def child():
    """A process that lives until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    yield process
    process.stdin.close()
    process.kill()
    process.wait(20)


def identity(pid):
    """Of another process of this machine."""
    return replace(ME, pid=pid, started=process_identity._started(psutil.Process(pid)))


def test_it_survives_the_description_of_a_table():
    """What is written is what is read."""
    assert ProcessIdentity.from_json(ME.to_json()) == ME


@pytest.mark.parametrize("text", [None, "", "somebody's own words", "{}", "[]", '{"pid": 1}'])
def test_other_descriptions_are_nobodys(text):
    """A description may have been changed by hand."""
    assert ProcessIdentity.from_json(text) is None


def test_a_forked_process_is_another_one():
    """Two processes that think that they are one would both hold a run."""
    code = """
import os
from etlkit.bigquery.runs.process_identity import ProcessIdentity
parent = ProcessIdentity.current().process
if os.fork() == 0:
    os._exit(ProcessIdentity.current().process == parent)
print(os.waitstatus_to_exitcode(os.wait()[1]), ProcessIdentity.current().process == parent)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"0 True\n"


def test_this_process_is_alive():
    """Whoever asks."""
    assert (ME.pid, ME.is_dead()) == (os.getpid(), False)


def test_a_living_process_is_alive(child):
    """It is there, with its start."""
    assert not identity(child.pid).is_dead()


def test_a_zombie_is_dead(child):
    """Its parent has not asked for its status yet; it runs no more."""
    zombie = identity(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert zombie.is_dead()


def test_a_process_that_is_gone_is_dead(child):
    """Nobody has its number."""
    gone = identity(child.pid)
    child.kill()
    child.wait(20)
    assert gone.is_dead()


def test_a_process_with_the_number_of_a_dead_one_is_another(child):
    """Numbers are used again; starts are not."""
    assert replace(identity(child.pid), started=ME.started - 3600).is_dead()


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"boot_id": "another boot"},
        {"pid_namespace": "pid:[1]"},
        {"boot_id": ""},
        {"pid_namespace": ""},
        {"boot_id": "another boot", "host": "another host"},
    ],
)
def test_nothing_is_known_of_a_process_elsewhere(elsewhere):
    """The same host name and number may be another container: only its lease tells."""
    nobody = replace(ME, pid=2**22 - 1, started=1.0)
    assert nobody.is_dead()
    assert not replace(nobody, **elsewhere).is_dead()


def test_nothing_is_known_where_the_machine_does_not_tell(monkeypatch):
    """Outside of Linux there is no boot id; two unknown ones are not the same."""
    monkeypatch.setattr(process_identity, "_boot_id", lambda: "")
    nobody = replace(ProcessIdentity.current(), pid=2**22 - 1)
    assert not nobody.is_dead()
