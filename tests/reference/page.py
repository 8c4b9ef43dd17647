"""Where local answers differ from BigQuery's: `python -m tests.reference.page` writes the page.

`python -m tests.reference.page dates times` asks for these areas only.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from etlkit.local import join_or_start
from tests.reference import local_answers, stored
from tests.reference.answers import agree, is_error

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "local-differences.md"

_INTRODUCTION: Final = """\
# Expressions that the local server answers differently

Written by `python -m tests.reference.page`; do not edit it. Its test fails when it is out of date.

The local server was asked for {cases:,} expressions over Google's client, and so was GoogleSQL's
reference evaluator. {same:,} answers are alike: the type, and the value up to the last bits of a
FLOAT64. These {different:,} are not. "refused" is an error; the wording of errors is not compared.

What the evaluator does not have is not compared: NORMALIZE, COLLATE, CONTAINS_SUBSTR, approximate
aggregates, BASE32, geography, SESSION_USER, and the elements `%F` and `%k` of the PARSE functions.

| Area | Expressions | Different | Refused here | Refused by BigQuery |
|---|---|---|---|---|
"""

Difference = tuple[str, str, str]
"""An expression, BigQuery's answer and ours, as the page shows them."""


def differences(reference: dict[str, str], local: dict[str, str]) -> list[Difference]:
    """Those of the expressions in `local` that are not answered alike."""
    return [
        (expression, _shown(reference[expression]), _shown(answer))
        for expression, answer in local.items()
        if not agree(reference[expression], answer)
    ]


def rendered(found: dict[str, tuple[int, list[Difference]]]) -> str:
    """The page. `found` has the number of expressions of each area, and its differences."""
    num_cases = sum(count for count, _ in found.values())
    num_different = sum(len(rows) for _, rows in found.values())
    text = _INTRODUCTION.format(
        cases=num_cases, same=num_cases - num_different, different=num_different
    )
    for area, (count, rows) in found.items():
        here = sum(ours == "refused" for _, _, ours in rows)
        there = sum(theirs == "refused" for _, theirs, _ in rows)
        text += f"| {_title(area)} | {count} | {len(rows)} | {here} | {there} |\n"
    for area, (_, rows) in found.items():
        if rows:
            text += f"\n## {_title(area)}\n\n| Expression | BigQuery | Here |\n|---|---|---|\n"
            text += "".join(f"| {' | '.join(map(_code, row))} |\n" for row in rows)
    return text


def listed(text: str) -> set[Difference]:
    """The differences of a page."""
    return set(_rows(text.splitlines()))


def _rows(lines: Iterable[str]) -> Iterator[Difference]:
    for line in lines:
        if line.startswith("| `"):
            cells = [_plain(cell) for cell in line[2:-2].split(" | ")]
            yield cells[0], cells[1], cells[2]


def _title(area: str) -> str:
    return area.replace("_", " ").capitalize()


def _shown(answer: str) -> str:
    return "refused" if is_error(answer) else answer


def _code(text: str) -> str:
    """Text in a cell of a table; a fence that is longer than any within it."""
    if text == "refused":
        return text
    fence = "```" if "``" in text else "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{text.replace('|', chr(92) + '|')}{space}{fence}"


def _plain(cell: str) -> str:
    fence = len(cell) - len(cell.lstrip("`"))
    inner = cell[fence : len(cell) - fence]
    return (inner[1:-1] if fence > 1 else inner).replace("\\|", "|")


def refused(rows: Iterable[Difference]) -> set[str]:
    """The expressions that are refused here."""
    return {row[0] for row in rows if row[2] == "refused"}


def _ask_all(areas: dict[str, dict[str, str]], suspects: set[str]) -> dict[str, list[Difference]]:
    """Ask a server of its own for all expressions of these areas."""
    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        join_or_start(Path(folder) / ".etlkit") as server,
        bigquery.Client(
            project=server.endpoints.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=server.endpoints.bigquery),
        ) as client,
    ):
        ask = local_answers.by_query(client)
        for area, reference in areas.items():
            found[area] = differences(reference, local_answers.all_of(ask, reference, suspects))
            sys.stdout.write(f"{area}: {len(found[area])} of {len(reference)} differ\n")
            sys.stdout.flush()
    return found


def main(chosen: list[str]) -> None:
    """Write the page; of areas that are not chosen it stays as it is."""
    areas = stored.answers()
    rows = listed(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else set()
    fresh = _ask_all({name: areas[name] for name in chosen or areas}, refused(rows))
    old = {row[0]: row for row in rows}
    kept = {name: [old[each] for each in area if each in old] for name, area in areas.items()}
    found = {name: (len(area), fresh.get(name, kept[name])) for name, area in areas.items()}
    PAGE.write_text(rendered(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
