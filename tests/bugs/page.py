"""What etlkit does with odd values: `python -m tests.bugs.page` writes the page of edge cases.

A file of this folder is about one kind of fault. It is named `test_AREA_KIND.py`, and its docstring
begins with `Title: sentence.` These become the heading and the text of the kind's section. A test
that belongs on the page has the mark

    @pytest.mark.edge_case("`1e400` in FLOAT64", "JSON Lines", "refused, with its line")

which is a row of the table: the value, the file format or API, and what etlkit does, as Markdown. One
test may have several marks, and a `pytest.param(..., marks=pytest.mark.edge_case(...))` may have its
own. A test without the mark is not on the page. The page is read from the source text, without
running it, so the three texts are literals.

Whoever adds or changes a mark writes the page again and commits it; after a merge it is written
again too. `test_page.py` fails when it is out of date.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parent
PAGE: Final = FOLDER.parents[1] / "docs" / "reference" / "edge-cases.md"

_MARK = "edge_case"
_INTRODUCTION: Final = """\
# Edge cases

Written by `python -m tests.bugs.page`; do not edit it. Its test fails when it is out of date.

What etlkit does with values, files and answers that other tools are known to get wrong. Each row is a
test in `tests/bugs/`. "Refused" means: an error that says where and what to do, and nothing is
published. See also [types](types.md) and [files](../guides/files.md).
"""


class EdgeCase(NamedTuple):
    """One row of the page; all three are Markdown."""

    value: str
    where: str
    answer: str


class Kind(NamedTuple):
    """One file of tests, which is one section of the page."""

    title: str
    text: str
    cases: list[EdgeCase]


def kinds() -> Iterator[Kind]:
    """The kinds that have edge cases, by the names of their files."""
    for file in sorted(FOLDER.glob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        cases = list(_cases(tree, file))
        if cases:
            first = (ast.get_docstring(tree) or "").partition("\n\n")[0]
            title, colon, text = " ".join(first.split()).partition(": ")
            if not colon:
                raise ValueError(f"{file.name}: its docstring must begin with `Title: sentence.`")
            yield Kind(title, text, cases)


def _cases(tree: ast.Module, file: Path) -> Iterator[EdgeCase]:
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == _MARK
    ]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        texts = [ast.literal_eval(argument) for argument in call.args]
        if len(texts) != len(EdgeCase._fields) or call.keywords:
            raise ValueError(f"{file.name}:{call.lineno}: {_MARK} takes value, where and answer")
        yield EdgeCase(*texts)


def rendered() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    for kind in kinds():
        rows = "".join(f"| {' | '.join(map(_cell, case))} |\n" for case in kind.cases)
        text = kind.text[:1].upper() + kind.text[1:]
        parts.append(
            f"## {kind.title}\n\n{text}\n\n| Value | Where | What etlkit does |\n|---|---|---|\n{rows}"
        )
    return "\n".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
