"""The picture of `docs/guides/results.md`: `python -m tests.bench.results_picture PAGE`.

PAGE is a page that `etlkit report` wrote, for the guide that of `jobs/sql/show_comparison.sql` after
`make article`.
"""

import io
import sys
from pathlib import Path

from PIL import Image

from tests.bench.browser import Browser, find_browser

TARGET = Path(__file__).parents[2] / "docs" / "images" / "results.png"
WIDTH, HEIGHT = 1300, 1480
NUM_COLORS = 128
"""Enough for a picture of a page, and a third of its bytes."""


def main(page):
    with Browser(find_browser(), width=WIDTH, height=HEIGHT) as browser:
        browser.open(page)
        browser.run("new Promise(done => setTimeout(done, 500))")
        browser.screenshot(TARGET)
    picture = Image.open(io.BytesIO(TARGET.read_bytes())).convert("RGB")
    picture.quantize(NUM_COLORS).save(TARGET, optimize=True)
    print(TARGET, TARGET.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
