import io

import pytest

from etlkit.cli.tables import print_table
from tests.unit.cli.terminal import Terminal


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 40 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    return Terminal()


def test_ids_are_never_folded(terminal):
    """An unbroken column keeps its width; the others share the rest."""
    run_id = "20240131_120000_1a2b3c4d"
    print_table(
        terminal, ["run_id", "target"], [[run_id, "project.dataset.t"]], unbroken=["run_id"]
    )
    lines = terminal.getvalue().splitlines()
    assert run_id in lines[3]
    assert max(map(len, lines)) <= 40
    assert len(lines) > 5


def test_columns_for_which_a_terminal_has_no_room_are_left_out_and_no_id_is_cut(terminal):
    """In the order that is given, and only as many as it takes."""
    run_id = "20240131_120000_1a2b3c4d"
    names = ["run_id", "job", "state", "read", "target"]
    row = [run_id, "jobs.a_long_name", "published", "12", "project.dataset.t"]
    chosen = {"unbroken": ["run_id", "state", "read"], "droppable": ["target", "state", "read"]}
    print_table(terminal, names, [row], **chosen)
    *lines, last = terminal.getvalue().splitlines()
    assert run_id in lines[3]
    assert max(map(len, lines)) <= 40
    assert "job" in lines[1]
    assert "read" not in lines[1]
    assert last == "(no room for: state, read, target)"

    print_table(terminal, names, [row], unbroken=names)
    assert f"run_id: {run_id}\n" in terminal.getvalue()  # one line a value


def test_nothing_is_folded_off_a_terminal():
    """A file or a pipe gets one line a row, however wide it is."""
    stream = io.StringIO()
    print_table(stream, ["a", "b"], [["x" * 300, "y" * 300]], title="t\x1b[31m")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "t\\x1b[31m"
    assert any("x" * 300 in line and "y" * 300 in line for line in lines)


def test_a_stream_without_unicode_gets_ascii():
    """Lines are drawn with what the stream can write, and other letters are escaped."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_table(stream, ["a", "é"], [["1", "猫"]], numeric=["a"], title="題")
    stream.flush()
    written = stream.buffer.getvalue()
    assert written.startswith(rb"\u984c")
    assert rb"| a | \xe9   |" in written
    assert rb"| 1 | \u732b |" in written
