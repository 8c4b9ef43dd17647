"""Files that a command writes at its end. Root may write everywhere, but not in /proc."""

from pathlib import Path, PurePosixPath

import pytest

from etlkit import ConfigError
from etlkit.cli.output_files import check_output, write_report
from etlkit.cli.root import main
from etlkit.cli.scaffold.files import write_all

PROC = Path("/proc")


@pytest.mark.parametrize("replaces", [True, False])
def test_what_cannot_be_written_is_found_before_anything_runs(tmp_path, replaces):
    """And the look leaves nothing behind."""
    (tmp_path / "old.json").write_text("old")
    for name in ("new.json", "old.json", "x" * 240):
        check_output(tmp_path / name, "the report", replaces=replaces)
    assert [each.name for each in tmp_path.iterdir()] == ["old.json"]
    for path, why in {
        tmp_path: "is a folder; name a file for the report",
        tmp_path / "no" / "r.json": "there is no folder .*no for the report r.json",
        tmp_path / "old.json" / "r.json": "there is no folder",
        PROC / "r.json": r"/proc/r.json cannot be written for the report \(No such file",
    }.items():
        with pytest.raises(ConfigError, match=why):
            check_output(path, "the report", replaces=replaces)


def test_a_report_may_go_to_a_device():
    """It is there, and nothing has to be made beside it."""
    check_output(Path("/dev/null"), "the report")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "jobs.nosuch", "--local", "--report", "/proc/r.json"],
        ["run", "jobs.nosuch", "--local", "--rehearse", "5", "--report", "/proc/r.json"],
        ["run", "jobs.nosuch", "--local", "--html", "/proc/r.html"],
        ["runs", "--local", "--html", "/proc/r.html"],
        ["report", "SELECT 1", "--local", "--html", "/proc/r.html"],
    ],
)
def test_a_command_ends_before_it_begins(arguments, capsys):
    """With exit status 2, for whichever file and command."""
    assert main(arguments) == 2
    assert f"error {arguments[-1]} cannot be written for the " in capsys.readouterr().err


def test_a_report_that_fails_all_the_same_is_told(tmp_path, capsys):
    """The run is over, and its exit status stands."""
    write_report(tmp_path / "no" / "r.json", "{}")
    assert "the run is over, but its report" in capsys.readouterr().err
    write_report(tmp_path / "r.json", "{}")
    assert (tmp_path / "r.json").read_text() == "{}\n"


def test_new_files_are_written_all_or_none(tmp_path):
    """What was made before the one that fails goes, so that the same command can be given again."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "tests").write_text("a file in the way")
    names = ("jobs/a.py", "new/deep/b.py", "tests/test_a.py")
    files = {PurePosixPath(name): b"x" for name in names}
    with pytest.raises(
        ConfigError, match=r"tests/test_a.py cannot be written: .*nothing was written"
    ):
        write_all(tmp_path, files)
    left = sorted(each.name for each in tmp_path.rglob("*"))
    assert left == ["jobs", "tests"]
    (tmp_path / "tests").unlink()
    write_all(tmp_path, files)
    assert all((tmp_path / name).read_bytes() == b"x" for name in names)
