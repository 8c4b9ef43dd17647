"""The snippets of the guide, as a reader copies them."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "tools.md"
SNIPPET = re.compile(r"^```py\n# package: (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPETS = dict(SNIPPET.findall(GUIDE.read_text(encoding="utf-8")))


def test_all_snippets_are_found():
    """One for each library for Python."""
    assert len(SNIPPETS) == GUIDE.read_text(encoding="utf-8").count("```py\n") == 6


@pytest.mark.parametrize("package", SNIPPETS)
def test_a_snippet_connects(tool, bq, package):
    """It runs in a shell that has read the file."""
    bq.create_dataset("demo", exists_ok=True)
    tool("-c", SNIPPETS[package], package=package)
