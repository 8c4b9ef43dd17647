"""The article that etlkit began with, read from its own text. The repository holds no copy of it.

The text is looked for in the folder `ETLKIT_ARTICLE`, by default `shared/seed` beside the checkout.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("ETLKIT_ARTICLE") or ROOT.parent / "shared" / "seed")

# The first and the last line of each part of the article.
STATEMENTS = {
    "object_table.sql": ("  # CREATE an object TABLE\n", "    ;\n"),
    "create_model.sql": ("CREATE MODEL bqml_vision.resnet\n", "/*');\n"),
    "predict.sql": ("SELECT *\nFROM ML.PREDICT(\n", ");\n"),
    "ranking.sql": ("WITH predict AS(\n", "    t_score.score desc\n"),
    "source.sql": ("select\n  uri,\n", "  `bqml_vision.object_table`\n"),
}
PROGRAMS = ("client.py", "rest.py")


def _page() -> str:
    """The article's text; skips the test if there is none."""
    pages = sorted(FOLDER.glob("*.txt"))
    if not pages:
        pytest.skip("the article is not here: set ETLKIT_ARTICLE to the folder of its text")
    return pages[0].read_text(encoding="utf-8")


def statement(name: str) -> str:
    """A statement as the article prints it, with its placeholders."""
    page = _page()
    first, last = STATEMENTS[name]
    start = page.index(first)
    return page[start : page.index(last, start) + len(last)]


def program(name: str) -> str:
    """A program as the article prints it."""
    page = _page()
    start = page.index(f"\n{name}\n") + len(name) + 2
    last = "    return row\n"
    return page[start : page.index(last, start) + len(last)]
