"""Snapshots of rows, without a pytest around them."""

from decimal import Decimal
from pathlib import Path

import pytest

from etlkit import ConfigError
from etlkit.testing.row_snapshot import RowSnapshot, SnapshotUse


class World:
    """A session with its snapshots."""

    def __init__(self, module, *, update):
        self.use = SnapshotUse(update=update)
        self.folder = module.parent / "row_snapshots" / module.stem

    def test(self, name, node=None):
        return RowSnapshot(self.folder, name, node or f"test_a.py::{name}", self.use)


@pytest.fixture
def module(tmp_path):
    file = tmp_path / "test_a.py"
    file.write_text("")
    return file


@pytest.fixture
def updating(module):
    return World(module, update=True)


@pytest.fixture
def comparing(module):
    return World(module, update=False)


def test_two_snapshots_in_one_file_are_refused(updating):
    """Else the second would silently take the place of the first, and the next run would fail."""
    updating.test("test_x[a b]")([{"x": 1}])
    with pytest.raises(
        AssertionError, match=r"test_a.py::test_x\[a b\] has other rows in .*a name"
    ):
        updating.test("test_x[a_b]")([{"x": 2}])
    twice = updating.test("test_y")
    twice([{"x": 1}])
    with pytest.raises(
        AssertionError, match=r"this test has other rows in the snapshot test_y\.json"
    ):
        twice([{"x": 2}])
    twice([{"x": 2}], "second")
    updating.test("test_y")([{"x": 3}])  # it runs again, as with pytest-rerunfailures
    updating.test("test_x[a/b]")([{"x": 1}])  # the same rows: nothing is lost


def test_a_snapshot_that_is_damaged_says_so(updating, comparing):
    """E.g. by a merge; the command writes it anew."""
    updating.test("test_x")([{"x": 1}])
    (file,) = updating.folder.iterdir()
    for content in (b"<<<<<<< HEAD\n[]", b"\xff"):
        file.write_bytes(content)
        with pytest.raises(AssertionError, match=r"test_x.json is not JSON .*--update-snapshots"):
            comparing.test("test_x")([{"x": 1}])
    file.write_text('{"x": 1}')
    with pytest.raises(AssertionError, match=r"expected must be rows.*\nIf the new rows are right"):
        comparing.test("test_x")([{"x": 1}])
    updating.test("test_x")([{"x": 1}])
    comparing.test("test_x")([{"x": 1}])


def test_a_text_that_no_file_can_hold_is_refused_and_the_snapshot_stays(updating):
    updating.test("test_x")([{"x": "a"}])
    (file,) = updating.folder.iterdir()
    before = file.read_text()
    with pytest.raises(ConfigError, match=r"'\\ud800' is half of a character"):
        updating.test("test_x")([{"x": "a\ud800b"}])
    assert file.read_text() == before


def test_a_snapshot_that_cannot_be_written_is_named():
    """One that is right already is not written."""
    use = SnapshotUse(update=True)
    with pytest.raises(
        AssertionError, match=r"the snapshot /proc/t/test_x.json cannot be written: No"
    ):
        RowSnapshot(Path("/proc/t"), "test_x", "test_x", use)([{"x": 1}])


def test_an_unchanged_snapshot_is_left_alone(updating):
    """So a folder that is only read can be there in an update."""
    updating.test("test_x")([{"x": 1}])
    (file,) = updating.folder.iterdir()
    before = file.stat().st_mtime_ns, file.stat().st_ino
    updating.test("test_x")([{"x": 1}])
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


def test_names_of_any_length_are_files(updating, comparing):
    """A parameter may be a long text; two that begin alike stay two."""
    for end in "ab":
        updating.test(f"test_x[{'é' * 200}{end}]")([{"x": end}])
    comparing.test(f"test_x[{'é' * 200}a]")([{"x": "a"}])
    assert len(list(updating.folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "row_snapshot: rows are a list of dicts"),
        ([3], "row_snapshot: a row is a dict"),
        ([{"x": object()}], "has no text that stays the same"),
        ([{"x": {"a", "b"}}], "has no text that stays the same.*a sorted list"),
    ],
)
def test_what_no_file_can_hold_is_refused(updating, rows, message):
    """An address or the order of a set is another one in the next process."""
    with pytest.raises(ConfigError, match=message):
        updating.test("test_x")(rows)
    updating.test("test_x")([{"x": Decimal("1.5")}])


def test_what_is_unused(updating, module):
    """Not those of tests that were skipped, but those of modules that are gone."""
    updating.test("test_x")([{"x": 1}])
    gone = updating.folder.parent / "test_gone" / "test_z.json"
    other = updating.folder.parent / "test_b" / "test_z.json"
    module.with_name("test_b.py").write_text("")
    for file in (gone, other, *(updating.folder / f"{n}.json" for n in ("a", "s", "s-1", "st"))):
        file.parent.mkdir(exist_ok=True)
        file.write_text("[]")
    found = updating.use.unused({(str(module), "s")})
    assert found == [updating.folder / "a.json", updating.folder / "st.json", gone]
    for file in found:
        updating.use.remove(file)
    assert not gone.parent.exists()
    assert other.exists()
