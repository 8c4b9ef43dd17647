"""The page of one run."""

import json
import re
from dataclasses import fields, is_dataclass, replace

import pytest

import etlkit
from etlkit import ConfigError, DatamartReport, RunReport, StatementReport
from etlkit.cli.pages.run_page import write_html
from tests.page_checks import faults, parse, text_of, words_of
from tests.workflow_reports import article, every_state, hostile, large, succeeded, task


@pytest.fixture
def page(tmp_path):
    """The text of a report's page."""

    def write(report):
        path = tmp_path / "run.html"
        write_html(report, path)
        return path.read_text(encoding="utf-8")

    return write


@pytest.fixture(scope="module")
def article_page(tmp_path_factory):
    """The text of the article's page."""
    path = tmp_path_factory.mktemp("pages") / "article.html"
    write_html(article(), path)
    return path.read_text(encoding="utf-8")


def by_id(root, name):
    (element,) = [each for each in root.iter() if each.get("id") == name]
    return element


def section(root, name):
    """The text of the part about a task."""
    return words_of(by_id(root, name))


@pytest.mark.parametrize(
    "report",
    [article(), succeeded(), every_state(), large(40), hostile()],
    ids=lambda each: each.job[:12],
)
def test_pages_keep_the_rules(page, report):
    """Strict HTML, a policy with hashes, no address outside, headings, names, contrast."""
    assert faults(page(report)) == []


def test_every_text_of_a_report_is_shown_as_text(page):
    """Markup in any field, in keys too, is read on the page and is no element of it."""
    report, marks = marked(hostile())
    root = parse(page(report))
    shown = text_of(root) + " ".join(
        value for each in root.iter() for value in each.attrib.values()
    )
    assert len(marks) > 50
    assert [
        mark for mark in marks if mark not in shown and json.dumps(mark)[1:-1] not in shown
    ] == []
    assert len(list(root.iter("script"))) == 2
    assert list(root.iter("img")) == []
    assert list(root.iter("b")) == []


def marked(report):
    """The report with another piece of markup in each field that holds text, and all these pieces."""
    marks = []

    def mark(value):
        if isinstance(value, str):
            marks.append(f"<b id='x{len(marks)}'>&\"</b></script></style><!--")
            return marks[-1]
        if isinstance(value, dict):
            return {mark(key): mark(each) for key, each in value.items()}
        if isinstance(value, list):
            return [mark(each) for each in value]
        if is_dataclass(value):
            keep = {"kind", "state", "branch", "after", "fingerprint"}
            return replace(
                value,
                **{
                    f.name: mark(getattr(value, f.name))
                    for f in fields(value)
                    if f.name not in keep
                },
            )
        return value

    return mark(report), marks


def test_nodes_and_tasks_lead_to_each_other(article_page):
    """A click on a node goes to its task, and back; the same in the graph of a child workflow."""
    root = parse(article_page)
    for number in range(1, 19):
        assert by_id(root, f"node-{number}").get("href") == f"#task-{number}"
        links = [each.get("href") for each in by_id(root, f"task-{number}").iter("a")]
        assert f"#node-{number}" in links
    assert by_id(root, "node-14-2").get("href") == "#task-14-2"
    assert by_id(root, "node-11").get("aria-label") == (
        "by_day, failed, transfer, 1 min 08 s, 31 iterations, 3,540 written, 60 skipped"
    )


def test_a_task_shows_what_it_did(article_page):
    """Counts, errors with their rows, rejects by class and how to run them again."""
    text = section(parse(article_page), "task-5")
    for part in (
        "vision_objects ✓ succeeded transfer, 4,961 written, 12 skipped, 27 rejected, 58 s",
        "After object_table",
        "Before objects_long",
        "Read 5,000",
        "Cost 7.44 USD",
        "vision: UNAVAILABLE, no answer for 5 s",
        "ImageError 21 RowSchemaError 6",
        "row 91 (id 77aa): the image is larger than 20 MB",
        "etlkit run jobs.vision_objects --retry-rejects 20261101_090004_0a1b2c3d",
        "Stages open 0.4 s, snapshot 2.1 s",
    ):
        assert part in text


def test_sql_has_bytes_and_slot_time(article_page):
    """Each statement has its figures; the jobs of a script stand below it."""
    root = parse(article_page)
    rows = [
        [" ".join(text_of(cell).split()) for cell in row.iter("td")]
        for row in by_id(root, "task-3").iter("tr")
    ]
    assert rows[2][0] == "2"
    assert "ML.PREDICT" in rows[2][1]
    assert "job etlkit_2_1a2b" in rows[2][1]
    assert rows[2][2:] == ["✓ done", "5,000", "18.0 MiB", "20.0 MiB", "8.6 s", "3.0 s"]
    assert "1.2 MERGE photos.joined" in section(root, "task-13")


def test_values_details_and_branches_are_shown(article_page):
    """What other tasks read of a task, the SQL of a check, the way that a branch took."""
    root = parse(article_page)
    assert 'Value for other tasks { "rows": 5000, "top": "tabby cat" }' in section(root, "task-3")
    assert "SQL SELECT COUNT(*) FROM photos.objects_long" in section(root, "task-9")
    assert "Condition 14211 >= 1000" in section(root, "task-9")
    assert "Branch taken then" in section(root, "task-10")
    assert "After usable (otherwise)" in section(root, "task-12")


