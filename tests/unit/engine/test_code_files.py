import functools
import importlib
import sys

import pytest

from etlkit import EtlBase
from etlkit.engine.code_files import MAX_FILES, bounded, changes, code_digests

FILES = {
    "pyproject.toml": "",
    "transforms/__init__.py": "",
    "transforms/score.py": """
import json
import requests
from etlkit import EtlBase
from helpers.scale import scale
from . import names

class Etl(EtlBase):
    def transform_row(self, row):
        import lazily
        from helpers import late
        return late.finish(scale(row))
""",
    "transforms/names.py": "import helpers.deep.words as words\n",
    "transforms/other.py": "",
    "helpers/scale.py": "def scale(row):\n    return row\n",
    "helpers/late.py": "",
    "helpers/unused.py": "",
    "helpers/deep/words.py": "import helpers.scale\n",
    "lazily/__init__.py": "",
    "jobs/score.py": "from transforms.score import Etl\njob = Etl\n",
    ".venv/lib/python3.11/site-packages/requests/__init__.py": "",
}
USED = {
    "transforms/__init__.py",
    "transforms/score.py",
    "transforms/names.py",
    "helpers/scale.py",
    "helpers/late.py",
    "helpers/deep/words.py",
    "lazily/__init__.py",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of several packages, on the path of imports."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / ".venv/lib/python3.11/site-packages")
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {"transforms", "helpers", "lazily", "jobs", "requests"}:
            del sys.modules[name]


@pytest.fixture
def etl(project, monkeypatch):
    """The project's transform."""
    for name in [n for n in sys.modules if n.split(".")[0] in {"transforms", "requests"}]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("transforms.score").Etl


def test_the_files_that_a_transform_imports_are_found(etl):
    """Also those of its helpers, and those imported in functions; nothing that is installed."""
    assert set(code_digests([etl])) == USED
    assert "lazily" not in sys.modules  # it was only looked at


@pytest.mark.parametrize("name", sorted(USED))
def test_a_change_of_any_of_them_is_noticed_and_named(project, etl, name):
    """So a resume is refused with the file's name."""
    before = code_digests([etl])
    (project / name).write_text((project / name).read_text() + "\n# another version\n")
    after = code_digests([etl])
    assert changes(before, after) == [f"{name} changed"]


@pytest.mark.parametrize("name", ["transforms/other.py", "helpers/unused.py", "jobs/score.py"])
def test_other_files_do_not_matter(project, etl, name):
    """A file that the transform does not import changes nothing."""
    before = code_digests([etl])
    (project / name).write_text("changed = 1\n")
    assert code_digests([etl]) == before


def test_files_that_come_and_go_are_named(project, etl):
    """An import more, an import less."""
    before = code_digests([etl])
    (project / "transforms/names.py").write_text("import helpers.unused\n")
    del sys.modules["transforms.names"]  # as in a new process
    after = code_digests([etl])
    assert changes(before, after) == [
        "transforms/names.py changed",
        "helpers/unused.py is new",
        "helpers/deep/words.py is no longer used",
    ]


def test_what_python_says_of_a_file_is_not_said_again(project, etl, recwarn):
    """Its import says it; here it would come without the file's name."""
    (project / "helpers/late.py").write_text('PATTERN = "\\d"\n')
    assert "helpers/late.py" in code_digests([etl])
    assert not recwarn.list


def test_a_factory_counts_with_its_file(project, etl):
    """What makes the instances decides what they are."""
    names = importlib.import_module("transforms.names")
    exec(compile("def make(): ...", names.__file__, "exec"), vars(names))  # noqa: S102
    found = code_digests([etl, functools.partial(names.make).func])
    assert set(found) == USED


def test_a_class_made_at_a_prompt_has_its_name():
    """There is no file to look at."""
    etl = type("Etl", (EtlBase,), {"transform_row": dict, "__module__": "nowhere"})
    assert list(code_digests([etl])) == ["<Etl>"]


def test_many_files_are_remembered_as_few():
    """A change is still noticed, and a bounded list names it as well as it can."""
    many = {f"f{n:04}.py": "a" for n in range(MAX_FILES + 50)}
    kept = bounded(many)
    assert len(kept) == MAX_FILES
    assert changes(kept, bounded({**many, "f0001.py": "b"})) == ["f0001.py changed"]
    assert changes(kept, bounded({**many, "f0249.py": "b"})) == ["further files changed"]
    assert changes({}, many)[-1] == f"{MAX_FILES + 45} more"
