"""The overview of many runs."""

import re
from dataclasses import replace

import pytest

from etlkit.cli.pages import runs_page
from etlkit.cli.pages.runs_page import write_runs_html
from tests.page_checks import faults, parse, text_of
from tests.workflow_reports import HOSTILE, month


@pytest.fixture
def page(tmp_path):
    """The text of the page of some runs."""

    def write(runs, days=30):
        path = tmp_path / "runs.html"
        write_runs_html(runs, path, days=days)
        return path.read_text(encoding="utf-8")

    return write


@pytest.fixture(scope="module")
def month_page(tmp_path_factory):
    """The text of the page of a month."""
    path = tmp_path_factory.mktemp("pages") / "runs.html"
    write_runs_html(month(), path, days=30)
    return path.read_text(encoding="utf-8")


def facts(root):
    pairs = [div for dl in root.iter("dl") for div in dl.findall("div")]
    return {text_of(pair.find("dt")): text_of(pair.find("dd")) for pair in pairs}


def rows(root, name):
    (part,) = [each for each in root.iter("section") if each.get("id") == name]
    return [
        [" ".join(text_of(cell).split()) for cell in row if cell.tag in {"td", "th"}]
        for row in part.iter("tr")
    ]


def test_the_page_keeps_the_rules(month_page):
    """As every page: strict HTML, policy, no address outside, names, contrast."""
    assert faults(month_page) == []


def test_what_the_runs_say_is_text(page):
    """Markup in any field is shown and does nothing."""
    bad = replace(
        month()[0], run_id=HOSTILE, job=HOSTILE, target=HOSTILE, error=HOSTILE, state="failed"
    )
    root = parse(page([bad, *month()[:8]]))
    assert len(list(root.iter("script"))) == 2
    assert list(root.iter("img")) == []
    assert rows(root, "runs")[1][0] == HOSTILE
    assert rows(root, "runs")[1][-1] == HOSTILE


def test_sums_and_rows_are_those_of_the_runs(month_page):
    """The facts, the table of jobs and the table of runs agree with the ledger."""
    runs = month()
    root = parse(month_page)
    shown = facts(root)
    assert shown["Runs"] == f"{len(runs)}"
    assert shown["Failed"] == f"{sum(run.state == 'failed' for run in runs)}"
    jobs = rows(root, "jobs")[1:]
    assert {row[0] for row in jobs} == {run.job for run in runs}
    assert sum(int(row[3]) for row in jobs) == len(runs)
    table = rows(root, "runs")[1:]
    assert [row[0] for row in table] == [run.run_id for run in runs]
    assert table[0][3].endswith("UTC")


def test_the_runs_of_tasks_are_counted_with_their_workflow(page):
    """A row and a dollar are not counted twice."""
    runs = month()[:30]
    parts = [
        replace(run, run_id=f"p{i}", parent_run_id=runs[0].run_id) for i, run in enumerate(runs)
    ]
    html = page([*runs, *parts])
    assert facts(parse(html)) == facts(parse(page(runs)))
    assert f"{len(parts)} runs of workflows&#39; tasks are counted" in html.replace(
        "workflows'", "workflows&#39;"
    )


def test_each_day_has_its_bar(page):
    """The chart of states has the counts of each day; a day without a run is there without a bar."""
    runs = [run for run in month() if run.began_at[:10] != "2026-10-20"]
    html = page(runs)
    labels = re.findall(r'aria-label="(\d{4}-\d\d-\d\d: \d+ [a-z]+)"', html)
    assert not any("2026-10-20" in label for label in labels)
    assert re.search(r">10-(19|20)<", html)
    (tenth,) = {
        label for label in labels if label.startswith("2026-10-10") and "published" in label
    }
    number = sum(run.state == "published" and "2026-10-10" in run.began_at for run in runs)
    assert tenth == f"2026-10-10: {number} published"


def test_a_period_without_runs_says_so(page):
    """No chart, no error."""
    html = page([])
    assert faults(html) == []
    assert "There was no run in the last 30 days." in html


def test_long_lists_are_cut(page, monkeypatch):
    """The newest runs are listed, the sums count all; there are more jobs than the charts have."""
    monkeypatch.setattr(runs_page, "MAX_ROWS", 20)
    runs = [replace(run, job=f"jobs.n{i % 20}") for i, run in enumerate(month()[:50])]
    root = parse(page(runs))
    assert [row[0] for row in rows(root, "runs")[1:]] == [run.run_id for run in runs[:20]]
    assert facts(root)["Runs"] == "50"
    assert "30 older runs are not listed" in text_of(root.find("body"))


def test_runs_without_figures(page):
    """A run that is in progress has no end, no rows and no cost."""
    bare = replace(
        month()[0], state="running", finished_at=None, seconds=None, rows=None, read=None,
        written=None, rejected=None, bytes_billed=None, cost=None,
    )  # fmt: skip
    html = page([bare])
    assert faults(html) == []
    assert facts(parse(html)) == {"Runs": "1", "Published": "0%", "Failed": "0"}


@pytest.mark.parametrize(("seconds", "unit"), [(3, "seconds"), (500, "minutes"), (20_000, "hours")])
def test_durations_have_a_unit_that_fits(page, seconds, unit):
    """A month of short runs is not drawn in hundredths of a minute."""
    runs = [replace(run, seconds=seconds) for run in month()[:8]]
    assert f"Duration of each run, in {unit}" in page(runs)
