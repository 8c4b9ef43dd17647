"""The pages of public names, whose text mkdocstrings takes from the docstrings."""

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = "reference/python"
TITLES = {
    "etlkit.testing": "Testing",
    "etlkit.errors": "Errors",
    "etlkit.workflow": "Workflows",
    "etlkit.api.workflow_report": "Reports",
    "etlkit.api.report": "Reports",
    "etlkit.cli.pages": "Reports",
    "etlkit.engine.preview": "Reports",
    "etlkit.runner": "Run from Python",
    "etlkit.bigquery": "Sources and sinks",
    "etlkit.files": "Sources and sinks",
    "etlkit.calls": "Calls to services",
    "etlkit.vision": "Vision",
    "etlkit.api.source": "Sources and sinks of your own",
    "etlkit.api.sink": "Sources and sinks of your own",
    "etlkit.api.run": "Sources and sinks of your own",
    "etlkit.api.run.Settings": "Run from Python",
    "etlkit.api.outcomes": "Sources and sinks of your own",
    "etlkit.rows": "Sources and sinks of your own",
    "etlkit.rows.row": "Transforms and jobs",
    "etlkit.variables": "Variables",
    "etlkit": "Transforms and jobs",
}
"""The page of each name; the longest beginning counts."""
ORDER = (
    "Transforms and jobs", "Sources and sinks", "Calls to services", "Vision", "Variables", "Workflows",
    "Run from Python", "Reports", "Errors", "Testing", "Sources and sinks of your own",
)  # fmt: skip
BASES = {"TransferJob": ["etlkit.api.job_options.JobOptions"]}
"""Bases whose attributes belong to a name, and which have no name of their own."""
CELL = re.compile(r"^\| ((?:`[^`]*`(?:, |: |(?= \|)))+) \|", re.MULTILINE)
ROW = re.compile(r"^\| `(?P<text>(?P<name>\w+)[^`]*)` \|", re.MULTILINE)


@dataclass(frozen=True)
class NamePage:
    """A page about the names of one subject."""

    title: str
    names: tuple[str, ...]

    @property
    def path(self):
        """Where it is in the site."""
        return f"{FOLDER}/{self.title.lower().replace(' ', '-')}.md"

    @property
    def text(self):
        """The page as Markdown."""
        beginning = (
            f"# {self.title}\n\nThis page is made from the docstrings when the site is built. "
            "[Python names](../api.md) has all names in one table.\n"
        )
        return beginning + "".join(f"\n::: {name}\n" for name in self.names)


@functools.cache
def pages():
    """All pages, in the order of the navigation."""
    grouped = {title: [] for title in ORDER}
    seen = set()
    for module, name in _names():
        if name not in seen:
            seen.add(name)
            home = _homes()[name] if module == "etlkit" else module
            grouped[_title(f"{home}.{name}")] += [f"{module}.{name}", *BASES.get(name, ())]
    return [NamePage(title, tuple(names)) for title, names in grouped.items()]


def _names():
    """Module and name for each row of the page of names, in its order."""
    text = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    for section in text.split("\n## ")[1:]:
        for cell in CELL.findall(section):
            (module,) = re.findall(r"`(etlkit[\w.]+)`: ", cell) or [section.split("`")[1]]
            names = re.findall(r"`([A-Za-z]\w*)", cell.rpartition(": ")[2])
            yield from ((module, name) for name in names)


def _title(name):
    return TITLES[max((each for each in TITLES if name.startswith(each)), key=len)]


@functools.cache
def _homes():
    """The module of each name of `etlkit`, read from the imports for type checkers."""
    file = ROOT / "etlkit" / "__init__.py"
    (block,) = (
        each
        for each in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(each, ast.If) and getattr(each.test, "id", "") == "TYPE_CHECKING"
    )
    return {
        name.name: each.module
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for name in each.names
    }


def with_links(markdown):
    """The table of names, each with a link to its docstring."""
    known = {name.rpartition(".")[2]: name for page in pages() for name in page.names}

    def linked(row):
        name = known.get(row["name"])
        return f"| [`{row['text']}`][{name}] |" if name else row[0]

    return ROW.sub(linked, markdown)
