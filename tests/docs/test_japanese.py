"""The Japanese pages follow the English ones."""

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.ja.md", *sorted((ROOT / "docs" / "ja").glob("*.md"))]
FOLLOWING = [page for page in PAGES if page.name != "glossary.md"]
MARK = re.compile(r"<!-- follows: (\S+) ([0-9a-f]{8}) -->\n")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def translated(english):
    """The part of an English page that has a translation: the list of all pages has none."""
    return english.split("\n## All pages\n")[0]


@pytest.mark.parametrize("page", FOLLOWING, ids=lambda page: page.name)
def test_the_english_page_has_not_changed_since(page):
    """Each Japanese page names the English text that it follows."""
    english, known = MARK.match(page.read_text(encoding="utf-8")).groups()
    text = translated((ROOT / english).read_text(encoding="utf-8"))
    current = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = page.relative_to(ROOT)
    assert known == current, (
        f"{english} has changed since {name} was written. Change {name} in the same way "
        f"(git log -p {english} shows how), then write {current} in its first line. If you do not "
        "write Japanese, copy the changed blocks of code and output, and put a note below the "
        "title: `> [!NOTE]`, and in the next line `> このページには、英語版より古い部分があります。`"
    )


@pytest.mark.parametrize("page", FOLLOWING, ids=lambda page: page.name)
def test_code_and_output_are_those_of_the_english_page(page):
    """What is run and printed is not translated, and is not forgotten."""
    text = page.read_text(encoding="utf-8")
    english = translated((ROOT / MARK.match(text)[1]).read_text(encoding="utf-8"))
    theirs, ours = BLOCK.findall(english), BLOCK.findall(text)
    assert ours
    assert [block for block in ours if block not in theirs] == []
    if page.name in {"quickstart.md", "trocco.md", "index.md"}:
        assert ours == theirs


def test_the_glossaries_have_the_same_words():
    """Each Japanese word of the English glossary, and etlkit's name for it, is in the other one."""
    english = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    japanese = (ROOT / "docs" / "ja" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", english, re.MULTILINE)
    words = {
        word.strip()
        for _, theirs in rows
        for word in re.sub(r"\(.*?\)|\uff08.*?\uff09|`[^`]*`", "", theirs).split(",")
        if JAPANESE.search(word)
    }
    assert len(words) > 50
    assert sorted(word for word in words if word not in japanese) == []
    names = {
        name
        for ours, theirs in rows
        if JAPANESE.search(theirs)
        for name in re.findall(r"`([\w-]+)`", ours)
    }
    assert sorted(name for name in names if name not in japanese) == []
