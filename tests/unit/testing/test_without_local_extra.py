"""What a newcomer reads who has installed etlkit without its extra `local`."""

import sys

import pytest

from etlkit import ConfigError, pytest_plugin
from etlkit.cli.root import main
from etlkit.local.server import launcher
from etlkit.testing.datamart_cases import read_cases

COMMAND = r"pip install -e '.[local]'"


@pytest.fixture(autouse=True)
def without_extra(monkeypatch):
    """An installation in which a package of the extra is missing."""
    monkeypatch.setattr(launcher, "_EXTRA_MODULES", ("no_such_module",))


@pytest.mark.parametrize(
    "arguments",
    [
        ["local", "rules"],
        ["local", "sql", "SELECT 1"],
        ["local", "serve"],
        ["runs", "--local"],
        ["check", "SQL"],
    ],
)
def test_a_command_names_the_extra(arguments, tmp_path, monkeypatch, capsys):
    """Also one that starts no server; exit status 2, and no traceback."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.sql").write_text("SELECT 1")
    assert (
        main([each.replace("SQL", "job.sql") if each == "SQL" else each for each in arguments]) == 2
    )
    said = capsys.readouterr().err
    assert "packages that are missing: no_such_module" in said
    assert COMMAND in said
    assert not (tmp_path / ".etlkit").exists()


def test_the_fixture_of_a_local_bigquery_fails_in_one_sentence(tmp_path):
    """Not with the lines of etlkit that look for the packages."""
    with (
        pytest.raises(pytest.fail.Exception, match="no_such_module") as failed,
        pytest_plugin._local_world(tmp_path / "x"),
    ):
        pass
    assert failed.value.pytrace is False
    assert COMMAND in str(failed.value)


def test_datamart_tests_in_yaml_name_the_extra(tmp_path, monkeypatch):
    """PyYAML comes with it."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"need PyYAML\. .*pip install -e '\.\[local\]'"):
        read_cases(tmp_path / "x.etlkit.yml")
