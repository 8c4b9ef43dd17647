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
    "etlkit.api.run": "Run from Python",
    "etlkit.bigquery": "Sources and sinks",
    "etlkit.files": "Sources and sinks",
    "etlkit.api.source": "Sources and sinks",
    "etlkit.api.sink": "Sources and sinks",
    "etlkit.calls": "Calls to services",
    "etlkit.variables": "Variables",
    "etlkit": "Transforms and jobs",
}
"""The page of each module's names; the longest beginning counts."""
ORDER = (
    "Transforms and jobs", "Sources and sinks", "Calls to services", "Variables", "Workflows",
    "Run from Python", "Reports", "Errors", "Testing",
)  # fmt: skip
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
    table = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    order = [row["name"] for row in ROW.finditer(table)]
    for package in ("etlkit", "etlkit.testing"):
        homes = _homes(package)
        for name in sorted(homes, key=order.index):
            title = "Testing" if package == "etlkit.testing" else _title(homes[name])
            grouped[title].append(f"{package}.{name}")
    return [NamePage(title, tuple(names)) for title, names in grouped.items()]


def _title(module):
    return TITLES[max((each for each in TITLES if module.startswith(each)), key=len)]


def _homes(package):
    """The module of each public name, read from the imports for type checkers."""
    file = ROOT.joinpath(*package.split("."), "__init__.py")
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
