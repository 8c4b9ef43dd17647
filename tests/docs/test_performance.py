"""The table of speed and memory is that of the history, and the history says what became slower."""

from dataclasses import replace

import pytest

from tests.bench import history, table
from tests.bench.figures import Figure
from tests.bench.history import Entry

SPEED = Figure("rows.six", "six columns", 5.0, "x naive", 5, "higher", {"by hand": 5.8}, (4.9, 5.0))
PEAK = Figure("memory.few", "memory", 100.0, "MB", runs=(100.0,))


def entry(*figures, at="2030-01-01T00:00:00+00:00", machine="M, 2 cores, Python 3.11"):
    return Entry(
        at, "abc", machine, {"python": "3.11.7"}, 0.1, {each.key: each for each in figures}
    )


def test_the_page_has_the_table_of_the_history():
    """No figure is written by hand."""
    entries = history.read()
    text = table.PAGE.read_text(encoding="utf-8")
    shown = text.split(table.BEGIN)[1].split(table.END)[0].strip()
    assert shown == table.page_part(entries, entries[-1].machine)
    profile = text.split(table.BEGIN_PROFILE)[1].split(table.END_PROFILE)[0].strip()
    found = history.latest(entries, entries[-1].machine)
    assert profile.splitlines() == table.profile_table(found)


def test_an_entry_comes_back_as_it_was(tmp_path):
    """One line each, in order."""
    path = tmp_path / "history.jsonl"
    entries = [entry(SPEED, PEAK), entry(PEAK)]
    for each in entries:
        history.append(each, path)
    assert history.read(path) == entries


@pytest.mark.parametrize(
    ("figure", "value", "is_slower"),
    [
        (SPEED, 4.6, False),  # within 10 %
        (SPEED, 4.0, True),
        (SPEED, 9.0, False),
        (PEAK, 109.0, False),
        (PEAK, 120.0, True),
        (PEAK, 50.0, False),
    ],
)
def test_a_slowdown_shows(figure, value, is_slower):
    """A figure that is worse than the last one by more than the noise is named."""
    now = entry(replace(figure, value=value))
    found = history.slower(now, [entry(figure)])
    assert [each.split(":")[0] for each in found] == ([figure.title] if is_slower else [])


def test_noise_is_no_slowdown():
    """Runs that differ by a third among themselves say nothing about a fifth."""
    noisy = replace(PEAK, runs=(90.0, 100.0, 123.0))
    assert history.slower(entry(replace(PEAK, value=120.0)), [entry(noisy)]) == []


def test_where_the_time_goes_is_said_for_each_figure_that_has_a_profile():
    """Part by part, as it was measured."""
    figure = replace(SPEED, profile={"naive": 5.31, "etlkit": 1.2})
    lines = table.profile_table(history.latest([entry(figure, PEAK)], entry().machine))
    assert lines[2:] == ["| six columns | naive 5.31, etlkit 1.2 |"]


def test_another_machine_is_not_compared():
    """Nor one with another Python."""
    now = entry(replace(PEAK, value=1e6))
    assert history.slower(now, [entry(PEAK, machine="M, 2 cores, Python 3.12")]) == []


def test_a_part_that_did_not_run_keeps_its_figures():
    """The table has the latest of each, and says from when they are."""
    old, new = entry(SPEED, PEAK), entry(SPEED, at="2030-02-01T00:00:00+00:00")
    lines = table.table(history.latest([old, new], new.machine))
    assert any("memory" in line and "(2030-01-01)" in line for line in lines)
    assert any("six columns" in line and "(2030" not in line for line in lines)


def test_other_libraries_stand_beside_the_figure_that_they_are_measured_for():
    """The best one first."""
    peer = Figure("peers.rows.six", "others", 1.4, "x naive", None, "higher", {"a": 0.7, "b": 1.4})
    (line,) = table.table(history.latest([entry(SPEED, peer)], entry().machine))[2:]
    assert line.endswith("| ≥ 5 | by hand 5.8 | b 1.4, a 0.7 |")


def test_a_part_that_fails_does_not_lose_the_others(monkeypatch, capsys):
    """Its name is given back, and what it said is shown."""

    def run(part, _):
        if part == "rows":
            raise ValueError("broken")
        return [PEAK]

    monkeypatch.setattr(table, "_run", run)
    found, failed = table.measure(["rows", "memory"], None)
    assert (list(found.figures), failed) == (["memory.few"], ["rows"])
    assert "broken" in capsys.readouterr().err
