"""A new project from its first command to its page; and what each template makes, as it is."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from etlkit.cli.root import main
from etlkit.cli.scaffold.files import made_from, write_all
from etlkit.cli.scaffold.projects import PROJECTS
from etlkit.testing import FaultServer
from tests.emulator.conftest import forget_modules
from tests.page_checks import faults
from tests.warm_python import run_python

ROOT = Path(__file__).parents[2]
VALUES = {
    "project": "shop",
    "about": "All templates in one.",
    "job": "greet",
    "job_name": "greet",
    "commands": "",
    "run": "",
    "etlkit": "etlkit-bigquery",
    "etlkit_dev": "etlkit-bigquery[local,report,testing]",
    "install": "",
}


def shell(folder, command, **environ):
    """Run a command as a user does, in a folder, with this etlkit."""
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",  # a file is changed twice within a second
        "COLUMNS": "80",
        **environ,
    }
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def expanded(folder, argument):
    """What a shell makes of an argument with a star."""
    if "*" not in argument or ":" in argument:
        return [argument]
    found = sorted(str(path.relative_to(folder)) for path in folder.glob(argument))
    return found or [argument]


ETLKIT = """
import sys
sys.dont_write_bytecode = True  # a file is changed twice within a second
from etlkit.cli.root import main
sys.exit(main())
"""
"""The command `etlkit`, for a process of Python that has imported already what takes a second."""


class Newcomer:
    """Types commands and edits files in a project whose API counts the calls for each customer."""

    def __init__(self, folder, api):
        self.folder, self.api = folder, api

    def types(self, command, *, status=0):
        """Run a command, which must end with `status`; gives its standard output and error."""
        if command.startswith("etlkit "):
            script = self.folder.with_name("command.py")
            script.write_text(ETLKIT)
            environ = {**os.environ, "COLUMNS": "80", "CUSTOMERS_API_URL": self.api.url}
            done = run_python(script, *shlex.split(command)[1:], cwd=self.folder, env=environ)
        else:
            done = shell(self.folder, command, CUSTOMERS_API_URL=self.api.url)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout, done.stderr

    def edits(self, file, old, new):
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    def line_of(self, file, text):
        lines = (self.folder / file).read_text().splitlines()
        (number,) = [number for number, line in enumerate(lines, 1) if text in line]
        return f"{file}:{number}"


@pytest.fixture
def asked():
    """How often the API was asked for each customer."""
    return Counter()


@pytest.fixture
def newcomer(tmp_path, local_server, asked):
    """Somebody who has typed `etlkit init`; the API and the local BigQuery are there."""

    def customer(query):
        asked[int(query["id"])] += 1
        return {"city": "Lima", "country": "PE"}

    assert shell(tmp_path, "etlkit init crm --template rest").returncode == 0
    (tmp_path / "crm" / ".etlkit").symlink_to(local_server.local_dir)
    with FaultServer(routes={"/v1/customers": customer}) as api:
        yield Newcomer(tmp_path / "crm", api)


def test_a_newcomer_edits_tests_breaks_mends_and_resumes(newcomer, asked):
    """Each message says where and what to do next; what is paid for is not paid for again."""
    transform, job = "transforms/enrich.py", "jobs/enrich.py"
    last = "        return row\n"
    newcomer.edits(transform, last, f'        row["city"] = row["city"].upper()\n{last}')

    out, _ = newcomer.types("python -m pytest -q tests/transforms", status=1)
    assert "PARIS" in out
    newcomer.edits("tests/transforms/test_enrich.py", '"Paris"', '"PARIS"')
    newcomer.edits("tests/transforms/test_enrich.py", '"Tokyo"', '"TOKYO"')
    newcomer.types("python -m pytest -q tests/transforms")

    out, _ = newcomer.types("etlkit run jobs.enrich --local --preview 2")
    assert "LIMA" in out
    assert "nothing was written" in out
    assert sum(asked.values()) == 2

    asked.clear()
    out, _ = newcomer.types("etlkit run jobs.enrich --local")
    assert json.loads(out)["rows_published"] == sum(asked.values()) == 100

    asked.clear()
    broken = '1000 / (90 - row["customer_id"])'
    newcomer.edits(transform, last, f'        row["share"] = {broken}\n{last}')
    newcomer.edits(job, 'on_row_error="reject"', 'on_row_error="fail"')
    out, message = newcomer.types("etlkit run jobs.enrich --local", status=1)
    failed = json.loads(out)
    assert f"ZeroDivisionError: division by zero ({newcomer.line_of(transform, broken)})" in message
    assert "Nothing was published" in message
    assert 0 < failed["kept"] < 100
    (how,) = re.findall(r"after a change of the code with (--resume.*)", message)

    newcomer.edits(transform, broken, '1000 / max(1, 90 - row["customer_id"])')
    out, message = newcomer.types("etlkit run jobs.enrich --local --resume", status=1)
    assert f"{transform} changed" in message
    assert "add --allow-code-change to --resume" in message
    out, _ = newcomer.types(f"etlkit run jobs.enrich --local {how} --html page.html")
    report = json.loads(out)
    assert (report["run_id"], report["resumed"]) == (failed["run_id"], failed["kept"])
    assert (report["state"], report["rows_published"]) == ("published", 100)
    repeated = [number for number, times in asked.items() if times > 1]
    assert len(asked) == 100
    assert len(repeated) <= 16, "at most those that were in flight"
    assert report["calls"] == 100 - failed["kept"]

    page = (newcomer.folder / "page.html").read_text()
    assert faults(page) == []
    assert report["run_id"] in page


@pytest.fixture(scope="module")
def project(tmp_path_factory, local_server):
    """All templates in one project, and a new file of each kind."""
    folder = tmp_path_factory.mktemp("shop")
    write_all(folder, made_from("common", VALUES))
    for template in PROJECTS:
        write_all(folder, made_from(template, VALUES))
    (folder / ".etlkit").symlink_to(local_server.local_dir)
    before = Path.cwd()
    os.chdir(folder)
    try:
        for arguments in ("transform clean", "job nightly --transform clean", "datamart totals"):
            assert main(["new", *arguments.split()]) == 0
    finally:
        os.chdir(before)
    return folder


def test_all_tests_of_all_templates_pass(project):
    """With nothing but the local BigQuery that the plugin for pytest starts."""
    done = shell(project, "python -m pytest -q -p no:cacheprovider -W default")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in done.stdout


@pytest.fixture
def in_process(project, monkeypatch):
    """Run commands of the README in this process, which takes a third of the time of a shell."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])

    def call(command):
        program, *arguments = shlex.split(command)
        if program != "etlkit":
            done = shell(project, command)
            return done.returncode, done.stdout + done.stderr
        return main([each for given in arguments for each in expanded(project, given)]), ""

    yield call
    forget_modules(project)
    for number, handler in handlers.items():  # a run takes them to itself
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("template", "shown"),
    [("blank", "hello Grace"), ("rest", "Tokyo"), ("sql", "2026-01-02"), ("vision", "Cat")],
)
def test_the_commands_of_its_readme_show_the_table(in_process, capsys, template, shown):
    """Each of them, in the order in which they are written."""
    for command in PROJECTS[template].commands:
        status, said = in_process(command)
        out, err = capsys.readouterr()
        assert status == 0, said + out + err
    assert shown in out