def test_failures_name_the_part_that_failed(article_page):
    """The list of failures leads to the iteration or test that failed, not only to its task."""
    root = parse(article_page)
    links = {text_of(each): each.get("href") for each in by_id(root, "failures").iter("a")}
    assert links == {
        "by_day / 2026-10-13": "#task-11-13",
        "dbt_build / test.unique_uri": "#task-15-4",
    }
    opened = [each.get("id") for each in root.iter("details") if each.get("open") is not None]
    assert opened == ["task-11", "task-11-13", "task-15", "task-15-4"]


def test_a_run_that_went_well_has_no_failures(page):
    """Sections without content are not there, and few tasks are unfolded."""
    html = page(succeeded())
    root = parse(html)
    ids = {each.get("id") for each in root.iter()}
    assert not ids & {"failures", "variables"}
    assert {"graph", "timeline"} <= ids
    assert by_id(root, "task-1").get("open") is not None


def test_colour_is_never_the_only_sign(page):
    """Each state of a task stands there as a word and a symbol, in the graph too."""
    root = parse(page(every_state()))
    labels = [
        each.get("aria-label") for each in root.iter() if (each.get("id") or "").startswith("node-")
    ]
    assert len(labels) > 60
    words = (
        "waiting",
        "running",
        "succeeded",
        "failed",
        "interrupted",
        "bypassed",
        "skipped",
        "not run",
    )
    assert all(any(f", {word}," in f"{label}," for label in labels) for word in words)


def test_five_hundred_tasks_make_a_page_that_can_be_sent(page):
    """The page of a large workflow stays below 1.5 MB."""
    html = page(large(500))
    assert len(html.encode()) < 1_500_000
    assert html.count('<div class="task"') == 500


def test_long_values_are_cut(page):
    """A value of a megabyte does not end up in the page."""
    report = succeeded()
    report.tasks[0].value = "x" * 1_000_000
    html = page(report)
    assert len(html) < 100_000
    assert "(1,000,000 characters)" in html


def test_many_iterations_are_folded(page):
    """The first 50 are shown, the others stand behind a fold; of those only the failed have a part."""
    report = succeeded()
    days = [task(f"i{n}", "transfer", n, n + 1, details={"SQL": "SELECT 1"}) for n in range(120)]
    days[100].state = "failed"
    report.tasks[0].children = days
    html = page(report)
    assert faults(html) == []
    assert "70 more" in html
    parts = [each.get("id") for each in parse(html).iter("details") if each.get("id")]
    assert len([part for part in parts if part.startswith("task-1-")]) == 51
    assert "task-1-101" in parts


def test_a_transfer_has_a_page(page):
    """One job has no graph and no timeline, but all its counts and errors."""
    report = RunReport(
        run_id="20261101_090000_1", job="jobs.photos", state="failed", target="photos.t", read=10,
        written=7, rejected=3, first_errors=["row 3, column 'uri': bad"], calls=9, retries=2,
        seconds={"open": 0.5, "transform": 61.0}, error="row 3, column 'uri': bad", cost=1.5,
        error_classes={"ValueError": 3},
    )  # fmt: skip
    html = page(report)
    assert faults(html) == []
    root = parse(html)
    assert not {each.get("id") for each in root.iter()} & {"graph", "timeline"}
    text = words_of(root.find("body"))
    for part in (
        "jobs.photos",
        "✗ failed Run 20261101_090000_1",
        "Read 10 Written 7",
        "Stages open 0.5 s, transform 61.0 s",
        "Retries 2 of 9 calls",
        "row 3, column 'uri': bad",
        "--retry-rejects 20261101_090000_1",
        "Cost 1.50 USD",
        "ValueError 3",
    ):
        assert part in text


def test_a_datamart_has_a_page(page):
    """A datamart shows its statements, variables and warnings."""
    statement = StatementReport(number=1, line=1, statement="SELECT 1", state="done", rows=1)
    report = DatamartReport(
        run_id="r", job="mart", state="published", statements=[statement], bytes_billed=1024,
        variables={"day": "2026-10-31"}, warnings=["a column was left out"], seconds=2.0,
    )  # fmt: skip
    html = page(report)
    assert faults(html) == []
    text = " ".join(text_of(parse(html).find("body")).split())
    for part in ("SELECT 1", "✓ published", "day2026-10-31", "a column was left out", "1.0 KiB"):
        assert part in text


def test_write_html_is_public(tmp_path):
    """`etlkit.write_html` takes a report and a path as text; it refuses a folder that is not there."""
    etlkit.write_html(succeeded(), str(tmp_path / "a.html"))
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    with pytest.raises(ConfigError, match="there is no folder"):
        etlkit.write_html(succeeded(), tmp_path / "none" / "a.html")


def test_symbols_of_the_page_are_the_terminals(article_page):
    """One state has one symbol everywhere."""
    nodes = re.findall(r'<text class="symbol"[^>]*>(.)</text>', article_page)
    assert nodes.count("✓") == 15
    assert nodes.count("✗") == 2


def test_another_currency_is_named(page):
    """A price in yen is not shown as dollars, nor added to them."""
    report = RunReport(
        run_id="r", job="j", state="published", target="t", cost=150.0, currency="JPY", calls=1
    )
    text = words_of(parse(page(report)).find("body"))
    assert "150.00 JPY" in text
    assert "USD" not in text
