"""What the site has beyond the pages in `docs/`: MkDocs calls these functions while it builds.

GitHub shows the same pages from the repository. So a link to a file of the repository, such as a
job, becomes a link to a page with its text; pages at the repository's top level, such as the
changelog, become pages of the site; Mermaid diagrams become pictures, because the theme would load a
program from elsewhere to draw them; and Japanese pages have their own navigation.
"""

import copy
import posixpath
import re
import shutil
from pathlib import Path

import command_pages
import diagrams
import name_pages
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "README.ja.md": "ja/index.md",
    "SECURITY.md": "security.md",
}
"""Pages of the repository and where they are in the site. A page of `docs/` comes first."""
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
CODE = re.compile(r"^(`{3,}).*?^\1$|(`+)(?!`).+?(?<!`)\2(?!`)", re.MULTILINE | re.DOTALL)
LANGUAGES = {"": "text", ".service": "ini", ".timer": "ini"}
JAPANESE = "ja/"
HOMES = {"en": "index.md", "ja": "ja/index.md"}
MOVED = {"photos.md": "guides/pipeline.md", "trocco.md": "guides/trocco.md"}
"""Japanese pages, and where the English ones are."""
NAMES = {"en": "English", "ja": "日本語"}


def on_config(config):
    """Complete the navigation: the folders of `*`, without pages that are not there.

    A wrong name cannot hide: MkDocs and a test name each page that has no place.
    """
    made = {command_pages.PATH, *TOP_LEVEL.values()}
    there = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} | made
    config.nav = list(filter(None, (_completed(each, there) for each in config.nav)))
    return config


def _completed(entry, there):
    (title, value), *_ = entry.items()
    if isinstance(value, list):
        return {title: list(filter(None, (_completed(each, there) for each in value)))}
    if not value.endswith("/*"):
        return entry if value in there else None
    if value == f"{name_pages.FOLDER}/*":
        return {title: [{each.title: each.path} for each in name_pages.pages()]}
    folder = ROOT / "docs" / value.removesuffix("*")
    return {title: [str(page.relative_to(ROOT / "docs")) for page in sorted(folder.glob("*.md"))]}


def on_files(files, config):
    """Add the pages that are made from the code and from files of the repository."""
    made = {command_pages.PATH: command_pages.page()}
    made |= {each.path: each.text for each in name_pages.pages()}
    for name, path in TOP_LEVEL.items():
        if files.get_file_from_path(path) is None:
            made[path] = (ROOT / name).read_text(encoding="utf-8")
    texts = {file.src_uri: file.content_string for file in files.documentation_pages()}
    for source, text in {**texts, **made}.items():
        for link in _links(text):
            target = _in_repository(source, link["path"])
            if _is_shown_as_source(target):
                made.setdefault(_source_page(target), _text_of(target))
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def _links(text):
    return LINK.finditer(CODE.sub("", text))


def _in_repository(page, path):
    """Where a link leads, as a path from the repository's top level."""
    top_level = {
        path: name for name, path in TOP_LEVEL.items() if not (ROOT / "docs" / path).exists()
    }
    folder = posixpath.dirname(top_level.get(page, f"docs/{page}"))
    return posixpath.normpath(posixpath.join(folder, path))


def _is_shown_as_source(target):
    path = ROOT / target
    pictures = {".png", ".svg", ".jpg"}
    return path.is_file() and path.suffix not in pictures and path.suffix != ".md"


def _source_page(target):
    return f"source/{target}.md"


def _text_of(target):
    path = ROOT / target
    language = LANGUAGES.get(path.suffix, path.suffix.removeprefix("."))
    text = path.read_text(encoding="utf-8").rstrip()
    return (
        f"---\nsearch:\n  exclude: true\n---\n# {path.name}\n\n"
        f"`{target}` in the repository:\n\n`````{language}\n{text}\n`````\n"
    )


def on_page_markdown(markdown, page, config, files):  # noqa: ARG001 - MkDocs' signature
    """Turn links to files of the repository into links to pages, and diagrams into pictures."""
    source = page.file.src_uri
    if source in HOMES.values():
        page.meta["hide"] = ["navigation"]
    if source == "reference/api.md":
        markdown = name_pages.with_links(markdown)
    parts, end = [], 0
    for code in CODE.finditer(markdown):
        parts += [_with_site_links(markdown[end : code.start()], source), code[0]]
        end = code.end()
    parts.append(_with_site_links(markdown[end:], source))
    return diagrams.drawn("".join(parts))


def _with_site_links(text, source):
    def to_page(link):
        target = _in_repository(source, link["path"])
        if _is_shown_as_source(target):
            page = _source_page(target)
        elif target.startswith("docs/"):
            page = target.removeprefix("docs/")
        elif target in TOP_LEVEL:
            page = TOP_LEVEL[target]
        else:
            return link[0]
        return posixpath.relpath(page, posixpath.dirname(source) or ".") + (link["anchor"] or "")

    return LINK.sub(to_page, text)


def on_page_content(html, page, config, files):  # noqa: ARG001 - MkDocs' signature
    r"""Take the backslash out of `\|` in code: only GitHub needs it in a table."""
    return re.sub(r"<code>[^<]*</code>", lambda code: code[0].replace("\\|", "|"), html)


def on_page_context(context, page, config, nav):
    """Give a page the words, the navigation and the language switch of its language."""
    language = "ja" if page.file.src_uri.startswith(JAPANESE) else "en"
    config.theme["language"] = language
    config.extra["alternate"] = [
        {"name": name, "lang": code, "link": _counterpart(page, code, nav)}
        for code, name in NAMES.items()
    ]
    japanese = nav.items[-1]
    shown = copy.copy(nav)
    shown.items = japanese.children if language == "ja" else nav.items[:-1]
    context["nav"] = shown
    for neighbour in ("previous_page", "next_page"):
        other = getattr(page, neighbour)
        if other is not None and other.file.src_uri.startswith(JAPANESE) != (language == "ja"):
            setattr(page, neighbour, None)
    return context


def _counterpart(page, language, nav):
    """The same page in another language, or that language's home."""
    path = page.file.src_uri.removeprefix(JAPANESE)
    english = MOVED.get(path, path)
    japanese = JAPANESE + next((ja for ja, en in MOVED.items() if en == english), english)
    known = {each.file.src_uri: each.url for each in nav.pages}
    return known.get(japanese if language == "ja" else english, known[HOMES[language]])


def on_post_build(config):
    """Put the site map into each folder, where the theme's language switch looks for it.

    It is empty, because the site has no address, and the switch then takes the link as it is.
    """
    site = Path(config.site_dir)
    for folder in {page.parent for page in site.rglob("*.html")} - {site}:
        shutil.copy(site / "sitemap.xml", folder)
