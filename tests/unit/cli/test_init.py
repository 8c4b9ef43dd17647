"""`etlkit init` and `etlkit new`: files that stand for themselves; what is refused writes nothing."""

import json
import tomllib
from importlib import metadata

import pytest

from etlkit.cli.root import main
from etlkit.cli.scaffold.projects import PROJECTS
from etlkit.cli.scaffold.requirement import Requirement


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def project_of(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("template", PROJECTS)
def test_a_project_has_what_its_readme_names(folder, template, capsys):
    """No placeholder is left, the job exists, and the commands are those that are printed."""
    assert main(["init", "Shop 2", "--template", template]) == 0
    made = folder / "Shop 2"
    assert project_of(made)["name"] == "shop-2"
    assert f"jobs/{PROJECTS[template].job}.py" in written(made)
    assert {".gitignore", ".github/workflows/test.yml", "Makefile"} <= set(written(made))
    texts = [p.read_text() for p in made.rglob("*") if p.is_file() and p.suffix != ".jpg"]
    assert not [text for text in texts if "@@" in text]
    readme, printed = (made / "README.md").read_text(), capsys.readouterr().out
    for command in PROJECTS[template].commands:
        assert command in readme
        assert command in printed
    assert "  cd 'Shop 2'\n" in printed


def test_a_folder_that_holds_something_stays_as_it_is(folder, capsys):
    """Nothing of the user's is replaced."""
    (folder / "mine").mkdir()
    (folder / "mine" / "README.md").write_text("mine")
    assert main(["init", "mine"]) == 2
    assert main(["init", "mine/README.md"]) == 2
    assert written(folder) == ["mine/README.md"]
    said = capsys.readouterr().err
    assert "mine exists and is not empty" in said
    assert "mine/README.md is a file" in said


def test_a_clone_of_an_empty_repository_becomes_a_project(folder, monkeypatch, capsys):
    """And who is in the folder already need not go there."""
    (folder / "it's mine" / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder / "it's mine")
    assert main(["init", "."]) == 0
    assert "jobs/greet.py" in written(folder / "it's mine")
    assert " cd " not in capsys.readouterr().out


def test_a_wheel_is_kept_in_the_project(folder):
    """So the project can be installed wherever it is cloned to."""
    wheel = folder / "etlkit_bigquery-1.2-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    assert main(["init", "shop", "--etlkit", str(wheel)]) == 0
    assert (folder / "shop" / "wheels" / wheel.name).read_bytes() == b"wheel"
    (needed,) = project_of(folder / "shop")["dependencies"]
    assert needed == f"etlkit-bigquery @ {{root:uri}}/wheels/{wheel.name}"
    assert "## Elsewhere" not in (folder / "shop" / "README.md").read_text()


@pytest.mark.parametrize("given", ["nothing.whl", "empty", "README"])
def test_what_is_no_etlkit_is_refused(folder, given, capsys):
    """Before a file is written."""
    (folder / "empty").mkdir()
    assert main(["init", "shop", "--etlkit", given]) == 2
    assert written(folder) == []
    assert "it must be a wheel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("direct_url", "line"),
    [
        (None, "etlkit-bigquery[local]=={version}"),
        (
            {"url": "file:///home/ann/etlkit", "dir_info": {"editable": True}},
            "etlkit-bigquery[local] @ file:///home/ann/etlkit",
        ),
        (
            {
                "url": "https://git.example/etlkit.git",
                "vcs_info": {"vcs": "git", "commit_id": "0a1b"},
            },
            "etlkit-bigquery[local] @ git+https://git.example/etlkit.git@0a1b",
        ),
    ],
)
def test_the_etlkit_that_runs_is_the_one_that_is_needed(monkeypatch, direct_url, line):
    """As pip notes where a package came from."""
    noted = None if direct_url is None else json.dumps(direct_url)
    monkeypatch.setattr(
        metadata.PathDistribution,
        "read_text",
        lambda self, name: noted if name == "direct_url.json" else "Version: 0.9\nName: x\n",
    )
    version = metadata.version("etlkit-bigquery")
    assert Requirement.of(None).text("local") == line.format(version=version)


def test_new_files_come_with_their_tests(folder, monkeypatch, capsys):
    """The names of files, modules and tables are those that were given."""
    assert main(["init", "shop"]) == 0
    shop = folder / "shop"
    before = written(shop)
    monkeypatch.chdir(shop)
    for arguments in (
        ["transform", "clean"],
        ["job", "nightly", "--transform", "clean"],
        ["datamart", "totals"],
        ["transform", "猫"],
        ["job", "猫"],
    ):
        assert main(["new", *arguments]) == 0
    assert sorted(set(written(shop)) - set(before)) == [
        "jobs/nightly.py",
        "jobs/sql/totals.sql",
        "jobs/totals.py",
        "jobs/猫.py",
        "tests/jobs/test_nightly.py",
        "tests/jobs/test_totals.py",
        "tests/jobs/test_猫.py",
        "tests/transforms/test_clean.py",
        "tests/transforms/test_猫.py",
        "transforms/clean.py",
        "transforms/猫.py",
    ]
    assert "put the columns there that transforms/clean.py reads" in capsys.readouterr().out
    assert "FROM demo.`猫`" in (shop / "tests" / "jobs" / "test_猫.py").read_text()
    assert "from transforms.clean import Etl" in (shop / "jobs" / "nightly.py").read_text()
    assert "demo.totals" in (shop / "jobs" / "totals.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["transform", "greet"], "transforms/greet.py exist already"),
        (["job", "other"], "there is no transforms/other.py"),
        (
            ["datamart", "class"],
            "'class' cannot be the name of a module: it is a word of Python's own",
        ),
        (["transform", "__init__"], "Python has names like this for itself"),
        (["transform", "x" * 300], "it has more than 200 bytes"),
        (["transform", "a-b"], "'a-b' cannot be the name of a module"),
        (["transform", "../up"], "'../up' cannot be the name of a module"),
    ],
)
def test_what_cannot_be_added_is_refused(folder, monkeypatch, arguments, reason, capsys):
    """And no file is written."""
    assert main(["init", "shop"]) == 0
    monkeypatch.chdir(folder / "shop")
    before = written(folder)
    assert main(["new", *arguments]) == 2
    assert written(folder) == before
    assert reason in capsys.readouterr().err


def test_new_outside_of_a_project_says_where_to_go(folder, capsys):
    """Nothing is written into a folder that is no project."""
    assert main(["new", "transform", "clean"]) == 2
    assert written(folder) == []
    assert "etlkit init DIR" in capsys.readouterr().err
