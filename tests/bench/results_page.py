"""How fast a page of results is in a browser: `python -m tests.bench.results_page [PICTURES]`.

Makes a page of many pictures (2,000 if not said otherwise) with the answers of three models, opens it
in headless Chromium, and prints when it is painted and how long filters take until the next picture of
the screen. Then it opens a page whose rows and names try to run a script, and looks if they are text.
Prints a line and ends if there is no Chromium; `ETLKIT_BROWSER` names another browser.
"""

import io
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from etlkit.bigquery.result_rows import ResultColumn, ResultRows
from etlkit.cli.pages.results import write_rows
from etlkit.cli.pages.results_columns import Given
from tests.bench.browser import Browser, find_browser

PHOTOS = sorted((Path(__file__).parents[2] / "photos").glob("*.jpg"))
NUM_PICTURES = 2_000
MAX_PAINT_S, MAX_FILTER_MS = 2.0, 200.0
"""What the page promises for 2,000 pictures."""

MODELS = ("resnet", "vision_labels", "vision_objects")
NUM_LABELS = 300
LABELS_EACH = 5
COLUMNS = (
    ResultColumn("model", "STRING"),
    ResultColumn("uri", "STRING"),
    ResultColumn("label", "STRING"),
    ResultColumn("score", "FLOAT64"),
    ResultColumn("rank", "INT64"),
    *(ResultColumn(name, "FLOAT64") for name in ("x_min", "y_min", "x_max", "y_max")),
)

# The time from an input until the frame that shows its result was handed over.
ACT = """
(async (act) => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  await frame();
  const start = performance.now();
  act();
  await frame();
  return performance.now() - start;
})
"""
FILTERS = {
    "label": "form.elements.label.selectedIndex = %d",
    "model": "form.elements.model.selectedIndex = %d %% 4",
    "score": "form.elements.low.value = (%d %% 10) / 10",
    "agreement": "form.elements.agreement.selectedIndex = %d %% 4",
    "order": "form.elements.order.selectedIndex = %d %% 5",
    "text": "form.elements.text.value = 'picture-0%d'",
}


def make_pictures(folder, number, dice):
    """Different parts of the sample photos, as JPEG files of a bucket."""
    photos = [Image.open(path).convert("RGB") for path in PHOTOS]
    folder.mkdir(parents=True)
    for place in range(number):
        photo = photos[place % len(photos)]
        width, height = 320 + dice.randrange(100), 240
        left, top = (
            dice.randrange(photo.width - width + 1),
            dice.randrange(photo.height - height + 1),
        )
        data = io.BytesIO()
        photo.crop((left, top, left + width, top + height)).save(data, "JPEG", quality=85)
        (folder / f"picture-{place:05}.jpg").write_bytes(data.getvalue())


def make_rows(number, dice):
    """The answers of three models, of which one gives boxes."""
    for place in range(number):
        for model in MODELS:
            for rank in range(1, LABELS_EACH + 1):
                label = f"label {int(dice.paretovariate(0.6)) % NUM_LABELS}"
                score = round(dice.random() / rank, 4)
                left, top = dice.random() / 2, dice.random() / 2
                box = (left, top, left + 0.4, top + 0.4) if model == MODELS[2] else (None,) * 4
                yield (model, f"gs://photos/picture-{place:05}.jpg", label, score, rank, *box)


def make_page(folder, number):
    """A page of `number` pictures in a folder: its path, its report, and the seconds that it took."""
    dice = random.Random(7)  # noqa: S311 - the same pictures each time
    make_pictures(Path(folder, "buckets", "photos"), number, dice)
    rows = list(make_rows(number, dice))
    page = Path(folder, "results.html")
    began = time.perf_counter()
    report = write_rows(
        ResultRows(COLUMNS, rows, len(rows)), page, title="Bench",
        environ={"ETLKIT_BUCKETS": f"{folder}/buckets"},
    )  # fmt: skip
    return page, report, time.perf_counter() - began


