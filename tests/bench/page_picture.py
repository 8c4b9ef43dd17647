"""A picture of a page for the documentation: `python -m tests.bench.page_picture PAGE PICTURE HEIGHT`.

The pictures of the photos, after `make article`:

    python -m tests.bench.page_picture .etlkit/photos.html results.png 1480
    python -m tests.bench.page_picture .etlkit/workflow.html workflow.png 1240
"""

import io
import sys
from pathlib import Path

from PIL import Image

from tests.bench.browser import Browser, find_browser

FOLDER = Path(__file__).parents[2] / "docs" / "images"
WIDTH = 1300
NUM_COLORS = 128
"""Enough for a picture of a page, and a third of its bytes."""


def main(page, name, height):
    target = FOLDER / name
    with Browser(find_browser(), width=WIDTH, height=int(height)) as browser:
        browser.open(page)
        browser.run("new Promise(done => setTimeout(done, 500))")
        browser.screenshot(target)
    picture = Image.open(io.BytesIO(target.read_bytes())).convert("RGB")
    picture.quantize(NUM_COLORS).save(target, optimize=True)
    print(target, target.stat().st_size)


if __name__ == "__main__":
    main(*sys.argv[1:])
