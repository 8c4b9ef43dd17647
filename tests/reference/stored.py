"""The evaluator's answers, in a file: `python -m tests.reference.stored` writes it anew."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from tests.reference import cases, evaluator
from tests.reference.local_answers import BATCH

FILE: Final = Path(__file__).parents[1] / "data" / "reference_answers.json"


def answers() -> dict[str, dict[str, str]]:
    """Area -> expression -> the evaluator's answer, from the file."""
    stored: dict[str, dict[str, str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return stored


def evaluated() -> dict[str, dict[str, str]]:
    """The same, from the evaluator. It takes about half a minute of processor time."""
    found = {}
    for area, expressions in cases.hand_written().items():
        batches = (expressions[at : at + BATCH] for at in range(0, len(expressions), BATCH))
        answered = [answer for batch in batches for answer in evaluator.answers(batch)]
        found[area] = dict(zip(expressions, answered, strict=True))
    return found


def main() -> None:
    """Write the file."""
    found = evaluated()
    text = json.dumps(found, ensure_ascii=False, indent=0)
    FILE.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(f"{sum(map(len, found.values()))} answers in {FILE}\n")


if __name__ == "__main__":
    main()