def measure(page):
    """What the browser says: seconds until paints, and milliseconds of each filter."""
    with Browser(find_browser()) as browser:
        browser.open(page)
        paint = browser.run(
            "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
        )
        pictures = browser.run("performance.getEntriesByName('pictures')[0].startTime / 1000")
        rows = browser.run(ROWS)
        times = {}
        for name, action in FILTERS.items():
            times[name] = [
                browser.run(
                    f"{ACT}(() => {{ const form = document.getElementById('filters');"
                    f"{action % step}; form.dispatchEvent(new Event('input')); }})"
                )
                for step in range(1, 11)
            ]
            browser.run("document.getElementById('filters').reset()")
        times["search in the rows"] = [
            browser.run(f"{ACT}(() => new DataTable.Api('#grid').search('label {step}').draw())")
            for step in range(1, 11)
        ]
        longest = browser.run(SCROLL)
        shown = browser.run("document.querySelectorAll('.card').length")
        return paint, pictures, rows, times, longest, shown, list(browser.messages)


# When the grid is there.
ROWS = """
new Promise((done) => {
  const look = () => {
    const found = performance.getEntriesByName("rows");
    if (found.length) done(found[0].startTime / 1000);
    else setTimeout(look, 20);
  };
  look();
})
"""

# Goes down the list as fast as it grows, and gives the longest task meanwhile.
SCROLL = """
(async () => {
  let longest = 0;
  const observer = new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
    longest = Math.max(longest, entry.duration);
  }));
  observer.observe({ type: "longtask" });
  const { pictures } = JSON.parse(document.getElementById("pictures-data").textContent);
  const total = Math.min(pictures.length, 2000);
  const cards = document.getElementById("cards");
  for (let step = 0; cards.children.length < total && step < total; step += 1) {
    document.getElementById("more").scrollIntoView({ behavior: "instant", block: "end" });
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  }
  return longest;
})()
"""


HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>"
SEEN = """
(() => {
  document.querySelector(".shot").click();
  document.querySelector(".buttons-csv")?.click();
  const texts = [".card h4", ".answer-label", "#large-body h3", "#grid thead th .dt-column-title",
    "#grid tbody td", "#filters option:nth-child(2)", ".box span"];
  return {
    hit: window.hit ?? null,
    markup: document.querySelectorAll("img[src=x]").length,
    missing: texts.filter((each) => !document.querySelector(each)?.textContent.includes("window.hit")),
  };
})()
"""


def check_hostile(folder):
    """A row, or a name, that tries to run a script: what the browser did with it; [] = it is text."""
    values = [
        (HOSTILE, "gs://photos/picture-00000.jpg", HOSTILE, 0.9, 1, 0.1, 0.1, 0.9, 0.9),
        (f"{HOSTILE} 2", f"gs://photos/{HOSTILE}", HOSTILE, 0.9, 1, 0.1, 0.1, 0.9, 0.9),
    ]
    columns = tuple(ResultColumn(f"{each.name} {HOSTILE}", each.type) for each in COLUMNS)
    names = [column.name for column in columns]
    page = Path(folder, "hostile.html")
    write_rows(
        ResultRows(columns, values, 2), page, title=HOSTILE, sql=HOSTILE,
        environ={"ETLKIT_BUCKETS": f"{folder}/buckets"},
        given=Given(*(names[place] for place in (1, 0, 2, 3)), box=",".join(names[5:])),
    )  # fmt: skip
    with Browser(find_browser()) as browser:
        browser.open(page)
        browser.run(ROWS)
        seen = browser.run(SEEN)
        found = [f"{key}: {value}" for key, value in seen.items() if value]
        return found + browser.messages


def main(number):
    if find_browser() is None:
        print("results page: no Chromium here, nothing measured; ETLKIT_BROWSER names a browser")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        page, report, seconds = make_page(folder, number)
        print(
            f"page: {report.num_pictures_shown:,} pictures, {report.num_rows:,} rows, "
            f"{report.page_bytes / 1e6:.1f} MB, made in {seconds:.1f} s"
        )
        paint, pictures, grid, times, longest, shown, messages = measure(page)
        messages += check_hostile(folder)
    print(
        f"first paint {paint:.2f} s, pictures {pictures:.2f} s, rows {grid:.2f} s after the start"
    )
    for name, found in times.items():
        print(
            f"{name:>20}: median {statistics.median(found):5.0f} ms, longest {max(found):5.0f} ms"
        )
    print(f"scrolled to the end: {shown:,} pictures, longest task {longest:.0f} ms")
    slowest = max(max(found) for found in times.values())
    is_fast = paint <= MAX_PAINT_S and slowest <= MAX_FILTER_MS and not messages
    print("as promised" if is_fast else f"NOT as promised {messages}")
    return 0 if is_fast else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else NUM_PICTURES))
