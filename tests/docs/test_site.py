"""The site of the documentation builds without a warning, leads nowhere wrong and loads nothing."""

import os
import posixpath
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

import etlkit
from etlkit import testing
from etlkit.cli import root

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src"}
LOADING_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch"}
COUNTED = {"h1", "h2", "h3", "h4", "li", "tr", "pre", "blockquote"}


class Page(HTMLParser):
    """What the tests look for in one built page."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loaded, self.without_alt = set(), [], [], []
        self.counts, self.article, self.classes = dict.fromkeys(COUNTED, 0), "", set()
        self._depth = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.classes.update((values.get("class") or "").split())
        self.ids.update(filter(None, (values.get("id"), values.get("name"))))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in LOADED and values.get(LOADED[tag]):
            self.loaded.append(values[LOADED[tag]])
        if tag == "link" and values.get("rel") in LOADING_LINKS:
            self.loaded.append(values["href"])
        if tag == "img" and not values.get("alt"):
            self.without_alt.append(values.get("src"))
        if tag == "article":
            self._depth = 0
        if self._depth is not None and tag in self.counts:
            self.counts[tag] += 1

    def handle_endtag(self, tag):
        if tag == "article":
            self._depth = None

    def handle_data(self, data):
        if self._depth is not None:
            self.article += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The built site. One build serves all tests: it takes about 20 s of CPU."""
    site = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "ETLKIT_SITE_SEARCH": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return site


@pytest.fixture(scope="module")
def site(folder):
    """Each built page by its path."""
    return {str(path.relative_to(folder)): Page(path) for path in folder.rglob("*.html")}


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_in_the_navigation(page):
    """Each page of `docs/` has its place in the site."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    places = re.findall(r": (\S+)$", navigation, re.MULTILINE)
    assert page in places or f"{posixpath.dirname(page)}/*" in places, (
        f"add docs/{page} to `nav` in mkdocs.yml, in the section where a reader would look for it"
    )


@pytest.mark.timeout(400)
def test_links_and_anchors_of_the_site_exist(site, folder):
    """Every link of every page leads to a file of the site, and to a heading that is in it."""
    wrong = []
    for name, page in site.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = unquote(link).partition("#")
            place = posixpath.join("/", posixpath.dirname(name), path) if path else f"/{name}"
            target = posixpath.normpath(place)[1:]
            ids = site[target].ids if target in site else ()
            if not (folder / target).exists() or (anchor and ids and anchor not in ids):
                wrong.append((name, link))
    assert len(site) > 80
    assert sum(len(page.links) for page in site.values()) > 5000
    assert wrong == []


def test_pictures_have_a_text(site):
    """Each picture says what it shows to those who cannot see it."""
    assert {name: page.without_alt for name, page in site.items() if page.without_alt} == {}


def test_pages_load_nothing_from_elsewhere(site, folder):
    """Fonts, styles, scripts and pictures are files of the site."""
    for name, page in site.items():
        assert [each for each in page.loaded if re.match(r"(https?:)?//", each)] == [], name
        # The theme's script fetches a program for these from the web.
        assert "mermaid" not in page.classes, name
    for style in folder.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text("utf-8")), (
            style
        )


@pytest.mark.parametrize("page", PAGES)
def test_a_page_reads_the_same_on_github(page, site):
    """Headings, lists, tables and blocks are the same for the two readers of Markdown."""
    text = (DOCS / page).read_text(encoding="utf-8")
    text = re.sub(r"^```mermaid.*?^```$", "diagram", text, flags=re.MULTILINE | re.DOTALL)
    notes = re.compile(r"^> \[!\w+\]", re.MULTILINE)  # GitHub's alerts
    tokens = MarkdownIt("commonmark").enable("table").parse(notes.sub(">", text))
    counts = dict.fromkeys(COUNTED, 0)
    for token in tokens:
        if token.nesting >= 0 and (token.tag in counts or token.type == "fence"):
            counts["pre" if token.type == "fence" else token.tag] += 1
    built = dict(site[page.removesuffix(".md") + ".html"].counts)
    if "> [!" in text:
        del counts["blockquote"], built["blockquote"]  # notes, which the site shows as boxes
    assert built == counts


def test_the_reference_is_made_from_the_code(site):
    """Each command, each option and each public name has its place in the generated pages."""
    commands = site["reference/commands.html"]
    for name in root.command.list_commands(None):
        assert f"etlkit-{name}" in commands.ids
        for option in root.command.get_command(None, name).params:
            if option.param_type_name == "option":
                assert option.opts[0] in commands.article
    names = set().union(*(each.ids for path, each in site.items() if "reference/python/" in path))
    public = {f"{each.__name__}.{name}" for each in (etlkit, testing) for name in each.__all__}
    assert sorted(public - names) == ["etlkit.__version__"]
    assert {"etlkit.EtlBase.transform_row", "etlkit.calls.http.HttpClient.get_json"} <= names
    listed = site["reference/api.html"].links
    assert any(link.endswith("transforms-and-jobs.html#etlkit.EtlBase") for link in listed)


def test_a_japanese_page_has_japanese_words_around_it(folder):
    """The language, the words of the theme, the navigation and the switch follow the page."""
    page = (folder / "ja" / "quickstart.html").read_text(encoding="utf-8")
    assert '<html lang="ja"' in page
    assert 'href="../quickstart.html" hreflang="en"' in page
    assert "guides/calls.html" not in page.split("</header>")[1].split("<article")[0]
    assert 'href="ja/quickstart.html" hreflang="ja"' in (folder / "quickstart.html").read_text(
        "utf-8"
    )
