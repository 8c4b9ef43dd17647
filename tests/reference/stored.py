"""Expressions of all areas with the evaluator's answers, in `tests/data/reference_answers/`.

They use the functions that BigQuery documents, over ordinary and extreme values:
https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all

To add an expression, add a line with any answer. `python -m tests.reference.stored` then asks the
evaluator for all answers anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from tests.reference import evaluator

FOLDER: Final = Path(__file__).parents[1] / "data" / "reference_answers"


def answers() -> dict[str, dict[str, str]]:
    """Area -> expression -> the evaluator's answer, from the files."""
    files = sorted(FOLDER.glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def evaluated(expressions: list[str]) -> dict[str, str]:
    """The evaluator's answers, from the evaluator."""
    return dict(zip(expressions, evaluator.in_batches(expressions), strict=True))


def main() -> None:
    """Write the files. It takes about half a minute of processor time."""
    for area, stored in answers().items():
        text = json.dumps(evaluated(list(stored)), ensure_ascii=False, indent=0)
        (FOLDER / f"{area}.json").write_text(f"{text}\n", encoding="utf-8")
        sys.stdout.write(f"{area}: {len(stored)} answers\n")


if __name__ == "__main__":
    main()
