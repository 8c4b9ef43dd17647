import sys

import pytest

from etlkit import ConfigError, Datamart, TransferJob
from etlkit.cli.job_loader import load_job

JOB = """
from etlkit import EtlBase, TransferJob
from etlkit.testing import MemorySink, MemorySource

class Etl(EtlBase):
    def transform_row(self, row):
        return row

{name} = TransferJob(source=MemorySource([]), transform=Etl, sink=MemorySink(){options})
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty project as the working directory; modules imported from it are removed afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path, name="job", options=""):
    path.parent.mkdir(exist_ok=True)
    path.write_text(JOB.format(name=name, options=options))


@pytest.mark.parametrize("target", ["jobs_a.good", "jobs_a.good:job", "jobs_a/good.py"])
def test_a_module_or_a_path_names_a_job(here, target):
    """All spellings find the same job under the same name."""
    write(here / "jobs_a" / "good.py")
    name, job = load_job(target)
    assert name == "jobs_a.good"
    assert isinstance(job, TransferJob)


def test_a_job_may_have_a_name_of_its_own(here):
    """`TransferJob(name=…)` wins over the module's name."""
    write(here / "named.py", options=', name="nightly"')
    assert load_job("named")[0] == "nightly"


def test_another_attribute_can_be_named(here):
    """`module:name` loads that job, and is its name: two jobs of a module are two jobs."""
    write(here / "two.py", name="second")
    assert load_job("two:second")[0] == "two:second"
    with pytest.raises(ConfigError, match="two has no 'job'; it has second: use two:second"):
        load_job("two")


def test_a_file_of_sql_is_a_datamart(here):
    """A file of SQL is a datamart in query mode, named after its path."""
    (here / "x.sql").write_text("SELECT 1")
    assert load_job("x.sql") == ("x.sql", Datamart(file="x.sql"))
    (here / "mart.py").write_text("from etlkit import Datamart\njob = Datamart(sql='SELECT 1')\n")
    assert load_job("mart") == ("mart", Datamart(sql="SELECT 1"))


def test_a_file_outside_of_the_working_directory(here, tmp_path_factory):
    """A path to anywhere works too."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "far.py"
    write(elsewhere)
    assert load_job(str(elsewhere))[0] == "far"


def test_a_job_is_called_after_its_file_whatever_else_has_that_name(here, tmp_path_factory):
    """The ledger finds a job by its name, on every machine and whatever else is loaded."""
    for folder in ("one", "two"):
        elsewhere = tmp_path_factory.mktemp(folder) / "statistics.py"
        write(elsewhere)
        assert load_job(str(elsewhere))[0] == "statistics"
    import statistics

    assert statistics.mean([1, 3]) == 2


@pytest.mark.parametrize(
    ("files", "target", "message"),
    [
        ({}, "nowhere.job", "no module 'nowhere'"),
        ({}, "missing.py", "no file missing.py"),
        ({}, "missing.sql", "no file missing.sql"),
        ({}, "", "name a job"),
        ({"pkg.py": ""}, "pkg.deeper", "no module 'pkg.deeper'"),
        ({"empty.py": "x = 1"}, "empty", r"empty has no 'job': define job = TransferJob"),
        (
            {"text.py": "job = 'no'"},
            "text",
            "text:job is a str; it must be a TransferJob, a Data",
        ),
        ({"boom.py": "\n1 / 0"}, "boom", r"boom cannot be imported: ZeroDivisionError.*boom.py:2"),
        (
            {"empty.py": "from etlkit import Workflow\njob = Workflow(tasks=[])"},
            "empty",
            r"tasks is empty.*empty.py:2\)",
        ),
        (
            {"dep.py": "import not_there"},
            "dep",
            "dep cannot be imported: ModuleNotFoundError.*not_",
        ),
        ({"typo.py": "def f(:\n"}, "typo", r"cannot be imported: SyntaxError: .*typo.py:1"),
        ({"typo2.py": "def f(:\n"}, "typo2.py", r"cannot be imported: SyntaxError: "),
        (
            {"conf.py": "from etlkit import BigQuerySink\nBigQuerySink('x')"},
            "conf",
            "conf cannot be imported: 'x' is not a table name",
        ),
    ],
)
def test_bad_targets_say_what_is_wrong(here, files, target, message):
    """Unknown module, no job, an error on import: each is one sentence with file and line."""
    for name, text in files.items():
        (here / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_job(target)
