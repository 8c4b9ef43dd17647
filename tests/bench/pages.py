"""Look at the pages of runs and of results in a browser: `python -m tests.bench.pages`.

Opens pages of all kinds of reports in headless Chromium, at the width of a desk and of a phone, light
and dark, on paper, and prints what is wrong: violations of accessibility that axe finds, messages of
the browser (also of the content security policy), and parts that leave the window. The exit status is
1 if something is.

It needs Chromium (`ETLKIT_BROWSER` names another one) and axe:
`pip install --no-deps axe-playwright-python`.
"""

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from etlkit import RunReport
from etlkit.cli.pages.run_page import write_html
from etlkit.cli.pages.runs_page import write_runs_html
from tests import workflow_reports as reports
from tests.bench.browser import Browser, find_browser
from tests.bench.results_page import make_page

DESK, PHONE = 1400, 390
LARGE = "500 tasks"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OVERFLOW = """
[...document.querySelectorAll("body *")].filter((each) => {
  const box = each.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1
    && !each.closest(".scroll, svg, .page-nav, .skip-link");
}).slice(0, 3).map((each) => each.tagName + "." + each.className)
"""


def axe_script():
    """The text of axe, or None if it is not installed."""
    package = find_spec("axe_playwright_python")
    if package is None:
        return None
    return (Path(package.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


def make_pages(folder):
    """Pages of all kinds, by name."""
    transfer = RunReport(
        run_id="20261101_090000_1", job="jobs.photos", state="failed", target="photos.t", read=10,
        written=7, rejected=3, first_errors=["row 3, column 'uri': bad"], seconds={"open": 1.0},
        error="row 3, column 'uri': bad",
    )  # fmt: skip
    made = {
        "article": reports.article(),
        "small": reports.succeeded(),
        "states": reports.every_state(),
        "hostile": reports.hostile(),
        "transfer": transfer,
        LARGE: reports.large(500),
    }
    pages = {name: folder / f"{name}.html" for name in [*made, "runs", "no runs"]}
    for name, report in made.items():
        write_html(report, pages[name])
    write_runs_html(reports.month(), pages["runs"], days=30)
    write_runs_html([], pages["no runs"], days=30)
    pages["results"] = make_page(folder, 30)[0]
    return pages


def faults(browser, page, axe):
    """What is wrong with a page, as sentences."""
    browser.open(page)
    browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    yield from (f"leaves the window: {each}" for each in browser.run(OVERFLOW))
    browser.run(axe)
    found = browser.run(f"axe.run({{runOnly: {RULES!r}}}).then((found) => found.violations)")
    for each in found:
        first = each["nodes"][0]
        yield f"{each['id']}: {each['help']} ({len(each['nodes'])} times, {first['html'][:120]})"
    yield from (f"the browser says: {message[:200]}" for message in browser.messages)


def behaviour_faults(browser, pages):
    """What does not work: links unfold their task, a button changes the colours, a filter filters."""
    browser.open(pages["article"])
    browser.run(
        "document.querySelector('#node-5').dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    if not browser.run(
        "new Promise((done) => setTimeout(() => done(document.querySelector('#task-5').open), 200))"
    ):
        yield "a click on a node does not unfold its task"
    before = browser.run("getComputedStyle(document.body).backgroundColor")
    browser.run("document.getElementById('theme').click()")
    if browser.run("getComputedStyle(document.body).backgroundColor") == before:
        yield "the button does not change the colours"
    browser.open(pages["runs"])
    browser.run(
        "document.getElementById('filter').value = 'daily failed';"
        "document.getElementById('filter').dispatchEvent(new Event('input'))"
    )
    shown = browser.run(
        "[...document.querySelectorAll('#runs-table tbody tr:not([hidden])')]"
        ".map((row) => row.innerText)"
    )
    if not shown or not all("daily" in row and "failed" in row for row in shown):
        yield "the filter does not filter"


def main():
    """Check all pages; the number of faults."""
    executable, axe = find_browser(), axe_script()
    if executable is None or axe is None:
        print("needs Chromium, and axe: pip install --no-deps axe-playwright-python")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        pages = make_pages(Path(folder))
        number = 0
        for width in (DESK, PHONE):
            for dark in (False, True):
                with Browser(executable, width=width, height=900, dark=dark) as browser:
                    for name, page in pages.items():
                        if name == LARGE and (dark or width == PHONE):
                            continue  # it takes half a minute
                        for fault in faults(browser, page, axe):
                            number += 1
                            print(f"{name}, {width} px, {'dark' if dark else 'light'}: {fault}")
        with Browser(executable, width=DESK, height=900) as browser:
            for fault in behaviour_faults(browser, pages):
                number += 1
                print(fault)
        print(f"{len(pages)} pages, 2 widths, light and dark: {number} faults")
    return number


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
