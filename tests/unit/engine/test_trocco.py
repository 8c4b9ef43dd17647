import inspect
import json
import pickle
import sys

import pytest

from etlkit import ConfigError, EtlBase, TransferJob
from etlkit.cli.run import main
from etlkit.engine.transform_spec import TransformSpec
from etlkit.engine.trocco import provide_etl_base
from etlkit.testing import MemorySink, MemorySource, load_etl, run_transform

SCRIPT = """
from etl_base import EtlBase

class Etl(EtlBase):
  def __init__(self):
    self.calls = 0

  def transform_row(self, row):
    self.calls += 1
    row["call"] = self.calls
    return row
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder as the working directory; modules imported from it are removed afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path, text=SCRIPT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_script_of_trocco_runs(here):
    """`from etl_base import EtlBase` is etlkit's; an `__init__` without `super()` is fine."""
    etl = load_etl(write(here / "old.py"))
    assert issubclass(etl, EtlBase)
    assert run_transform(etl, [{"n": 1}, {"n": 2}]) == [{"n": 1, "call": 1}, {"n": 2, "call": 2}]


def test_a_relative_path_as_text(here):
    """The path may be a `str`; the module has the name of an import."""
    write(here / "scripts" / "old.py")
    assert load_etl("scripts/old.py").__module__ == "scripts.old"


def test_each_call_reads_the_file_anew(here):
    """A script that was edited is loaded again."""
    script = write(here / "old.py")
    first = load_etl(script)
    write(script, SCRIPT.replace("+= 1", "+= 10"))
    assert run_transform(load_etl(script), [{"n": 1}])[0]["call"] == 10
    assert run_transform(first, [{"n": 1}])[0]["call"] == 1


def test_an_instance_can_be_pickled(here):
    """The class can be pickled: it is found by its module's name."""
    etl = load_etl(write(here / "old.py"))
    assert type(pickle.loads(pickle.dumps(etl()))) is etl


def test_two_scripts_of_one_name(here, tmp_path_factory):
    """Two scripts of the same name are two modules."""
    one = load_etl(write(tmp_path_factory.mktemp("a") / "same.py"))
    two = load_etl(write(tmp_path_factory.mktemp("b") / "same.py"))
    assert one.__module__ != two.__module__
    assert inspect.getfile(one) != inspect.getfile(two)


def test_a_script_called_like_a_module_of_the_library(here):
    """A script `json.py` does not replace the module `json`."""
    load_etl(write(here / "json.py"))
    assert sys.modules["json"] is json


