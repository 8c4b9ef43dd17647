"""Installing: no message and no page sends anybody to a package that is not ours.

On the package index `etlkit` is a stranger's project: in an empty environment
`pip install 'etlkit[local]'` would install that.
"""

import re
import tomllib
from pathlib import Path

import pytest

from etlkit.errors import missing_packages

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TEXTS = [
    *ROOT.glob("etlkit/**/*.py"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("docs/**/*.yml"),
    *ROOT.glob("*.md"),
    ROOT / "Makefile",
]
STRANGERS = re.compile(
    r"\b(?:pip3?|pipx|uv|poetry)\s+(?:install|add)\b[^\n`]*?[\s'\"]etlkit(?![\w-])"
)
"""A command that would look for `etlkit` on the package index."""

FROM_HERE = re.compile(r"pip install [^\n`]*?-e '\.\[([\w,-]+)\]'")


def test_no_command_installs_a_strangers_package():
    """In messages, on pages and in files to copy."""
    found = {
        str(path.relative_to(ROOT)): command
        for path in TEXTS
        for command in STRANGERS.findall(path.read_text(encoding="utf-8"))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "run pip install 'etlkit[local]'",
        "`pip install -U etlkit`",
        "uv add pandas etlkit",
        "pipx install etlkit",
    ],
)
def test_the_search_would_find_such_a_command(text):
    """Otherwise this file would prove nothing."""
    assert STRANGERS.search(text)
    assert not STRANGERS.search(text.replace("etlkit", "etlkit-bigquery"))


def test_every_extra_that_a_command_names_is_there():
    """`pip` only warns of an extra that a project does not have."""
    named = {
        extra
        for path in TEXTS
        for extras in FROM_HERE.findall(path.read_text(encoding="utf-8"))
        for extra in extras.split(",")
    }
    assert {"local", "report"} <= named <= EXTRAS.keys() | {"extra"}


@pytest.mark.edge_case(
    "an extra that is not installed",
    "message",
    "`pip install -e '.[extra]'` in a checkout; never a name on the package index",
)
@pytest.mark.parametrize("extra", ["local", "gcs", "report", "dbt", "local-tensorflow"])
def test_a_missing_extra_is_named(extra):
    """And the extra is one that this project has."""
    assert extra in EXTRAS
    text = str(missing_packages("it needs x", extra))
    assert text.endswith(f"In a checkout of etlkit: pip install -e '.[{extra}]'")
