"""The other version of a job: exported from git, or refused in one sentence."""

import subprocess
import sys
from types import ModuleType

import pytest

from etlkit.cli.diff import child
from etlkit.cli.diff.old_code import old_code
from etlkit.errors import ConfigError


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits; the working directory is a folder within."""
    here = tmp_path / "tree" / "etl"
    (here / "jobs").mkdir(parents=True)
    monkeypatch.chdir(here)

    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path / "tree", check=True, timeout=60)  # noqa: S607

    (tmp_path / "tree" / "readme").write_text("no code yet")
    git("init", "-q", "-b", "main")
    git("add", "readme")
    git("commit", "-q", "-m", "first")
    (here / "jobs" / "a.py").write_text("x = 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "second")
    (here / "jobs" / "a.py").write_text("x = 2\n")
    return tmp_path / "tree"


def test_a_revision_is_exported_and_the_tree_stays(repository, monkeypatch):
    """The files of then, in a folder that goes; paths of this process lead there."""
    monkeypatch.setattr(sys, "path", [str(repository / "etl"), str(repository), "/elsewhere"])
    with old_code("main") as code:
        assert (code.folder / "jobs" / "a.py").read_text() == "x = 1\n"
        assert code.shown.startswith("main (")
        assert code.folder.name == "etl"
        assert code.path == (str(code.folder), str(code.folder.parent))
        assert (code.file, code.tree) == (None, repository)
    assert not code.folder.exists()
    assert (repository / "etl" / "jobs" / "a.py").read_text() == "x = 2\n"


@pytest.mark.parametrize(
    ("against", "sentence"),
    [
        ("main~1", "the folder etl/ was not there then"),
        ("mian", "it is neither a file nor a revision that git knows here. Allowed are"),
        ("--help", "it is neither a file nor a revision"),
        ("gone.py", "no file gone.py"),
        ("gone.py:job", "no file gone.py"),
    ],
)
def test_what_is_no_version_is_refused(repository, against, sentence):
    """Each has its sentence; nothing is left behind."""
    with pytest.raises(ConfigError, match=sentence.replace(".", r"\.")), old_code(against):
        pass


def test_old_code_may_not_be_mixed_with_new_code(repository, monkeypatch):
    """A module of the working tree in the process of the old code is new code: the result would lie."""
    order = {"tree": str(repository)}
    child._refuse_mixed(order)
    module = ModuleType("jobs.a")
    module.__file__ = str(repository / "etl" / "jobs" / "a.py")
    monkeypatch.setitem(sys.modules, "jobs.a", module)
    with pytest.raises(
        ConfigError, match=r"imports jobs.a from the working tree \(etl/jobs/a.py\)"
    ):
        child._refuse_mixed(order)
    child._refuse_mixed({"tree": None})