def test_helpers_beside_the_script(here, tmp_path_factory):
    """A script can import modules of its own folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    write(folder / "helper_of_old.py", "STEP = 7\n")
    script = write(
        folder / "old.py", "from helper_of_old import STEP\n" + SCRIPT.replace("+= 1", "+= STEP")
    )
    assert run_transform(load_etl(script), [{"n": 1}])[0]["call"] == 7


def test_the_fingerprint_covers_the_script(here):
    """A changed script has another fingerprint, so that a resume notices."""

    def fingerprint(text):
        source = MemorySource([])
        etl = load_etl(write(here / "old.py", text))
        job = TransferJob(source=source, transform=etl, sink=MemorySink())
        return TransformSpec(job).fingerprint(source)

    assert fingerprint(SCRIPT) == fingerprint(SCRIPT)
    assert fingerprint(SCRIPT) != fingerprint(SCRIPT.replace("+= 1", "+= 2"))


def test_an_etl_base_of_the_users_own_wins(here, caplog):
    """A stub `etl_base.py` beside the script is used, which is an error that names the stub."""
    load_etl(write(here / "first.py"))  # etlkit's own is loaded in this process by now
    write(here / "stub" / "etl_base.py", "class EtlBase:\n    pass\n")
    script = write(here / "stub" / "old.py")
    with pytest.raises(ConfigError, match=r"old\.py:4: the EtlBase of this Etl comes from .*stub"):
        load_etl(script)
    assert "etl_base is taken from" in caplog.text


def test_an_etl_base_that_gives_etlkits(here):
    """A user's module may well hand on etlkit's class."""
    write(here / "fine" / "etl_base.py", "from etlkit import EtlBase\nHOUSE = 'ours'\n")
    script = write(here / "fine" / "old.py", SCRIPT + "\nfrom etl_base import HOUSE\n")
    assert issubclass(load_etl(script), EtlBase)


def test_it_is_installed_once(here):
    """However often it is asked for."""
    provide_etl_base()
    before = len(sys.meta_path)
    provide_etl_base()
    assert len(sys.meta_path) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", r"bad\.py cannot be imported: SyntaxError: .*bad\.py:1\)"),
        ("if True:\n  x = 1\n y = 2\n", r"IndentationError: .*bad\.py:3\)"),
        ("\n\n1 / 0\n", r"ZeroDivisionError: division by zero \(.*bad\.py:3\)"),
        ("import sys\nsys.exit(3)\n", r"SystemExit: 3 \(.*bad\.py:2\)"),
        ("import not_there\n", r"No module named 'not_there' \(.*bad\.py:1\)"),
        ("x = 1\n", r"bad\.py:1: the script has no class Etl; write: class Etl\(EtlBase\)"),
        (
            SCRIPT.replace("class Etl(", "class Transform("),
            r"bad\.py:4: the class Transform has to be called Etl",
        ),
        ("class Etl:\n  pass\n", r"bad\.py:1: Etl has to be made from EtlBase"),
        ("Etl = 3\n", r"bad\.py:1: Etl is a int; it has to be a class"),
        (
            "from etl_base import EtlBase\n\nclass Etl(EtlBase):\n  pass\n",
            r"Etl overrides neither transform_row.*bad\.py:3\)",
        ),
        (None, r"no file .*bad\.py"),
    ],
)
def test_what_is_wrong_with_a_script(here, text, message):
    """One sentence with file and line, as a ConfigError."""
    if text is not None:
        write(here / "bad.py", text)
    with pytest.raises(ConfigError, match=message):
        load_etl(here / "bad.py")
    assert "bad" not in sys.modules or text in {"x = 1\n", "Etl = 3\n"} or "class" in text


SOURCE = ["--source", "SELECT 1 AS n"]
SINK = ["--sink", "d.t"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a job (package.module or a file), or a script"),
        (
            ["jobs.x", "--script", "old.py", *SOURCE, *SINK],
            "give either the job jobs.x or --script",
        ),
        (["--script", "old.py", *SINK], "--script needs --source"),
        (["--script", "old.py", *SOURCE], "--script needs --sink"),
        (["--script", "old.py"], "--script needs --source and --sink"),
        (["jobs.x", *SOURCE], "--source goes with --script FILE"),
        (["jobs.x", "--mode", "merge", "--name", "x"], "--mode, --name goes with --script"),
        (["--script", "none.py", *SOURCE, *SINK], "no file none.py"),
        (["--script", "old.py", *SOURCE, *SINK, "--mode", "best"], "'best' is not one of 'append'"),
        (["--script", "old.py", *SOURCE, *SINK, "--mode", "merge"], "needs merge_keys"),
        (["--script", "old.py", *SOURCE, *SINK, "--merge-keys", "a"], "needs merge_keys, and no"),
        (["--script", "old.py", *SOURCE, "--sink", "t"], "'t' is not a table name"),
        (["--script", "old.py", "--source", " ", *SINK], "BigQuerySource needs a query"),
        (["--script", "old.py", *SOURCE, *SINK, "--max-concurrency", "0"], "x>=1"),
        (["--script", "old.py", *SOURCE, *SINK, "--on-row-error", "x"], "not one of 'fail'"),
    ],
)
def test_options_that_do_not_go_together(here, capsys, arguments, message):
    """Exit status 2 before anything is imported, connected or paid, with the next thing to do."""
    write(here / "old.py")
    assert main(arguments) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
